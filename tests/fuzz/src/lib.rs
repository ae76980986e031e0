//! Hostile input: for all code that reads input from outside there is a target, which takes any bytes and panics when a
//! promise is broken.
//!
//! `cargo test` feeds each target its kept corpus and some thousands of mutations, always the same; `make fuzz` goes
//! on for as long as one likes, guided by coverage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a target panics when what it looks for is found"
)]

pub mod corpus;
pub mod json;
pub mod mutate;
pub mod promises;
pub mod targets;

pub use targets::{TARGETS, Target};

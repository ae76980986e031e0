//! The functions' real binaries, and their clients, against fakes of the services around them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a broken expectation must stop the test, loudly and where it broke"
)]

mod connections_api;
mod cost;
mod docs;
mod ephemeral;
mod fanout;
mod flood;
mod ingest;
mod letters;
mod log;
mod log_lines;
mod metrics;
mod presence;
mod queue;
mod replay;
mod security;
mod state;
mod sweep;
mod tracing;

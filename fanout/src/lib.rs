//! The fan-out: turns each queued message into an ordered, recoverable broadcast to a whole room.
//!
//! A batch of the queue passes through one file after the other: [`decode`], [`append`], [`encode`], [`page`], [`post`]
//! and [`gone`]; [`function`] puts them together.

pub mod append;
pub mod board;
pub mod config;
pub mod connections_api;
pub mod control;
pub mod deadline;
pub mod decode;
pub mod encode;
pub mod function;
pub mod gone;
pub mod limit;

pub mod page;
pub mod post;
pub mod retry;
pub mod shard;
pub mod strikes;
pub mod tail;
pub mod tally;
pub mod work;

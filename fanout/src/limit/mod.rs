//! When posts may start, and what comes of those that fail.

mod backoff;

pub use backoff::{Backoff, LONGEST_RETRY_AFTER};

//! When posts may start, and what comes of those that fail.

mod backoff;
mod misses;
mod retry_budget;

pub use backoff::{Backoff, LONGEST_RETRY_AFTER};
pub use misses::ConsecutiveMisses;
pub use retry_budget::RetryBudget;

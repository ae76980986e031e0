//! The tables.

pub mod connections;
pub mod dynamodb;
pub mod log;

use std::error::Error;

/// A call to a table that did not succeed within its attempts. Callers can only give up for now: a route answers
/// `unavailable`, fan-out leaves the records in the queue.
#[derive(Debug, thiserror::Error)]
#[error("{operation} failed: {source}")]
pub struct StoreError {
    /// The call.
    pub operation: &'static str,
    /// What the SDK said, its sources included.
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

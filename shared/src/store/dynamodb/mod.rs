//! Both tables in DynamoDB.

mod connections;
mod item;
mod log;

use std::error::Error;

pub use connections::{Cursor, DynamoConnections, ROOM_INDEX};
pub use log::DynamoLog;

use super::StoreError;

/// Wraps an SDK error, whose own text is only "service error", so that its sources are told too.
fn failed<E: Error + Send + Sync + 'static>(operation: &'static str) -> impl FnOnce(E) -> StoreError {
    move |error| StoreError {
        operation,
        source: aws_sdk_dynamodb::error::DisplayErrorContext(error).to_string().into(),
    }
}

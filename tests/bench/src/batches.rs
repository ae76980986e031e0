//! Batches of messages, handed to a function as its queue does.

use serde_json::json;
use testkit::events::{QueueRecord, batch_item_failures, queue_batch};
use testkit::runtime_api::{Environment, Invocation};

/// A message of 100 bytes to a room, unlike all others.
pub(crate) fn message_to(room: &str) -> QueueRecord {
    QueueRecord::message(room, &format!("{:x}", fastrand::u64(..)), &json!("x".repeat(100)))
}

/// Hands over a batch, of which no record may be given back.
pub(crate) async fn hand_over(environment: &Environment, records: &[QueueRecord]) -> Invocation {
    let invocation = environment.invoke(&queue_batch(records)).await;
    let left = batch_item_failures(invocation.response());
    assert!(left.is_empty(), "{left:?} of {} records are left: {:?}", records.len(), environment.log());
    invocation
}

//! Batches of messages, handed to a function as its queue does.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;
use testkit::events::{QueueRecord, batch_item_failures, queue_batch};
use testkit::runtime_api::{Environment, Invocation};

use crate::machine::Backing;

/// Records in a batch of a FIFO queue.
pub(crate) const BATCH: usize = 10;

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

/// The next jobs of the shard queue from a position on, as many as a batch holds; `None` when all messages are logged
/// and no more jobs will come.
pub(crate) async fn next_jobs(backing: &Backing, position: usize, is_logged: &Cell<bool>) -> Option<Vec<QueueRecord>> {
    loop {
        let is_all = is_logged.get();
        let mut jobs = backing.shard_jobs_from(position);
        jobs.truncate(BATCH);
        if !jobs.is_empty() {
            return Some(jobs);
        }
        if is_all {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

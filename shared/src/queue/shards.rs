//! Shard jobs: parts of a broadcast to a large room, on the same queue, each in a group of its own.

use std::future::Future;

use super::{
    QueueError,
    batch::{Outgoing, send},
    sqs::SqsQueue,
};

/// A record that carries a shard job.
#[derive(Clone, Debug)]
pub struct ShardRecord {
    /// Its group: the room's id, a slash, the shard's number.
    pub group: String,
    /// The same for the same frames and slots, so that a redelivered batch does not enqueue them twice.
    pub deduplication: String,
    /// The job.
    pub body: String,
}

/// Where shard jobs go.
pub trait ShardQueue: Send + Sync + 'static {
    /// Enqueues jobs, those of one group in their order; says for each whether the queue has it.
    fn enqueue(&self, records: &[ShardRecord]) -> impl Future<Output = Vec<Result<(), QueueError>>> + Send;
}

impl ShardQueue for SqsQueue {
    async fn enqueue(&self, records: &[ShardRecord]) -> Vec<Result<(), QueueError>> {
        let records = records.iter().map(|record| Outgoing {
            group: &record.group,
            deduplication: &record.deduplication,
            body: &record.body,
            reason: None,
        });
        let records: Vec<_> = records.collect();
        send(&self.client, &self.url, "SendMessageBatch of shard jobs", &records).await
    }
}

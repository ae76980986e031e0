//! Shard jobs: parts of a broadcast to a large room, on the same queue, each in a group of its own.

use std::{future::Future, sync::Arc};

use aws_sdk_sqs::Client;

use super::{
    QueueError,
    batch::{Outgoing, send},
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

/// The queue in SQS.
#[derive(Clone, Debug)]
pub struct SqsShardQueue {
    client: Client,
    url: Arc<str>,
}

impl SqsShardQueue {
    /// The queue with this URL.
    #[must_use]
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.into() }
    }
}

impl ShardQueue for SqsShardQueue {
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

//! The dead-letter queue, for records that can never succeed.

use std::future::Future;

use super::{
    QueueError,
    batch::{Outgoing, send},
    sqs::SqsQueue,
};

/// A record that can never succeed.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// What keeps a second delivery of it apart from another record: the record's own id.
    pub id: String,
    /// Its room, as far as it has one.
    pub group: String,
    /// The record as it came.
    pub body: String,
    /// Why it can never succeed. Goes into the message attribute `reason`.
    pub reason: String,
}

/// Where dead letters go.
pub trait DeadLetters: Send + Sync + 'static {
    /// Stores dead letters; says for each whether it is stored.
    fn bury(&self, letters: &[DeadLetter]) -> impl Future<Output = Vec<Result<(), QueueError>>> + Send;
}

impl DeadLetters for SqsQueue {
    async fn bury(&self, letters: &[DeadLetter]) -> Vec<Result<(), QueueError>> {
        let records = letters.iter().map(|letter| Outgoing {
            group: &letter.group,
            deduplication: &letter.id,
            // SQS takes no empty body.
            body: if letter.body.is_empty() { " " } else { &letter.body },
            reason: Some(&letter.reason),
        });
        let records: Vec<_> = records.collect();
        send(&self.client, &self.url, "SendMessageBatch to the dead-letter queue", &records).await
    }
}

//! The dead-letter queue, for records that can never succeed.

use std::{collections::HashSet, future::Future, sync::Arc};

use aws_sdk_sqs::{
    Client,
    types::{BatchResultErrorEntry, MessageAttributeValue, SendMessageBatchRequestEntry, SendMessageBatchResultEntry},
};

use super::QueueError;

/// Records in one call: the limit of `SendMessageBatch`.
const BATCH: usize = 10;

/// The message attribute that says why a record is here.
pub const REASON: &str = "reason";

const OPERATION: &str = "SendMessageBatch to the dead-letter queue";

/// A record that can never succeed.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// What keeps a second delivery of it apart from another record: the record's own id.
    pub id: String,
    /// Its room, as far as it has one.
    pub group: String,
    /// The record as it came.
    pub body: String,
    /// Why it can never succeed.
    pub reason: String,
}

/// Where dead letters go.
pub trait DeadLetters: Send + Sync + 'static {
    /// Stores dead letters; says for each whether it is stored.
    fn bury(&self, letters: &[DeadLetter]) -> impl Future<Output = Vec<Result<(), QueueError>>> + Send;
}

/// The dead-letter queue in SQS, FIFO as its source is.
#[derive(Clone, Debug)]
pub struct SqsDeadLetters {
    client: Client,
    url: Arc<str>,
}

impl SqsDeadLetters {
    /// The queue with this URL.
    #[must_use]
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.into() }
    }

    async fn bury_batch(&self, letters: &[DeadLetter]) -> Vec<Result<(), QueueError>> {
        let entries: Result<Vec<_>, _> =
            letters.iter().enumerate().map(|(index, letter)| entry(index, letter)).collect();
        let sent = match entries {
            Ok(entries) => {
                let call = self.client.send_message_batch().queue_url(&*self.url).set_entries(Some(entries));
                call.send().await.map_err(QueueError::sdk(OPERATION))
            }
            Err(error) => Err(QueueError::entry(OPERATION, None, Some(&error.to_string()))),
        };
        let output = match sent {
            Ok(output) => output,
            Err(error) => {
                // One call, one error: every letter of it hears the same.
                let text = error.to_string();
                return letters.iter().map(|_| Err(QueueError::entry(OPERATION, None, Some(&text)))).collect();
            }
        };
        // The call succeeds when entries fail; and an entry that is in neither list is not stored.
        let stored: HashSet<&str> = output.successful().iter().map(SendMessageBatchResultEntry::id).collect();
        let result = |index: usize| {
            let id = index.to_string();
            if stored.contains(id.as_str()) {
                return Ok(());
            }
            let failed = output.failed().iter().find(|entry| entry.id() == id);
            Err(QueueError::entry(
                OPERATION,
                failed.map(BatchResultErrorEntry::code),
                failed.and_then(BatchResultErrorEntry::message),
            ))
        };
        (0..letters.len()).map(result).collect()
    }
}

fn entry(index: usize, letter: &DeadLetter) -> Result<SendMessageBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
    let reason = MessageAttributeValue::builder().data_type("String").string_value(&letter.reason).build()?;
    SendMessageBatchRequestEntry::builder()
        .id(index.to_string())
        .message_group_id(&letter.group)
        .message_deduplication_id(&letter.id)
        .message_body(&letter.body)
        .message_attributes(REASON, reason)
        .build()
}

impl DeadLetters for SqsDeadLetters {
    async fn bury(&self, letters: &[DeadLetter]) -> Vec<Result<(), QueueError>> {
        let mut results = Vec::with_capacity(letters.len());
        for batch in letters.chunks(BATCH) {
            results.extend(self.bury_batch(batch).await);
        }
        results
    }
}

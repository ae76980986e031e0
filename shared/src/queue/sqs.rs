//! FIFO queues. In the main one there is a group for each room, so that a room has one consumer at a time.

use std::sync::Arc;

use aws_sdk_sqs::Client;

use super::{QueueError, Sink};
use crate::message::Message;

/// A FIFO queue: the main one, or the dead-letter queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    pub(super) client: Client,
    pub(super) url: Arc<str>,
}

impl SqsQueue {
    /// The queue with this URL.
    #[must_use]
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.into() }
    }
}

impl Sink for SqsQueue {
    async fn put(&self, message: &Message) -> Result<(), QueueError> {
        self.client
            .send_message()
            .queue_url(&*self.url)
            .message_group_id(message.room.as_str())
            // Deduplication is per group, for five minutes.
            .message_deduplication_id(message.identity().to_deduplication_id())
            .message_body(message.to_body())
            .send()
            .await
            .map_err(QueueError::sdk("SendMessage to the queue"))?;
        Ok(())
    }
}

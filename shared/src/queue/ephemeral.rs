//! The queue of ephemeral messages: a standard one. A message's group is its room, so that SQS hands out rooms fairly.

use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_sqs::{Client, operation::send_message::SendMessageError};

use super::QueueError;
use crate::{aws::ThrottlesAreFinal, ephemeral::Ephemeral};

const PUT: &str = "SendMessage";

/// The place where the message route puts an ephemeral message, with exactly one network call.
pub trait EphemeralSink {
    /// Takes a message: when this returns `Ok`, the queue has it. A throttle is an error at once.
    fn put(&self, message: &Ephemeral) -> impl Future<Output = Result<(), QueueError>>;
}

/// The queue of ephemeral messages.
#[derive(Clone, Debug)]
pub struct EphemeralQueue {
    client: Client,
    url: Arc<str>,
}

impl EphemeralQueue {
    /// The queue with this URL.
    #[must_use]
    pub fn new(sdk: &SdkConfig, url: &str) -> Self {
        let patient = aws_sdk_sqs::config::Builder::from(sdk);
        let config = patient.retry_classifier(ThrottlesAreFinal::<SendMessageError>::default()).build();
        Self { client: Client::from_conf(config), url: url.into() }
    }
}

impl EphemeralSink for EphemeralQueue {
    async fn put(&self, message: &Ephemeral) -> Result<(), QueueError> {
        let send = self.client.send_message().queue_url(&*self.url).message_group_id(message.room.as_str());
        send.message_body(message.to_body()).send().await.map_err(QueueError::of_call(PUT))?;
        Ok(())
    }
}

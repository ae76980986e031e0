//! Where accepted messages go, and where those go that can never succeed.

mod batch;
pub mod dead_letter;
pub mod eventbridge;
pub mod shards;
pub mod sqs;
pub use batch::REASON;

use std::{error::Error, future::Future};

use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};

use crate::message::Message;

/// The message was not accepted by the queue or bus, after all attempts. The sender may try again, with the same id.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It takes no more for now: the sender should slow down.
    #[error("{operation} was throttled: {reason}")]
    Throttled {
        /// The call.
        operation: &'static str,
        /// What the SDK or the entry's result said.
        reason: String,
    },
    /// It did not answer, or refused.
    #[error("{operation} failed: {reason}")]
    Unavailable {
        /// The call.
        operation: &'static str,
        /// What the SDK or the entry's result said.
        reason: String,
    },
}

impl QueueError {
    fn sdk<E>(operation: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        move |error| {
            let code = error.code().map(str::to_owned);
            Self::of(operation, code.as_deref(), DisplayErrorContext(error).to_string())
        }
    }

    fn entry(operation: &'static str, code: Option<&str>, message: Option<&str>) -> Self {
        let reason = format!("{}: {}", code.unwrap_or("no code"), message.unwrap_or("no message"));
        Self::of(operation, code, reason)
    }

    /// The codes with which SQS and EventBridge say that a rate is exceeded.
    fn of(operation: &'static str, code: Option<&str>, reason: String) -> Self {
        match code {
            Some("ThrottlingException" | "Throttling" | "RequestThrottled" | "TooManyRequestsException") => {
                Self::Throttled { operation, reason }
            }
            _ => Self::Unavailable { operation, reason },
        }
    }
}

/// Where the message route puts a message: exactly one network call.
pub trait Sink: Send + Sync + 'static {
    /// Accepts a message: when this returns `Ok`, it is stored redundantly.
    fn put(&self, message: &Message) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// The sink that the configuration names.
#[derive(Clone, Debug)]
pub enum AnySink {
    /// The FIFO queue.
    Sqs(sqs::SqsQueue),
    /// The event bus.
    EventBridge(eventbridge::EventBus),
}

impl Sink for AnySink {
    async fn put(&self, message: &Message) -> Result<(), QueueError> {
        match self {
            Self::Sqs(queue) => queue.put(message).await,
            Self::EventBridge(bus) => bus.put(message).await,
        }
    }
}

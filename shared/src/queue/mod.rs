//! Queues: for accepted messages, for the parts of large broadcasts, and for records that can never succeed.

mod batch;
mod dead_letter;
pub mod ephemeral;
mod error;
pub mod eventbridge;
mod receipt;
mod received;
pub mod sqs;

use std::future::Future;

use aws_config::SdkConfig;
use aws_sdk_eventbridge::operation::put_events::PutEventsError;
use aws_sdk_sqs::operation::send_message::SendMessageError;

pub use dead_letter::REASON;
pub use error::QueueError;
pub use receipt::{Hold, Receipt};
pub use received::{NotARecord, Received, give_back};

use crate::{aws::ThrottlesAreFinal, message::Message, trace::TraceHeader};

/// The prefix of a record's deduplication id if it was sent again from a dead-letter queue. Its message may have
/// been logged already, however young the record is.
pub const REDRIVEN: &str = "redriven/";

/// A record for a FIFO queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its message group: records of one group are delivered in their order.
    pub group_id: String,
    /// The deduplication id: of a group's records with the same one, the queue takes one in five minutes.
    pub deduplication_id: String,
    /// The body, as the consumer reads it.
    pub body: String,
    /// The reason why it can never succeed, on its way to a dead-letter queue; goes into the message attribute
    /// [`REASON`].
    pub reason: Option<String>,
    /// The trace that it belongs to; goes with it as a system attribute.
    pub trace: Option<TraceHeader>,
}

impl Record {
    /// A message as a record of the rooms' queue, the same from every function that accepts messages.
    #[must_use]
    pub fn of_message(message: &Message, trace: Option<TraceHeader>) -> Self {
        Self {
            group_id: message.room.to_string(),
            // Deduplication is per group, for five minutes.
            deduplication_id: message.identity().to_deduplication_id(),
            body: message.to_body(),
            reason: None,
            trace,
        }
    }
}

/// A FIFO queue.
pub trait Queue {
    /// Sends records; says for each whether the queue has it.
    ///
    /// Records of one group keep their order: no call holds two of them, and after one that was not confirmed the rest
    /// of its group is not sent ([`QueueError::NotSent`]). A record that was not confirmed may be in the queue all the
    /// same; sent again with the same deduplication id, it is there once.
    ///
    /// A dead letter (a record with a reason) is always small enough: its reason is cut, and its body if need be.
    fn send(&self, records: &[Record]) -> impl Future<Output = Vec<Result<(), QueueError>>>;

    /// Sends records as [`Self::send`] does, but for their order, which does not matter: a call may hold as many of a
    /// group as fit, in their order, and none need be kept back because another failed. By default the order is kept
    /// all the same.
    fn send_unordered(&self, records: &[Record]) -> impl Future<Output = Vec<Result<(), QueueError>>> {
        self.send(records)
    }

    /// Makes received records visible again after so many seconds (at most 12 hours, SQS's limit); says for each
    /// whether it is so.
    fn postpone(&self, receipt_handles: &[String], seconds: u32) -> impl Future<Output = Vec<Result<(), QueueError>>>;

    /// Deletes received records; says for each whether it is deleted. Deleting again is fine.
    fn delete(&self, receipt_handles: &[String]) -> impl Future<Output = Vec<Result<(), QueueError>>>;

    /// About how many records the queue has, those in flight among them.
    fn depth(&self) -> impl Future<Output = Result<u64, QueueError>>;
}

/// The place where the message route puts a message, with exactly one network call.
pub trait Sink {
    /// Accepts a message, with the trace that it belongs to, if any. When this returns `Ok`, the message is stored
    /// redundantly. A throttle is an error: at once from an [`AnySink`], after the SDK's usual attempts from a queue or
    /// bus alone.
    fn put(&self, message: &Message, trace: Option<&TraceHeader>) -> impl Future<Output = Result<(), QueueError>>;
}

/// The sink that the configuration names.
#[derive(Clone, Debug)]
pub enum AnySink {
    /// The FIFO queue.
    Sqs(sqs::SqsQueue),
    /// The event bus.
    EventBridge(eventbridge::EventBus),
}

/// A client who waits for its reply is told of a throttle at once: it may try again, and the environment is free for
/// others.
impl AnySink {
    /// The FIFO queue with this URL.
    #[must_use]
    pub fn queue(sdk: &SdkConfig, url: &str) -> Self {
        let patient = aws_sdk_sqs::config::Builder::from(sdk);
        let config = patient.retry_classifier(ThrottlesAreFinal::<SendMessageError>::default()).build();
        Self::Sqs(sqs::SqsQueue::new(aws_sdk_sqs::Client::from_conf(config), url))
    }

    /// The event bus with this name.
    #[must_use]
    pub fn event_bus(sdk: &SdkConfig, name: &str) -> Self {
        let patient = aws_sdk_eventbridge::config::Builder::from(sdk);
        let config = patient.retry_classifier(ThrottlesAreFinal::<PutEventsError>::default()).build();
        Self::EventBridge(eventbridge::EventBus::new(aws_sdk_eventbridge::Client::from_conf(config), name))
    }
}

impl Sink for AnySink {
    async fn put(&self, message: &Message, trace: Option<&TraceHeader>) -> Result<(), QueueError> {
        match self {
            Self::Sqs(queue) => queue.put(message, trace).await,
            Self::EventBridge(bus) => bus.put(message, trace).await,
        }
    }
}

//! Records as Lambda hands them to a function that a queue feeds, and as the function gives them back.

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsMessage};

use super::{REDRIVEN, Receipt};
use crate::trace::TraceHeader;

/// A record that a queue has delivered.
#[derive(Debug)]
pub struct Received {
    /// Its id, by which it is given back.
    pub id: String,
    /// Its FIFO group; empty in a standard queue.
    pub group_id: String,
    /// How it was received.
    pub receipt: Receipt,
    /// Whether it was sent again from the dead-letter queue.
    pub is_redriven: bool,
    /// The trace that it belongs to.
    pub trace: Option<TraceHeader>,
    /// The body as it came.
    pub body: String,
}

/// A record that no queue can have delivered.
#[derive(Debug, thiserror::Error)]
#[error("a record has no messageId: is the function's event source an SQS queue?")]
pub struct NotARecord;

impl TryFrom<SqsMessage> for Received {
    type Error = NotARecord;

    fn try_from(message: SqsMessage) -> Result<Self, NotARecord> {
        let attribute = |name: &str| message.attributes.get(name).map(String::as_str);
        Ok(Self {
            id: message.message_id.ok_or(NotARecord)?,
            group_id: attribute("MessageGroupId").unwrap_or_default().to_owned(),
            is_redriven: attribute("MessageDeduplicationId").is_some_and(|id| id.starts_with(REDRIVEN)),
            trace: TraceHeader::sampled(attribute("AWSTraceHeader")),
            receipt: Receipt::of(message.receipt_handle, &message.attributes),
            body: message.body.unwrap_or_default(),
        })
    }
}

/// The answer of a function whose queue must keep the records with these ids. Lambda deletes the others.
#[must_use]
pub fn give_back(ids: impl IntoIterator<Item = String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures.extend(ids.into_iter().map(|id| {
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        failure
    }));
    response
}

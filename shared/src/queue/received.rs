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
    /// Its receipt.
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn received(record: Value) -> Result<Received, NotARecord> {
        serde_json::from_value::<SqsMessage>(record).unwrap().try_into()
    }

    #[test]
    fn a_record_is_what_the_queue_says_of_it() {
        let trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
        let Received { id, group_id, receipt, is_redriven, trace: told, body } = received(json!({
            "messageId": "m", "body": "b", "receiptHandle": "h",
            "attributes": {
                "MessageGroupId": "r", "MessageDeduplicationId": "redriven/m", "AWSTraceHeader": trace,
                "ApproximateReceiveCount": "2", "SentTimestamp": "77", "ApproximateFirstReceiveTimestamp": "78",
            },
        }))
        .unwrap();
        assert_eq!((id.as_str(), group_id.as_str(), body.as_str(), is_redriven), ("m", "r", "b", true));
        assert_eq!(receipt, Receipt { handle: "h".into(), receives: 2, queued_at: 77, first_received_at: 78 });
        assert_eq!(told, TraceHeader::sampled(Some(trace)));
        assert!(told.is_some());
    }

    #[test]
    fn a_record_of_a_standard_queue_has_no_group_and_may_have_no_body() {
        let Received { group_id, is_redriven, trace, body, .. } = received(json!({"messageId": "m"})).unwrap();
        assert_eq!((group_id.as_str(), is_redriven, body.as_str()), ("", false, ""));
        assert!(trace.is_none());
    }

    #[test]
    fn what_has_no_id_is_no_record() {
        let error = received(json!({"body": "b"})).unwrap_err().to_string();
        assert_eq!(error, "a record has no messageId: is the function's event source an SQS queue?");
    }

    #[test]
    fn records_are_given_back_by_their_ids_and_none_at_all_by_an_empty_list() {
        let told = |ids: &[&str]| serde_json::to_value(give_back(ids.iter().map(|id| (*id).to_owned()))).unwrap();
        assert_eq!(told(&["a", "b"]), json!({"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "b"}]}));
        assert_eq!(told(&[]), json!({"batchItemFailures": []}));
    }
}

//! FIFO queues. In the rooms' queue each room is a group, so that a room has one consumer at a time.

use std::sync::Arc;

use aws_sdk_sqs::{
    Client,
    error::BuildError,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
        MessageAttributeValue, MessageSystemAttributeNameForSends::AwsTraceHeader, MessageSystemAttributeValue,
        QueueAttributeName, SendMessageBatchRequestEntry,
    },
};

use super::{
    Queue, QueueError, REASON, Record, Sink,
    batch::{ENTRIES, Order, Pending, Sending},
};
use crate::{message::Message, trace::TraceHeader};

/// The longest visibility timeout, in seconds ("ChangeMessageVisibility": 12 hours).
const LONGEST_VISIBILITY: u32 = 43_200;

const PUT: &str = "SendMessage";
const SEND: &str = "SendMessageBatch";
const POSTPONE: &str = "ChangeMessageVisibilityBatch";
const DELETE: &str = "DeleteMessageBatch";
const DEPTH: &str = "GetQueueAttributes";

/// A FIFO queue: the rooms' queue, the shard queue, the presence queue, or a dead-letter queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    url: Arc<str>,
}

impl SqsQueue {
    /// The queue with this URL.
    #[must_use]
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.into() }
    }

    async fn send_all(&self, mut sending: Sending<'_>) -> Vec<Result<(), QueueError>> {
        loop {
            let call = sending.next_call();
            if call.is_empty() {
                return sending.finish();
            }
            let results = self.send_call(&call).await;
            sending.settle(&call, results);
        }
    }

    async fn send_call(&self, call: &[Pending<'_>]) -> Vec<Result<(), QueueError>> {
        let answer = async {
            let entries = numbered(SEND, call, send_entry)?;
            let send = self.client.send_message_batch().queue_url(&*self.url).set_entries(Some(entries));
            let output = send.send().await.map_err(QueueError::of_call(SEND))?;
            Ok(Answer {
                confirmed: output.successful.into_iter().map(|entry| entry.id).collect(),
                failed: output.failed,
            })
        };
        results(SEND, call.len(), answer.await)
    }

    async fn postpone_call(&self, receipt_handles: &[String], seconds: i32) -> Vec<Result<(), QueueError>> {
        let answer = async {
            let entries = numbered(POSTPONE, receipt_handles, |id, handle| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(id).receipt_handle(handle);
                entry.visibility_timeout(seconds).build()
            })?;
            let change = self.client.change_message_visibility_batch().queue_url(&*self.url);
            let output = change.set_entries(Some(entries)).send().await.map_err(QueueError::of_call(POSTPONE))?;
            Ok(Answer {
                confirmed: output.successful.into_iter().map(|entry| entry.id).collect(),
                failed: output.failed,
            })
        };
        results(POSTPONE, receipt_handles.len(), answer.await)
    }

    async fn delete_call(&self, receipt_handles: &[String]) -> Vec<Result<(), QueueError>> {
        let answer = async {
            let entries = numbered(DELETE, receipt_handles, |id, handle| {
                DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build()
            })?;
            let delete = self.client.delete_message_batch().queue_url(&*self.url).set_entries(Some(entries));
            let output = delete.send().await.map_err(QueueError::of_call(DELETE))?;
            Ok(Answer {
                confirmed: output.successful.into_iter().map(|entry| entry.id).collect(),
                failed: output.failed,
            })
        };
        results(DELETE, receipt_handles.len(), answer.await)
    }
}

/// The entries of a call. Their ids are their places in it, by which [`results`] finds them again.
fn numbered<T, E>(
    operation: &'static str,
    items: &[T],
    entry: impl Fn(String, &T) -> Result<E, BuildError>,
) -> Result<Vec<E>, QueueError> {
    let entries = items.iter().enumerate().map(|(place, item)| entry(place.to_string(), item));
    entries.collect::<Result<_, _>>().map_err(|error| not_built(operation, &error))
}

fn send_entry(id: String, pending: &Pending<'_>) -> Result<SendMessageBatchRequestEntry, BuildError> {
    let mut entry = SendMessageBatchRequestEntry::builder()
        .id(id)
        .message_group_id(&pending.record.group_id)
        .message_deduplication_id(&pending.record.deduplication_id)
        .message_body(&*pending.sendable.body);
    if let Some(trace) = &pending.record.trace {
        entry = entry.message_system_attributes(AwsTraceHeader, attribute(trace)?);
    }
    match &pending.sendable.reason {
        None => entry.build(),
        Some(reason) => {
            let value = MessageAttributeValue::builder().data_type("String").string_value(reason).build()?;
            entry.message_attributes(REASON, value).build()
        }
    }
}

/// A trace's header as a system attribute, which counts towards no size.
fn attribute(trace: &TraceHeader) -> Result<MessageSystemAttributeValue, BuildError> {
    MessageSystemAttributeValue::builder().data_type("String").string_value(trace.as_str()).build()
}

fn not_built(operation: &'static str, error: &BuildError) -> QueueError {
    QueueError::of_entry(operation, None, Some(&error.to_string()))
}

/// The results of a call's entries.
struct Answer {
    /// The ids of the entries that were carried out.
    confirmed: Vec<String>,
    failed: Vec<BatchResultErrorEntry>,
}

/// The result of each entry of a call. A call can succeed while entries of it fail; an entry of which the answer says
/// nothing counts as not confirmed.
fn results(operation: &'static str, entries: usize, answer: Result<Answer, QueueError>) -> Vec<Result<(), QueueError>> {
    let Answer { confirmed, failed } = match answer {
        Ok(answer) => answer,
        Err(error) => return vec![Err(error); entries],
    };
    let result = |place: usize| {
        let id = place.to_string();
        if confirmed.contains(&id) {
            return Ok(());
        }
        let failed = failed.iter().find(|entry| entry.id() == id);
        let code = failed.map(BatchResultErrorEntry::code);
        Err(QueueError::of_entry(operation, code, failed.and_then(BatchResultErrorEntry::message)))
    };
    (0..entries).map(result).collect()
}

impl Queue for SqsQueue {
    async fn send(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
        self.send_all(Sending::new(records, Order::Kept)).await
    }

    async fn send_unordered(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
        self.send_all(Sending::new(records, Order::Free)).await
    }

    async fn delete(&self, receipt_handles: &[String]) -> Vec<Result<(), QueueError>> {
        let mut results = Vec::with_capacity(receipt_handles.len());
        for call in receipt_handles.chunks(ENTRIES) {
            results.extend(self.delete_call(call).await);
        }
        results
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        let wanted = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let call = self.client.get_queue_attributes().queue_url(&*self.url);
        let output =
            call.set_attribute_names(Some(wanted.to_vec())).send().await.map_err(QueueError::of_call(DEPTH))?;
        let number = |name: &QueueAttributeName| output.attributes.as_ref()?.get(name)?.parse::<u64>().ok();
        let numbers: Option<Vec<_>> = wanted.iter().map(number).collect();
        numbers.map(|numbers| numbers.iter().sum()).ok_or_else(|| QueueError::Unavailable {
            operation: DEPTH,
            reason: "the answer has no numbers of messages".to_owned(),
        })
    }

    async fn postpone(&self, receipt_handles: &[String], seconds: u32) -> Vec<Result<(), QueueError>> {
        let seconds = i32::try_from(seconds.min(LONGEST_VISIBILITY)).unwrap_or(i32::MAX);
        let mut results = Vec::with_capacity(receipt_handles.len());
        for call in receipt_handles.chunks(ENTRIES) {
            results.extend(self.postpone_call(call, seconds).await);
        }
        results
    }
}

impl Sink for SqsQueue {
    async fn put(&self, message: &Message, trace: Option<&TraceHeader>) -> Result<(), QueueError> {
        let record = Record::of_message(message, trace.cloned());
        let mut send = self
            .client
            .send_message()
            .queue_url(&*self.url)
            .message_group_id(record.group_id)
            .message_deduplication_id(record.deduplication_id)
            .message_body(record.body);
        if let Some(trace) = &record.trace {
            let header = attribute(trace).map_err(|error| not_built(PUT, &error))?;
            send = send.message_system_attributes(AwsTraceHeader, header);
        }
        send.send().await.map_err(QueueError::of_call(PUT))?;
        Ok(())
    }
}

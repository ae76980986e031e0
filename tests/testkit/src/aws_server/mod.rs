//! A fake SQS and EventBridge, which keeps messages and events for tests to look at.
//!
//! It is a [`Backend`] behind an [`AwsEndpoint`], so every call is counted and may be made to fail. Calls of any other
//! service are recorded too, and refused.

mod checksum;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::aws_endpoint::{AwsEndpoint, Backend, Call, Rule, error_reply, json_reply};
use crate::http_server::{Reply, Request};

pub use checksum::md5_of_attributes;

/// The most bytes of a message with its attributes, and of all messages of a batch, that every queue takes ("Amazon SQS
/// message quotas"; newer queues take 1 MiB).
pub const MAX_BYTES: usize = 256 * 1024;

/// A message that a queue has taken.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuedMessage {
    /// The queue.
    pub queue_url: String,
    /// The id given to the message.
    pub message_id: String,
    /// The body.
    pub body: String,
    /// The message group.
    pub group_id: Option<String>,
    /// The deduplication id.
    pub deduplication_id: Option<String>,
    /// The attributes as they were sent: `{name: {DataType, StringValue}}`.
    pub attributes: Value,
    /// The system attribute `AWSTraceHeader`.
    pub trace: Option<String>,
}

impl QueuedMessage {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// The value of a String attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.get("StringValue")?.as_str()
    }
}

/// A change of a received message's visibility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postponed {
    /// The queue.
    pub queue_url: String,
    /// The message's receipt handle.
    pub receipt_handle: String,
    /// The seconds after which the message is visible again.
    pub seconds: u64,
}

/// The running endpoint.
#[derive(Debug)]
pub struct AwsServer {
    endpoint: AwsEndpoint,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    messages: Vec<QueuedMessage>,
    events: Vec<Value>,
    postponed: Vec<Postponed>,
    deleted: Vec<String>,
    /// The message ids of FIFO queues, by queue, group and deduplication id.
    seen: HashMap<(String, String, String), String>,
    sequence: u64,
}

impl AwsServer {
    /// Starts on a free port.
    pub fn start() -> Self {
        let taken = Arc::new(Mutex::new(Taken::default()));
        Self { endpoint: AwsEndpoint::start(QueuesAndBuses(Arc::clone(&taken))), taken }
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        self.endpoint.url()
    }

    /// A queue's URL. Any name will do; a name with `.fifo` at its end makes a FIFO queue.
    pub fn queue_url(&self, name: &str) -> String {
        format!("{}/000000000000/{name}", self.endpoint.url())
    }

    /// The messages that a queue has taken, in order, by the queue's name or URL. A FIFO queue takes a message only
    /// once for each deduplication id and group, as one with `DeduplicationScope: messageGroup` does.
    pub fn messages(&self, queue: &str) -> Vec<QueuedMessage> {
        let taken = self.taken.lock().unwrap();
        let is_queue = |message: &&QueuedMessage| {
            message.queue_url == queue || message.queue_url.rsplit('/').next() == Some(queue)
        };
        taken.messages.iter().filter(is_queue).cloned().collect()
    }

    /// The receipt handles of the records that consumers have deleted themselves, in order.
    pub fn deleted(&self) -> Vec<String> {
        self.taken.lock().unwrap().deleted.clone()
    }

    /// The event entries that buses have taken, as they were put.
    pub fn events(&self) -> Vec<Value> {
        self.taken.lock().unwrap().events.clone()
    }

    /// The changes of visibility that were carried out, in order.
    pub fn postponed(&self) -> Vec<Postponed> {
        self.taken.lock().unwrap().postponed.clone()
    }

    /// Adds a rule for calls that are to fail.
    pub fn fault(&self, rule: Rule) {
        self.endpoint.fault(rule);
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.endpoint.calls()
    }

    /// The operations called so far, in order, for tests of exactly which calls are made.
    pub fn operations(&self) -> Vec<String> {
        self.endpoint.operations()
    }

    /// The endpoint itself, for everything else that it can do.
    pub fn endpoint(&self) -> &AwsEndpoint {
        &self.endpoint
    }
}

struct QueuesAndBuses(Arc<Mutex<Taken>>);

impl Backend for QueuesAndBuses {
    async fn call(&self, operation: &str, body: &Value, _: &Request) -> Reply {
        let mut taken = self.0.lock().unwrap();
        match operation {
            "SendMessage" => match taken.send(&body["QueueUrl"], body) {
                Ok(sent) => json_reply(200, &sent),
                Err(refusal) => error_reply(400, "com.amazonaws.sqs#MissingParameter", refusal),
            },
            "SendMessageBatch" => taken.send_batch(body),
            "ChangeMessageVisibilityBatch" => taken.change_visibility(body),
            "DeleteMessageBatch" => taken.delete(body),
            "GetQueueAttributes" => taken.attributes(&body["QueueUrl"]),
            "PutEvents" => taken.put_events(body),
            _ => error_reply(400, "UnknownOperationException", &format!("this endpoint has no {operation}")),
        }
    }
}

impl Taken {
    fn send(&mut self, queue_url: &Value, entry: &Value) -> Result<Value, &'static str> {
        let text = |name: &str| entry[name].as_str().map(str::to_owned);
        let queue_url = queue_url.as_str().ok_or("The request must contain the parameter QueueUrl.")?.to_owned();
        let body = text("MessageBody").ok_or("The request must contain the parameter MessageBody.")?;
        let (group_id, deduplication_id) = (text("MessageGroupId"), text("MessageDeduplicationId"));
        let attributes = entry.get("MessageAttributes").cloned().unwrap_or_else(|| json!({}));
        if bytes(entry) > MAX_BYTES {
            return Err("One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes.");
        }
        let values = attributes.as_object().into_iter().flatten().map(|(_, attribute)| &attribute["StringValue"]);
        if body.is_empty() || values.into_iter().any(|value| value == "") {
            return Err("Neither a body nor an attribute's value may be empty.");
        }
        let mut sent = json!({ "MD5OfMessageBody": checksum::md5_hex(body.as_bytes()) });
        if attributes.as_object().is_some_and(|attributes| !attributes.is_empty()) {
            sent["MD5OfMessageAttributes"] = json!(md5_of_attributes(&attributes));
        }
        let mut message_id = format!("00000000-0000-4000-8000-{:012}", self.messages.len());
        let mut repeated = false;
        if queue_url.strip_suffix(".fifo").is_some() {
            let group = group_id.clone().ok_or("The request must contain the parameter MessageGroupId.")?;
            let deduplication = deduplication_id.clone();
            let deduplication = deduplication.ok_or(
                "The queue should either have ContentBasedDeduplication enabled or \
                                     MessageDeduplicationId provided explicitly",
            )?;
            self.sequence += 1;
            sent["SequenceNumber"] = json!(format!("{:020}", self.sequence));
            let key = (queue_url.clone(), group, deduplication);
            match self.seen.get(&key) {
                Some(earlier) => {
                    repeated = true;
                    message_id.clone_from(earlier);
                }
                None => drop(self.seen.insert(key, message_id.clone())),
            }
        }
        sent["MessageId"] = json!(message_id);
        if !repeated {
            let trace = entry["MessageSystemAttributes"]["AWSTraceHeader"]["StringValue"].as_str().map(str::to_owned);
            let message = QueuedMessage { queue_url, message_id, body, group_id, deduplication_id, attributes, trace };
            self.messages.push(message);
        }
        Ok(sent)
    }

    fn send_batch(&mut self, batch: &Value) -> Reply {
        let entries = batch["Entries"].as_array().map_or(&[][..], Vec::as_slice);
        if entries.iter().map(bytes).sum::<usize>() > MAX_BYTES {
            let kind = "com.amazonaws.sqs#BatchRequestTooLong";
            let reply = error_reply(400, kind, "Batch requests cannot be longer than 262144 bytes.");
            return reply.header("x-amzn-query-error", "AWS.SimpleQueueService.BatchRequestTooLong;Sender");
        }
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in batch["Entries"].as_array().into_iter().flatten() {
            match self.send(&batch["QueueUrl"], entry) {
                Ok(mut sent) => {
                    sent["Id"] = entry["Id"].clone();
                    successful.push(sent);
                }
                Err(refusal) => failed.push(json!({
                    "Id": entry["Id"], "SenderFault": true, "Code": "MissingParameter", "Message": refusal,
                })),
            }
        }
        if successful.is_empty() && failed.is_empty() {
            let kind = "com.amazonaws.sqs#EmptyBatchRequest";
            return error_reply(400, kind, "There should be at least one SendMessageBatchRequestEntry in the request.");
        }
        let mut body = json!({ "Successful": successful });
        if !failed.is_empty() {
            body["Failed"] = Value::Array(failed);
        }
        json_reply(200, &body)
    }

    /// Changes the visibility of messages; any receipt handle is accepted.
    fn change_visibility(&mut self, batch: &Value) -> Reply {
        let entries = batch["Entries"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.postponed.extend(entries.iter().map(|entry| Postponed {
            queue_url: text(&batch["QueueUrl"]),
            receipt_handle: text(&entry["ReceiptHandle"]),
            seconds: entry["VisibilityTimeout"].as_u64().unwrap_or_default(),
        }));
        let successful: Vec<_> = entries.iter().map(|entry| json!({ "Id": entry["Id"] })).collect();
        json_reply(200, &json!({ "Successful": successful, "Failed": [] }))
    }

    fn delete(&mut self, batch: &Value) -> Reply {
        let entries = batch["Entries"].as_array().cloned().unwrap_or_default();
        let handles = entries.iter().map(|entry| entry["ReceiptHandle"].as_str().unwrap_or_default().to_owned());
        self.deleted.extend(handles);
        let successful: Vec<_> = entries.iter().map(|entry| json!({ "Id": entry["Id"] })).collect();
        json_reply(200, &json!({ "Successful": successful, "Failed": [] }))
    }

    /// The attributes of a queue. All its messages are visible, since nothing is received here.
    fn attributes(&self, queue_url: &Value) -> Reply {
        let messages = self.messages.iter().filter(|message| queue_url == message.queue_url.as_str()).count();
        let attributes = json!({
            "ApproximateNumberOfMessages": messages.to_string(), "ApproximateNumberOfMessagesNotVisible": "0",
        });
        json_reply(200, &json!({ "Attributes": attributes }))
    }

    fn put_events(&mut self, body: &Value) -> Reply {
        let entries = body["Entries"].as_array().cloned().unwrap_or_default();
        let first = self.events.len();
        let results: Vec<_> = (first..first + entries.len())
            .map(|number| json!({ "EventId": format!("10000000-0000-4000-8000-{number:012}") }))
            .collect();
        self.events.extend(entries);
        json_reply(200, &json!({ "FailedEntryCount": 0, "Entries": results }))
    }
}

/// The bytes that SQS counts for an entry: its body, and the name, type and value of each attribute.
fn bytes(entry: &Value) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    let attributes = entry["MessageAttributes"].as_object().into_iter().flatten();
    let attributes = attributes
        .map(|(name, attribute)| name.len() + length(&attribute["DataType"]) + length(&attribute["StringValue"]));
    length(&entry["MessageBody"]) + attributes.sum::<usize>()
}

#[cfg(test)]
mod tests;

//! The events that AWS hands to the functions.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

fn unix_millis() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The body of a queued message, version 1.
pub fn queued_message(room: &str, id: &str, from: &str, data: &Value) -> Value {
    json!({ "v": 1, "roomId": room, "id": id, "from": from, "sentAt": unix_millis(), "data": data })
}

/// A record of the FIFO queue.
#[derive(Clone, Debug)]
pub struct QueueRecord {
    /// The id by which the function reports it as failed.
    pub message_id: String,
    /// The message group.
    pub group: String,
    /// The body.
    pub body: String,
    /// The number of times that the queue has delivered it, this time included.
    pub receive_count: u32,
    /// The time when the queue took it, in milliseconds since the Unix epoch; `None` means just now.
    pub queued_at: Option<u64>,
    /// The time when it was received first, likewise.
    pub first_received_at: Option<u64>,
}

/// The same batch with its records as parts of a trace: each has its sender's X-Ray header.
#[must_use]
pub fn traced(mut batch: Value, header: &str) -> Value {
    for record in batch["Records"].as_array_mut().expect("records") {
        record["attributes"]["AWSTraceHeader"] = json!(header);
    }
    batch
}

impl QueueRecord {
    /// A record delivered for the first time.
    pub fn new(message_id: &str, group: &str, body: impl ToString) -> Self {
        let (message_id, group, body) = (message_id.to_owned(), group.to_owned(), body.to_string());
        Self { message_id, group, body, receive_count: 1, queued_at: None, first_received_at: None }
    }

    /// A message from `alice` for a room; the record has the message's id.
    pub fn message(room: &str, id: &str, data: &Value) -> Self {
        Self::new(id, room, queued_message(room, id, "alice", data))
    }

    /// The same record, delivered this many times.
    #[must_use]
    pub fn received(mut self, times: u32) -> Self {
        self.receive_count = times;
        self
    }

    /// The same record, taken by the queue at this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn queued_at(mut self, unix_millis: u64) -> Self {
        self.queued_at = Some(unix_millis);
        self
    }

    /// The same record, received first at this time, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn first_received_at(mut self, unix_millis: u64) -> Self {
        self.first_received_at = Some(unix_millis);
        self
    }

    /// The receipt handle that the queue has handed out with this delivery of it.
    pub fn receipt_handle(&self) -> String {
        format!("handle-{}-of-{}", self.receive_count, self.message_id)
    }

    fn to_json(&self, position: usize) -> Value {
        let millis = |time: Option<u64>| time.unwrap_or_else(unix_millis).to_string();
        json!({
            "messageId": self.message_id,
            "receiptHandle": self.receipt_handle(),
            "body": self.body,
            "attributes": {
                "ApproximateReceiveCount": self.receive_count.to_string(),
                "SentTimestamp": millis(self.queued_at),
                "SequenceNumber": format!("{position:020}"),
                "MessageGroupId": self.group,
                "SenderId": "AIDATEST",
                "MessageDeduplicationId": format!("deduplication-of-{}", self.message_id),
                "ApproximateFirstReceiveTimestamp": millis(self.first_received_at),
            },
            "messageAttributes": {},
            "md5OfBody": format!("{:x}", md5::compute(&self.body)),
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:broadcasts.fifo",
            "awsRegion": "us-east-1",
        })
    }
}

/// A batch of the queue.
pub fn queue_batch(records: &[QueueRecord]) -> Value {
    let records: Vec<_> = records.iter().enumerate().map(|(position, record)| record.to_json(position)).collect();
    json!({ "Records": records })
}

/// A batch of the standard queue that the bus's rule puts events into: records `r-0`, `r-1`, ... with these bodies.
pub fn event_batch<B: ToString>(bodies: impl IntoIterator<Item = B>) -> Value {
    let now = unix_millis().to_string();
    let record = |(position, body): (usize, B)| {
        json!({
            "messageId": format!("r-{position}"),
            "receiptHandle": format!("handle-of-r-{position}"),
            "body": body.to_string(),
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": now,
                "SenderId": "AIDATEST",
                "ApproximateFirstReceiveTimestamp": now,
            },
            "messageAttributes": {},
            "md5OfBody": format!("{:x}", md5::compute(body.to_string())),
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:events",
            "awsRegion": "us-east-1",
        })
    };
    json!({ "Records": bodies.into_iter().enumerate().map(record).collect::<Vec<_>>() })
}

/// The ids that a function's response to a batch reports as failed.
pub fn batch_item_failures(response: &Value) -> Vec<String> {
    let failures = response["batchItemFailures"].as_array().expect("a batch response");
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().expect("an id").to_owned()).collect()
}

/// `$connect`, authorized for a subject.
pub fn connect(connection: &str, subject: &str, room: Option<&str>) -> Value {
    let mut event = socket_event("CONNECT", "$connect", connection, subject);
    if let Some(room) = room {
        event["queryStringParameters"] = json!({ "roomId": room });
        event["multiValueQueryStringParameters"] = json!({ "roomId": [room] });
    }
    event
}

/// `$disconnect`.
pub fn disconnect(connection: &str, subject: &str) -> Value {
    let mut event = socket_event("DISCONNECT", "$disconnect", connection, subject);
    event["requestContext"]["disconnectStatusCode"] = json!(1005);
    event["requestContext"]["disconnectReason"] = json!("Client-side close frame status not set");
    event
}

/// A frame from a client. The functions go by its `action`, whatever the route that API Gateway takes.
pub fn frame(connection: &str, subject: &str, text: &str) -> Value {
    let mut event = socket_event("MESSAGE", "$default", connection, subject);
    event["requestContext"]["messageId"] = json!(format!("message-{}=", fastrand::u32(..)));
    event["body"] = json!(text);
    event
}

/// Every right in every room.
pub fn everywhere() -> Value {
    json!({ "*": ["join", "send", "history", "state"] })
}

/// The authorizer's context for a subject with rights until a time, in seconds since the Unix epoch.
pub fn granted(subject: &str, rights: &Value, expires_at: u64) -> Value {
    json!({
        "principalId": subject, "sub": subject, "rooms": rights.to_string(), "exp": expires_at.to_string(), "integrationLatency": 1,
    })
}

fn socket_event(kind: &str, route: &str, connection: &str, subject: &str) -> Value {
    json!({
        "requestContext": {
            "routeKey": route,
            "eventType": kind,
            "extendedRequestId": "request=",
            "requestTime": "21/Nov/2026:00:00:00 +0000",
            "messageDirection": "IN",
            "stage": "production",
            "connectedAt": unix_millis(),
            "requestTimeEpoch": unix_millis(),
            "identity": { "sourceIp": "127.0.0.1" },
            "requestId": "request=",
            "domainName": "api.execute-api.us-east-1.amazonaws.com",
            "connectionId": connection,
            "apiId": "api",
            // API Gateway hands the authorizer's context on as texts.
            "authorizer": granted(subject, &everywhere(), u64::MAX),
        },
        "isBase64Encoded": false,
    })
}

/// The event of the REQUEST authorizer of `$connect`.
pub fn authorizer_request(query: &Value, headers: &Value) -> Value {
    json!({
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:us-east-1:000000000000:api/production/$connect",
        "headers": headers,
        "multiValueHeaders": multi_value(headers),
        "queryStringParameters": query,
        "multiValueQueryStringParameters": multi_value(query),
        "stageVariables": {},
        "requestContext": {
            "routeKey": "$connect",
            "eventType": "CONNECT",
            "stage": "production",
            "identity": { "sourceIp": "127.0.0.1" },
            "requestId": "request=",
            "connectionId": "connection=",
            "apiId": "api",
        },
    })
}

fn multi_value(single: &Value) -> Value {
    let values = single.as_object().into_iter().flatten();
    Value::Object(values.map(|(name, value)| (name.clone(), json!([value]))).collect())
}

/// A producer's event as a rule hands it to its target.
pub fn bus_event(id: &str, source: &str, detail: &Value) -> Value {
    json!({
        "version": "0",
        "id": id,
        "detail-type": "roomcast.message",
        "source": source,
        "account": "000000000000",
        "time": "2026-11-21T00:00:00Z",
        "region": "us-east-1",
        "resources": [],
        "detail": detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_carries_its_records_in_order() {
        let batch = queue_batch(&[
            QueueRecord::message("room", "a", &json!(1)),
            QueueRecord::new("b", "room", "poison").received(3),
        ]);
        assert_eq!(batch["Records"][0]["attributes"]["MessageGroupId"], "room");
        assert_eq!(batch["Records"][1]["body"], "poison");
        assert_eq!(batch["Records"][1]["attributes"]["ApproximateReceiveCount"], "3");
        let response = json!({ "batchItemFailures": [{ "itemIdentifier": "b" }] });
        assert_eq!(batch_item_failures(&response), ["b"]);
    }
}

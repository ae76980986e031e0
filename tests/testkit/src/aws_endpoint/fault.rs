//! Faults, and the rules that say which calls they happen to.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Call, Hold, error_reply, json_reply};
use crate::http_server::Reply;

/// The fate of a call instead of simply being carried out.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It gets this answer, and the service does not see it.
    Reply(Reply),
    /// It is carried out after this time.
    Delay(Duration),
    /// It is carried out when the test releases it.
    Held(Hold),
    /// It is never carried out nor answered.
    Hang,
    /// The connection is reset, and the call is not carried out.
    DropBefore,
    /// The call is carried out, then the connection is reset: the client cannot know which.
    DropAfter,
    /// Only a part of a batch is carried out.
    Partial(Partial),
}

/// The part of a batch that is not carried out, and what the answer says of it.
#[derive(Clone, Debug)]
pub enum Partial {
    /// `BatchWriteItem` and `BatchGetItem`: only this many requests; the others come back as `UnprocessedItems` or
    /// `UnprocessedKeys`.
    Unprocessed {
        /// The number of requests that are carried out.
        processed: usize,
    },
    /// `SendMessageBatch`, `ChangeMessageVisibilityBatch` and `PutEvents`: the entries at these positions (from 0)
    /// fail.
    Entries {
        /// The positions of the entries that fail.
        places: Vec<usize>,
        /// The code that they fail with.
        code: String,
        /// Whether it is the sender's fault: then no retry can help (SQS only).
        sender_fault: bool,
    },
}

impl Fault {
    /// 400 `ProvisionedThroughputExceededException` of DynamoDB.
    pub fn throughput_exceeded() -> Self {
        let message = "The level of configured provisioned throughput for the table was exceeded.";
        Self::dynamodb("ProvisionedThroughputExceededException", message)
    }

    /// 400 `ThrottlingException`, which every service knows.
    pub fn throttling() -> Self {
        Self::Reply(error_reply(400, "ThrottlingException", "Rate exceeded"))
    }

    /// 400 `KmsThrottled` of SQS: too many calls for the key of an encrypted queue. As for all SQS errors that had
    /// another name in the service's older protocol, the code is in a header, and not the error's type.
    pub fn kms_throttling() -> Self {
        let reply = error_reply(400, "com.amazonaws.sqs#KmsThrottled", "Rate exceeded");
        Self::Reply(reply.header("x-amzn-query-error", "KMS.ThrottlingException;Sender"))
    }

    /// 400 `TransactionCanceledException` with a reason code for each item: `ConditionalCheckFailed`,
    /// `TransactionConflict`, or `None` for an item that was not the reason.
    pub fn transaction_cancelled(codes: &[&str]) -> Self {
        Self::Reply(transaction_cancelled(codes))
    }

    /// 400 `ConditionalCheckFailedException` of DynamoDB.
    pub fn condition_failed() -> Self {
        Self::dynamodb("ConditionalCheckFailedException", "The conditional request failed")
    }

    /// 400 `AccessDeniedException`: the role does not allow the call.
    pub fn access_denied() -> Self {
        Self::Reply(error_reply(400, "AccessDeniedException", "User is not authorized to perform this action"))
    }

    /// 500 `InternalServerError`.
    pub fn internal_error() -> Self {
        Self::Reply(error_reply(500, "InternalServerError", "The request processing has failed"))
    }

    /// Only this many requests of a `BatchWriteItem` or keys of a `BatchGetItem` are carried out.
    pub fn unprocessed_after(processed: usize) -> Self {
        Self::Partial(Partial::Unprocessed { processed })
    }

    /// The entries at these positions (from 0) of a `SendMessageBatch`, `ChangeMessageVisibilityBatch` or `PutEvents`
    /// fail, by the service's fault.
    pub fn failed_entries(places: &[usize], code: &str) -> Self {
        Self::Partial(Partial::Entries { places: places.to_vec(), code: code.to_owned(), sender_fault: false })
    }

    fn dynamodb(kind: &str, message: &str) -> Self {
        Self::Reply(error_reply(400, &format!("com.amazonaws.dynamodb.v20120810#{kind}"), message))
    }
}

/// 400 `TransactionCanceledException` with a reason code for each item.
pub(crate) fn transaction_cancelled(codes: &[&str]) -> Reply {
    let reasons: Vec<_> = codes.iter().map(|code| reason(code)).collect();
    let message =
        format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{}]", codes.join(", "));
    json_reply(
        400,
        &json!({
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": message,
            "CancellationReasons": reasons,
        }),
    )
}

fn reason(code: &str) -> Value {
    match code {
        "None" => json!({ "Code": code }),
        "ConditionalCheckFailed" => json!({ "Code": code, "Message": "The conditional request failed" }),
        _ => json!({ "Code": code, "Message": code }),
    }
}

type Condition = Box<dyn Fn(&Call) -> bool + Send>;

/// The calls that a [`Fault`] happens to: all of an operation, unless the rule is narrowed.
pub struct Rule {
    operation: String,
    fault: Fault,
    condition: Option<Condition>,
    skip: usize,
    left: Option<usize>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} after {} ({:?} left): {:?}", self.operation, self.skip, self.left, self.fault)
    }
}

impl Rule {
    /// Every call of this operation.
    pub fn on(operation: &str, fault: Fault) -> Self {
        Self { operation: operation.to_owned(), fault, condition: None, skip: 0, left: None }
    }

    /// Only calls for which this is true.
    #[must_use]
    pub fn when(mut self, condition: impl Fn(&Call) -> bool + Send + 'static) -> Self {
        self.condition = Some(Box::new(condition));
        self
    }

    /// Only after this many matching calls.
    #[must_use]
    pub fn after(mut self, calls: usize) -> Self {
        self.skip = calls;
        self
    }

    /// Only this many calls.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.left = Some(times);
        self
    }

    pub(super) fn decide(&mut self, call: &Call) -> Option<Fault> {
        if call.operation != self.operation || self.condition.as_ref().is_some_and(|condition| !condition(call)) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        Some(self.fault.clone())
    }
}

/// The part of a batch that was taken out before the rest was carried out.
pub(super) struct HeldBack {
    unprocessed: Map<String, Value>,
    entries: Vec<(usize, Value)>,
}

impl Partial {
    /// Splits a call's body into the part that is carried out and the rest.
    pub(super) fn hold_back(&self, operation: &str, body: &Value) -> (Value, HeldBack) {
        let mut kept = body.clone();
        let mut held_back = HeldBack { unprocessed: Map::new(), entries: Vec::new() };
        match self {
            Self::Unprocessed { processed } => {
                let tables = kept.get_mut("RequestItems").and_then(Value::as_object_mut);
                let tables = tables.unwrap_or_else(|| panic!("{operation} has no RequestItems"));
                let mut left = *processed;
                for (table, requests) in tables.iter_mut() {
                    let mut rest = requests.clone();
                    let kept = requests_of(requests);
                    let unprocessed = kept.split_off(left.min(kept.len()));
                    left -= kept.len();
                    if !unprocessed.is_empty() {
                        *requests_of(&mut rest) = unprocessed;
                        held_back.unprocessed.insert(table.clone(), rest);
                    }
                }
                tables.retain(|_, requests| !requests_of(requests).is_empty());
            }
            Self::Entries { places, code, sender_fault } => {
                let entries = kept.get_mut("Entries").and_then(Value::as_array_mut);
                let entries = entries.unwrap_or_else(|| panic!("{operation} has no Entries"));
                let mut place = 0;
                entries.retain(|entry| {
                    let fails = places.contains(&place);
                    if fails {
                        held_back.entries.push((place, failure(operation, entry, code, *sender_fault)));
                    }
                    place += 1;
                    !fails
                });
            }
        }
        (kept, held_back)
    }

    /// Whether anything is left to be carried out; services refuse empty batches.
    pub(super) fn nothing_left(body: &Value) -> bool {
        let empty_tables = body.get("RequestItems").and_then(Value::as_object).is_some_and(Map::is_empty);
        empty_tables || body.get("Entries").and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    /// The answer of a service to an empty batch, which it would actually refuse.
    pub(super) fn empty_reply(operation: &str) -> Reply {
        match operation {
            "SendMessageBatch" | "ChangeMessageVisibilityBatch" => {
                json_reply(200, &json!({ "Successful": [], "Failed": [] }))
            }
            "PutEvents" => json_reply(200, &json!({ "Entries": [], "FailedEntryCount": 0 })),
            "BatchGetItem" => json_reply(200, &json!({ "Responses": {}, "UnprocessedKeys": {} })),
            _ => json_reply(200, &json!({ "UnprocessedItems": {} })),
        }
    }
}

/// The requests of one table in a batch: an array, or that of the keys in it.
fn requests_of(table: &mut Value) -> &mut Vec<Value> {
    let requests = if table.is_array() { table } else { &mut table["Keys"] };
    requests.as_array_mut().expect("an array of requests")
}

fn failure(operation: &str, entry: &Value, code: &str, sender_fault: bool) -> Value {
    if operation == "PutEvents" {
        json!({ "ErrorCode": code, "ErrorMessage": "scripted to fail" })
    } else {
        json!({ "Id": entry["Id"], "Code": code, "Message": "scripted to fail", "SenderFault": sender_fault })
    }
}

impl HeldBack {
    /// Adds the part that was held back to the answer.
    pub(super) fn add_to(self, operation: &str, reply: Reply) -> Reply {
        if reply.status != 200 {
            return reply;
        }
        let mut body: Value = serde_json::from_slice(&reply.body).expect("a JSON answer");
        match operation {
            "BatchWriteItem" => body["UnprocessedItems"] = Value::Object(self.unprocessed),
            "BatchGetItem" => body["UnprocessedKeys"] = Value::Object(self.unprocessed),
            "PutEvents" => {
                body["FailedEntryCount"] = json!(self.entries.len());
                let entries = body["Entries"].as_array_mut().expect("an array of results");
                for (place, failure) in self.entries {
                    entries.insert(place, failure);
                }
            }
            "SendMessageBatch" | "ChangeMessageVisibilityBatch" => {
                body["Failed"] = self.entries.into_iter().map(|(_, failure)| failure).collect();
            }
            _ => panic!("{operation} has no partial failures"),
        }
        // Headers such as the checksum of the old body are not passed on.
        json_reply(200, &body)
    }
}

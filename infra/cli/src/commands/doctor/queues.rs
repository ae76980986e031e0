//! The queues: whether they exist and are of the right kind, their dead-letter queues, their visibility timeouts, and
//! the messages that wait in them.

use std::collections::HashMap;

use aws_sdk_sqs::{Client, error::ProvideErrorMetadata, types::QueueAttributeName};
use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    finding::{Area, Finding},
    patient::{Patient, quoted_json, unanswered},
};

/// Lambda asks for a visibility timeout of so many times the function's.
const VISIBILITY_FACTOR: u64 = 6;

/// Receives before a record goes to the dead-letter queue.
const MAX_RECEIVES: u64 = 1000;

/// The messages of a FIFO queue among which SQS looks for groups that it can deliver.
const FIFO_WINDOW: u64 = 120_000;

/// The number of dead letters from which on something seems to keep failing.
const MANY_LETTERS: u64 = 100;

/// The number of waiting messages that shows more than an outage of minutes.
const DEEP: u64 = 10_000;

/// The words by which a policy is known to let the bus send, and to refuse calls without TLS.
const BUS: &str = "events.amazonaws.com";
const TLS: &str = "aws:SecureTransport";

/// A queue of the template.
struct Expected {
    id: &'static str,
    is_fifo: bool,
    /// Its dead-letter queue.
    dead_letters: Option<&'static str>,
    /// The function that reads it.
    function: Option<&'static str>,
    /// Whether the bus sends to it.
    is_for_bus: bool,
    what_waits: Waiting,
}

#[derive(Clone, Copy, PartialEq)]
enum Waiting {
    /// Records on their way to a function.
    Work,
    /// Dead letters.
    DeadLetters,
    /// Events that failed, which `relay` takes by itself.
    Failures,
    /// Events that are for no room.
    Unmatched,
}

const QUEUES: [Expected; 8] = [
    Expected {
        id: "BroadcastQueue",
        is_fifo: true,
        dead_letters: Some("DeadLetterQueue"),
        function: Some("FanoutFunction"),
        is_for_bus: false,
        what_waits: Waiting::Work,
    },
    Expected {
        id: "ShardQueue",
        is_fifo: true,
        dead_letters: Some("DeadLetterQueue"),
        function: Some("ShardsFunction"),
        is_for_bus: false,
        what_waits: Waiting::Work,
    },
    Expected {
        id: "PresenceQueue",
        is_fifo: true,
        dead_letters: None,
        function: Some("PresenceFunction"),
        is_for_bus: false,
        what_waits: Waiting::Work,
    },
    Expected {
        id: "EphemeralQueue",
        is_fifo: false,
        dead_letters: None,
        function: Some("EphemeralFunction"),
        is_for_bus: false,
        what_waits: Waiting::Work,
    },
    Expected {
        id: "DeadLetterQueue",
        is_fifo: true,
        dead_letters: None,
        function: None,
        is_for_bus: false,
        what_waits: Waiting::DeadLetters,
    },
    Expected {
        id: "EventQueue",
        is_fifo: false,
        dead_letters: Some("RelayFailureQueue"),
        function: Some("RelayFunction"),
        is_for_bus: true,
        what_waits: Waiting::Work,
    },
    Expected {
        id: "RelayFailureQueue",
        is_fifo: false,
        dead_letters: None,
        function: Some("RelayFunction"),
        is_for_bus: true,
        what_waits: Waiting::Failures,
    },
    Expected {
        id: "UnmatchedQueue",
        is_fifo: false,
        dead_letters: None,
        function: None,
        is_for_bus: true,
        what_waits: Waiting::Unmatched,
    },
];

/// The seconds for which queues keep messages, where the template says so: SQS's own are four days.
const RETENTION: [(&str, &str); 7] = [
    ("PresenceQueue", "86400"),
    ("EphemeralQueue", "60"),
    ("BroadcastQueue", "1209600"),
    ("ShardQueue", "1209600"),
    ("DeadLetterQueue", "1209600"),
    ("EventQueue", "1209600"),
    ("RelayFailureQueue", "1209600"),
];

/// Queues that a stack may do without.
const OPTIONAL: [&str; 3] = ["PresenceQueue", "EphemeralQueue", "UnmatchedQueue"];

/// Looks at all queues.
pub(super) async fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let client = Client::new(&patient.stack.sdk);
    let there = QUEUES.iter().filter(|queue| !OPTIONAL.contains(&queue.id) || patient.resource(queue.id).is_ok());
    join_all(there.map(|queue| look(patient, &client, queue))).await.concat()
}

/// A queue's state, with all that the remedies need.
struct Queue<'a> {
    patient: &'a Patient<'a>,
    expected: &'a Expected,
    url: &'a str,
    attributes: HashMap<QueueAttributeName, String>,
}

async fn look(patient: &Patient<'_>, client: &Client, expected: &Expected) -> Vec<Finding> {
    let id = expected.id;
    let url = match patient.resource(id) {
        Ok(url) => url,
        Err(error) => return vec![Finding::problem(Area::Queues, id, error.to_string())],
    };
    let attributes = client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
    let attributes = match attributes.send().await {
        Ok(answered) => answered.attributes.unwrap_or_default(),
        Err(error) if error.code().is_some_and(|code| code.contains("NonExistentQueue")) => {
            let name = url.rsplit('/').next().unwrap_or(url);
            let mut attributes = json!({});
            if expected.is_fifo {
                attributes = json!({ "FifoQueue": "true", "DeduplicationScope": "messageGroup",
                    "FifoThroughputLimit": "perMessageGroupId" });
            }
            if let Some((_, seconds)) = RETENTION.iter().find(|(queue, _)| *queue == id) {
                attributes["MessageRetentionPeriod"] = json!(seconds);
            }
            if let Some(key) = patient.key() {
                attributes["KmsMasterKeyId"] = json!(key);
            }
            let attributes = quoted_json(&attributes);
            let mend = format!("sqs create-queue --queue-name {name} --attributes {attributes}");
            let what = "the queue is gone: make it anew, then run this again for the rest of its attributes";
            return vec![Finding::problem(Area::Queues, id, what).remedy(patient.aws(&mend))];
        }
        Err(error) => return vec![unanswered(Area::Queues, id, error)],
    };
    let queue = Queue { patient, expected, url, attributes };
    let mut findings = vec![queue.of_kind(), queue.of_depth()];
    findings.extend(queue.of_redrive());
    findings.extend(queue.of_visibility());
    findings.extend(queue.of_delay());
    findings.extend(queue.of_policy());
    findings
}

impl Queue<'_> {
    fn attribute(&self, name: &QueueAttributeName) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    fn set(&self, attributes: &Value) -> String {
        let attributes = quoted_json(attributes);
        self.patient.aws(&format!("sqs set-queue-attributes --queue-url {} --attributes {attributes}", self.url))
    }

    fn of_kind(&self) -> Finding {
        let id = self.expected.id;
        if !self.expected.is_fifo {
            return Finding::ok(Area::Queues, id, "there");
        }
        let (scope, limit) = (QueueAttributeName::DeduplicationScope, QueueAttributeName::FifoThroughputLimit);
        if self.attribute(&QueueAttributeName::FifoQueue) != "true" {
            return Finding::problem(Area::Queues, id, "not a FIFO queue: rooms have no order");
        }
        if self.attribute(&scope) != "messageGroup" || self.attribute(&limit) != "perMessageGroupId" {
            let wanted = json!({ "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId" });
            let what = "not of high throughput: all rooms together take 300 calls a second";
            return Finding::warning(Area::Queues, id, what).remedy(self.set(&wanted));
        }
        Finding::ok(Area::Queues, id, "FIFO, high throughput")
    }

    fn of_redrive(&self) -> Option<Finding> {
        let (id, dead_letters) = (self.expected.id, self.expected.dead_letters?);
        let subject = format!("{id} redrive policy");
        let wanted = self.patient.queue_arn(dead_letters).ok()?;
        let policy: Value =
            serde_json::from_str(self.attribute(&QueueAttributeName::RedrivePolicy)).unwrap_or(Value::Null);
        let receives = policy["maxReceiveCount"].as_u64();
        let receives = receives.or_else(|| policy["maxReceiveCount"].as_str().and_then(|count| count.parse().ok()));
        let mend = || {
            let policy = json!({ "deadLetterTargetArn": wanted, "maxReceiveCount": MAX_RECEIVES }).to_string();
            self.set(&json!({ "RedrivePolicy": policy }))
        };
        Some(if policy["deadLetterTargetArn"] != wanted.as_str() {
            let what = format!("missing, or not to {dead_letters}: what always fails blocks its room until it expires");
            Finding::problem(Area::Queues, subject, what).remedy(mend())
        } else if receives < Some(MAX_RECEIVES) {
            let what = "fewer receives than 1000: an outage of minutes makes good messages dead letters";
            Finding::warning(Area::Queues, subject, what).remedy(mend())
        } else {
            Finding::ok(Area::Queues, subject, format!("to {dead_letters} after {MAX_RECEIVES} receives"))
        })
    }

    fn of_visibility(&self) -> Option<Finding> {
        let timeout = u64::try_from(self.patient.functions.get(self.expected.function?)?.timeout()?).ok()?;
        let wanted = timeout * VISIBILITY_FACTOR;
        let subject = format!("{} visibility timeout", self.expected.id);
        let has = self.attribute(&QueueAttributeName::VisibilityTimeout).parse::<u64>().unwrap_or_default();
        Some(if has >= wanted {
            Finding::ok(Area::Queues, subject, format!("{has} s"))
        } else {
            let what = format!(
                "{has} s, less than {VISIBILITY_FACTOR} times its function's timeout of {timeout} s: records are received again while they are worked on"
            );
            let mend = self.set(&json!({ "VisibilityTimeout": wanted.to_string() }));
            if has < timeout {
                Finding::problem(Area::Queues, subject, what).remedy(mend)
            } else {
                Finding::warning(Area::Queues, subject, what).remedy(mend)
            }
        })
    }

    /// The check of whether ticks wait until the index shows their changes.
    fn of_delay(&self) -> Option<Finding> {
        let wanted = self.patient.parameter("PresenceDelaySeconds").filter(|_| self.expected.id == "PresenceQueue")?;
        let subject = format!("{} delay", self.expected.id);
        let has = self.attribute(&QueueAttributeName::DelaySeconds);
        if has == wanted {
            return Some(Finding::ok(Area::Queues, subject, format!("{has} s")));
        }
        let what = format!("{has} s, not {wanted} as PresenceDelaySeconds says: a room is looked at too early or late");
        let mend = self.set(&json!({ "DelaySeconds": wanted }));
        Some(Finding::problem(Area::Queues, subject, what).remedy(mend))
    }

    /// Whether the bus may send to it, and nobody may call it without TLS.
    fn of_policy(&self) -> Option<Finding> {
        let wants_tls = self.patient.parameter("RequireTls") == Some("true");
        if !self.expected.is_for_bus && !wants_tls {
            return None;
        }
        let subject = format!("{} policy", self.expected.id);
        let policy = self.attribute(&QueueAttributeName::Policy);
        let (lacks_bus, lacks_tls) = lacking(policy, self.expected.is_for_bus, wants_tls);
        if !lacks_bus && !lacks_tls {
            let what = if self.expected.is_for_bus { "the bus may send" } else { "takes no call without TLS" };
            return Some(Finding::ok(Area::Queues, subject, what));
        }
        let arn = self.patient.queue_arn(self.expected.id).ok()?;
        let mut more = Vec::new();
        if lacks_bus {
            let rules = self.patient.arn("events", &format!("rule/{}/*", self.patient.resource("EventBus").ok()?));
            more.push(bus_may_send(&arn, &rules));
        }
        if lacks_tls {
            more.push(nobody_without_tls(&arn));
        }
        let mend = self.set(&json!({ "Policy": with(policy, more).to_string() }));
        Some(if lacks_bus {
            let what = "does not let the bus send: events are lost on their way";
            Finding::problem(Area::Queues, subject, what).remedy(mend)
        } else {
            Finding::warning(Area::Queues, subject, "takes calls without TLS").remedy(mend)
        })
    }

    fn of_depth(&self) -> Finding {
        let number = |name: &QueueAttributeName| self.attribute(name).parse::<u64>().unwrap_or_default();
        let waiting = number(&QueueAttributeName::ApproximateNumberOfMessages);
        let in_flight = number(&QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
        let subject = format!("{} depth", self.expected.id);
        let all = waiting + in_flight;
        let finding = |what: &str| Finding::warning(Area::Queues, &subject, format!("{all} {what}"));
        let roomcast = |words: &str| self.patient.roomcast(words);
        match self.expected.what_waits {
            _ if all == 0 => Finding::ok(Area::Queues, subject, "empty"),
            Waiting::DeadLetters if all >= MANY_LETTERS => {
                let what = format!("{all} dead letters: something keeps failing, or nobody looks at them");
                Finding::problem(Area::Queues, &subject, what).remedy(roomcast("dlq list"))
            }
            Waiting::DeadLetters => {
                finding("dead letters, which were not broadcast: see why").remedy(roomcast("dlq list"))
            }
            Waiting::Failures => {
                finding("events that did not reach relay; it takes them by itself unless it is broken")
                    .remedy(roomcast("dlq list --queue relay-failures"))
            }
            Waiting::Unmatched => finding("events of another detail-type than roomcast.message")
                .remedy(roomcast("dlq list --queue unmatched")),
            Waiting::Work if self.expected.is_fifo && all >= FIFO_WINDOW => {
                let what = format!("{all} records wait, more than SQS looks at: rooms beyond them are not served");
                Finding::problem(Area::Queues, subject, what).remedy(roomcast("stats"))
            }
            Waiting::Work if all >= DEEP => {
                finding("records wait: see which rooms are behind").remedy(roomcast("stats"))
            }
            Waiting::Work => Finding::ok(Area::Queues, subject, format!("{waiting} wait, {in_flight} in flight")),
        }
    }
}

/// Whether a policy lacks the statement for the bus, and the one about TLS, of those that are wanted.
fn lacking(policy: &str, wants_bus: bool, wants_tls: bool) -> (bool, bool) {
    (wants_bus && !policy.contains(BUS), wants_tls && !policy.contains(TLS))
}

/// A policy with more statements. Those that it has are kept.
fn with(policy: &str, more: Vec<Value>) -> Value {
    let mut policy: Value = serde_json::from_str(policy).unwrap_or_else(|_| json!({ "Version": "2012-10-17" }));
    match policy["Statement"].as_array_mut() {
        Some(statements) => statements.extend(more),
        None => policy["Statement"] = more.into(),
    }
    policy
}

fn bus_may_send(arn: &str, rules: &str) -> Value {
    json!({ "Effect": "Allow", "Principal": { "Service": BUS }, "Action": "sqs:SendMessage", "Resource": arn,
        "Condition": { "ArnLike": { "aws:SourceArn": rules } } })
}

fn nobody_without_tls(arn: &str) -> Value {
    json!({ "Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": arn,
        "Condition": { "Bool": { TLS: "false" } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_gets_what_it_lacks_and_keeps_what_it_has() {
        let (bus, tls) = (bus_may_send("q", "r"), nobody_without_tls("q"));
        assert_eq!(lacking("", true, true), (true, true));
        let first = with("", vec![bus.clone()]);
        assert_eq!(first, json!({ "Version": "2012-10-17", "Statement": [bus] }));
        assert_eq!(lacking(&first.to_string(), true, true), (false, true));
        let both = with(&first.to_string(), vec![tls.clone()]);
        assert_eq!(both["Statement"], json!([bus, tls]));
        assert_eq!(lacking(&both.to_string(), true, true), (false, false));
        assert_eq!(lacking("", false, true), (false, true));
        assert_eq!(lacking("", true, false), (true, false));
    }

    #[test]
    fn a_queue_that_is_made_anew_keeps_messages_as_long_as_the_templates() {
        let template = include_str!("../../../../template.yaml");
        for queue in &QUEUES {
            let resource = template.split(&format!("\n  {}:\n", queue.id)).nth(1).unwrap();
            let resource = resource.split("\n\n").next().unwrap();
            let said = resource.lines().find_map(|line| line.trim().strip_prefix("MessageRetentionPeriod: "));
            // A parameter says how long unmatched events are kept.
            let said = said.filter(|said| !said.starts_with('!'));
            let known = RETENTION.iter().find(|(id, _)| *id == queue.id).map(|(_, seconds)| *seconds);
            assert_eq!(said, known, "{}", queue.id);
        }
    }
}

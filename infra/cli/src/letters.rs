//! Dead letters, and other messages that wait in a queue without a function.
//!
//! A queue can only be read by receiving its messages. Those received here are hidden from others for half a minute at
//! the most, and are visible again as soon as the command is done with them. Of a FIFO queue's group, SQS hands out
//! letters behind the first ten only when those are gone.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use aws_sdk_sqs::{
    Client,
    types::{Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use shared::queue::{Queue, REASON, sqs::SqsQueue};

use crate::failure::Failure;

/// Seconds for which a received letter stays hidden if it is not made visible again, because the process was killed.
const HIDDEN_SECONDS: i32 = 30;

/// Messages in one call: the limit of `ReceiveMessage`.
const BATCH: i32 = 10;

/// The calls in a row without a message after which the queue counts as read: a standard queue asks only some of its
/// hosts at a time.
const EMPTY_CALLS: u32 = 2;

/// The calls without a new letter while somebody else is looking at letters: until those are certainly visible again.
const WAITING_CALLS: u32 = 40;

/// About how many messages wait in a queue, and how many have been received and not deleted.
///
/// # Errors
/// When the queue does not answer.
pub async fn depth(sqs: &Client, url: &str) -> Result<(u64, u64), Failure> {
    let wanted =
        [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    let get = sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(wanted.to_vec())).send().await;
    let attributes = get.map_err(Failure::call("a queue was to be looked at"))?.attributes.unwrap_or_default();
    let [waiting, in_flight] = wanted.map(|name| attributes.get(&name).and_then(|text| text.parse().ok()).unwrap_or(0));
    Ok((waiting, in_flight))
}

/// The kind of a letter, by its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A message on its way to a room.
    Message,
    /// A job of a shard.
    Shard,
    /// An event of the bus.
    Event,
    /// A body that is none of these.
    Unreadable,
}

/// A letter.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Letter {
    /// The id that the queue gave it.
    pub letter_id: String,
    /// Its kind.
    pub kind: Kind,
    /// The room that it is for, by its group or its body.
    pub room: Option<String>,
    /// The message's own id, or the event's.
    pub id: Option<String>,
    /// The reason that the function gave when it put the letter there. `None` when SQS moved it because it was received
    /// too often.
    pub reason: Option<String>,
    /// When the queue took it, in milliseconds since the Unix epoch.
    pub queued_at: u64,
    /// Its message group, if the queue has groups.
    pub group_id: Option<String>,
    /// The body as it was received.
    pub body: String,
    #[serde(skip)]
    pub(crate) receipt_handle: String,
}

impl Letter {
    /// A received message as a letter. The call must have asked for all system attributes that are used here, and for
    /// the reason.
    pub(crate) fn of(message: Message) -> Self {
        let attribute = |name| message.attributes.as_ref().and_then(|all| all.get(&name)).cloned();
        let group_id = attribute(MessageSystemAttributeName::MessageGroupId);
        let reason = message.message_attributes.as_ref().and_then(|all| all.get(REASON));
        let body = message.body.clone().unwrap_or_default();
        let json: Value = serde_json::from_str(&body).unwrap_or_default();
        let kind = kind_of(&json);
        // A message without an id of its own has that of its record: the letter's, if SQS has moved it.
        let content = if kind == Kind::Event { &json["detail"] } else { &json };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let id = text(&content["id"]).or_else(|| text(&json["id"]));
        let of_group = group_id.as_deref().map(shared::congestion::room_of).map(str::to_owned);
        Self {
            letter_id: message.message_id.clone().unwrap_or_default(),
            kind,
            room: text(&content["roomId"]).or(of_group),
            id,
            reason: reason.and_then(MessageAttributeValue::string_value).map(str::to_owned),
            queued_at: attribute(MessageSystemAttributeName::SentTimestamp)
                .and_then(|millis| millis.parse().ok())
                .unwrap_or_default(),
            group_id,
            body,
            receipt_handle: message.receipt_handle.unwrap_or_default(),
        }
    }

    /// The reason as text; SQS's own when there is none.
    #[must_use]
    pub fn told(&self) -> &str {
        match (&self.reason, self.kind) {
            (Some(reason), _) => reason,
            (None, Kind::Event) => {
                "an event without reason: nobody asked for its detail type, or it was received too often"
            }
            (None, _) => "no reason: it was received too often, or its sender gave none",
        }
    }

    /// Whether the body was cut so that the letter would fit the queue.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.reason.as_deref().is_some_and(|reason| reason.contains("(the body is cut, "))
    }

    /// The body, if it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<Box<RawValue>> {
        RawValue::from_string(self.body.clone()).ok()
    }
}

fn kind_of(json: &Value) -> Kind {
    let has = |field| json.get(field).is_some();
    if has("shard") {
        Kind::Shard
    } else if has("detail-type") {
        Kind::Event
    } else if json.is_object() {
        Kind::Message
    } else {
        Kind::Unreadable
    }
}

/// A queue being read.
#[derive(Debug)]
pub struct Letters {
    client: Client,
    queue: SqsQueue,
    url: String,
    /// The newest receipt handle of each letter that was received, by the letter's id.
    held: HashMap<String, String>,
    /// The ids of all letters that were returned. After half a minute, letters that are still held are received again.
    seen: HashSet<String>,
    empty_calls: u32,
    waiting_calls: u32,
}

impl Letters {
    /// Begins to read the queue with this URL.
    #[must_use]
    pub fn open(client: Client, url: &str) -> Self {
        let queue = SqsQueue::new(client.clone(), url);
        Self {
            client,
            queue,
            url: url.to_owned(),
            held: HashMap::new(),
            seen: HashSet::new(),
            empty_calls: 0,
            waiting_calls: 0,
        }
    }

    /// The next letters, at most ten and each only once; empty when the queue hands out no more. They are hidden from
    /// others until [`Letters::release`], or for half a minute.
    ///
    /// # Errors
    /// When the queue does not answer.
    pub async fn next(&mut self) -> Result<Vec<Letter>, Failure> {
        while self.empty_calls < EMPTY_CALLS {
            let receive = self.client.receive_message().queue_url(&self.url).max_number_of_messages(BATCH);
            let receive = receive.visibility_timeout(HIDDEN_SECONDS).message_attribute_names(REASON);
            let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All).wait_time_seconds(1);
            let received = receive.send().await.map_err(Failure::call("a queue was to be read"))?;
            let mut letters: Vec<_> = received.messages.unwrap_or_default().into_iter().map(Letter::of).collect();
            let handle = |letter: &Letter| (letter.letter_id.clone(), letter.receipt_handle.clone());
            self.held.extend(letters.iter().map(handle));
            letters.retain(|letter| self.seen.insert(letter.letter_id.clone()));
            if letters.is_empty() {
                let (_, in_flight) = depth(&self.client, &self.url).await?;
                if in_flight > self.held.len() as u64 && self.waiting_calls < WAITING_CALLS {
                    self.waiting_calls += 1;
                } else {
                    self.empty_calls += 1;
                }
                continue;
            }
            self.empty_calls = 0;
            return Ok(letters);
        }
        Ok(Vec::new())
    }

    /// Deletes letters; returns the result for each.
    pub async fn delete(&mut self, letters: &[Letter]) -> Vec<Result<(), shared::queue::QueueError>> {
        let handles: Vec<_> = letters.iter().map(|letter| letter.receipt_handle.clone()).collect();
        let results = self.queue.delete(&handles).await;
        for (letter, result) in letters.iter().zip(&results) {
            if result.is_ok() {
                self.held.remove(&letter.letter_id);
            }
        }
        results
    }

    /// Makes all letters visible again that were received and not deleted. Those for which it fails are visible after
    /// half a minute.
    ///
    /// # Errors
    /// When no letter could be made visible.
    pub async fn release(mut self) -> Result<(), Failure> {
        let handles: Vec<_> = std::mem::take(&mut self.held).into_values().collect();
        // After this time they are visible by themselves.
        let within = Duration::from_secs(HIDDEN_SECONDS.unsigned_abs().into());
        let Ok(results) = tokio::time::timeout(within, self.queue.postpone(&handles, 0)).await else { return Ok(()) };
        // A letter whose half minute is over is visible already, which SQS reports as an error.
        let failed = results.iter().filter(|result| result.is_err()).count();
        if failed > 0 && failed == handles.len() {
            return Err(Failure::Met(format!("{failed} letters stay hidden for up to {HIDDEN_SECONDS} s")));
        }
        Ok(())
    }

    /// Does something with the queue's letters. However it ends, even by Ctrl-C, they are visible again afterwards.
    ///
    /// # Errors
    /// The errors of the work; and when it was interrupted.
    pub async fn with<T>(
        client: Client,
        url: &str,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut letters = Self::open(client, url);
        let outcome = tokio::select! {
            outcome = work(&mut letters) => outcome,
            _ = tokio::signal::ctrl_c() => Err(Failure::Met("interrupted".to_owned())),
        };
        let released = letters.release().await;
        let done = outcome?;
        released.map(|()| done)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::types::MessageSystemAttributeName as Name;

    use super::*;

    fn letter(group: Option<&str>, body: &str) -> Letter {
        let mut message = Message::builder().message_id("l-1").receipt_handle("h").body(body);
        if let Some(group) = group {
            message = message.attributes(Name::MessageGroupId, group);
        }
        Letter::of(message.attributes(Name::SentTimestamp, "7").build())
    }

    #[test]
    fn a_letter_is_a_message_a_job_an_event_or_nothing_of_these() {
        let of = |body| {
            let letter = letter(Some("r/3"), body);
            (letter.kind, letter.room.unwrap(), letter.id)
        };
        assert_eq!(of(r#"{"roomId":"r","id":"m"}"#), (Kind::Message, "r".into(), Some("m".into())));
        assert_eq!(of(r#"{"shard":{"number":3},"frames":[]}"#), (Kind::Shard, "r".into(), None));
        let event = r#"{"id":"e","detail-type":"t","detail":{"roomId":"other"}}"#;
        assert_eq!(of(event), (Kind::Event, "other".into(), Some("e".into())));
        assert_eq!(of("not JSON"), (Kind::Unreadable, "r".into(), None));
        let letter = letter(None, "{}");
        assert_eq!((letter.room, letter.queued_at, letter.letter_id.as_str()), (None, 7, "l-1"));
    }

    #[test]
    fn a_cut_body_is_told_from_a_whole_one() {
        let whole = letter(Some("r"), "{}");
        assert!(!whole.is_cut());
        let reason = Some("too large (the body is cut, it had 300000 bytes)".to_owned());
        assert!(Letter { reason, ..whole }.is_cut());
    }
}

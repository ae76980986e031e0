//! The `relay` function: the target of the bus's rule. Same validation as the message route, same queue. EventBridge
//! delivers at least once and in no order: the event's id makes a second delivery the same message.

use aws_lambda_events::eventbridge::EventBridgeEvent;
use lambda_runtime::LambdaEvent;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    Message, RoomId,
    clock::Clock,
    draft::{Origin, ProducerDraft},
    json::{self, FieldError, required},
    limits::{NAME_CHARS, SUBJECT_BYTES},
    message::Identity,
    queue::{Queue, QueueError, Record, Sink},
    text::escape_noncharacters,
};

/// An event of the bus; its detail is not parsed before it is read as a message.
pub type BusEvent = EventBridgeEvent<Box<RawValue>>;

/// The dead-letter queue's group of events that name no valid room.
const NO_ROOM: &str = "no-room";

/// As much of a detail as a dead letter needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    #[serde(deserialize_with = "required")]
    room_id: RoomId,
}

/// The function's state.
#[derive(Debug)]
pub struct RelayFunction<S, Q, C> {
    sink: S,
    dead_letters: Q,
    clock: C,
}

impl<S: Sink, Q: Queue, C: Clock> RelayFunction<S, Q, C> {
    /// A function that enqueues to `sink`, and sends to `dead_letters` what can never be a message.
    pub fn new(sink: S, dead_letters: Q, clock: C) -> Self {
        Self { sink, dead_letters, clock }
    }

    /// Serves one event.
    ///
    /// # Errors
    /// When a queue does not take it: Lambda tries the event again, and keeps it in the end.
    pub async fn handle(&self, event: LambdaEvent<BusEvent>) -> Result<(), QueueError> {
        let event = event.payload;
        match read(&event, self.clock.unix_millis()) {
            Ok(message) => self.sink.put(&message).await,
            Err(error) => self.send_to_dlq(&event, &error).await,
        }
    }

    async fn send_to_dlq(&self, event: &BusEvent, error: &FieldError) -> Result<(), QueueError> {
        tracing::warn!(%error, source = event.source, "event is no message");
        let destination = json::read::<Destination>(event.detail.get());
        let letter = Record {
            group_id: destination.as_ref().map_or(NO_ROOM, |to| to.room_id.as_str()).to_owned(),
            deduplication_id: deduplication_id(event),
            // The event as it came: an envelope of strings and raw JSON always serializes.
            body: escape_noncharacters(serde_json::to_string(event).unwrap_or_default()),
            reason: Some(error.to_string()),
        };
        self.dead_letters.send(&[letter]).await.into_iter().collect()
    }
}

/// What keeps a second delivery of an event apart from another event. Every event of EventBridge has an id; one that
/// somebody made up may have none, or one that SQS does not take.
fn deduplication_id(event: &BusEvent) -> String {
    let is_usable = |id: &&str| (1..=NAME_CHARS).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    let id = event.id.as_deref().filter(is_usable).map(str::to_owned);
    id.unwrap_or_else(|| Identity::of(&event.source, event.detail.get()).to_deduplication_id())
}

/// Reads an event as a message; the event's own id, source and time stand in for what the detail leaves out. Its time and
/// not the relay's, so that a second delivery, hours later perhaps, is as old as the first and recognised.
fn read(event: &BusEvent, now: u64) -> Result<Message, FieldError> {
    let id = event
        .id
        .as_deref()
        .filter(|id| id.chars().count() <= NAME_CHARS)
        .ok_or_else(|| FieldError::Fields("`id` is missing".to_owned()))?;
    if event.source.is_empty() || event.source.len() > SUBJECT_BYTES {
        return Err(FieldError::invalid("source", format!("must have 1 to {SUBJECT_BYTES} bytes")));
    }
    let draft: ProducerDraft<'_> = json::read(event.detail.get())?;
    let put_at = event.time.and_then(|time| u64::try_from(time.timestamp_millis()).ok());
    draft.accept(Origin { id, from: &event.source, sent_at: put_at.unwrap_or(now) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_detail(detail: &serde_json::Value) -> Result<Message, FieldError> {
        let event = json!({"id": "e-1", "detail-type": "roomcast.message", "source": "prices.eu", "detail": detail});
        read(&serde_json::from_str(&event.to_string()).unwrap(), 5)
    }

    #[test]
    fn the_event_stands_in_for_what_the_detail_leaves_out() {
        let message = read_detail(&json!({"roomId": "r", "data": 1})).unwrap();
        assert_eq!((message.id.as_str(), message.from.as_str(), message.sent_at), ("e-1", "prices.eu", 5));
        let message = read_detail(&json!({"roomId": "r", "data": 1, "id": "i", "from": "f", "key": "k", "version": 2}));
        let message = message.unwrap();
        assert_eq!((message.id.as_str(), message.from.as_str()), ("i", "f"));
        assert_eq!((message.key.as_deref(), message.version), (Some("k"), Some(2)));
    }

    #[test]
    fn a_message_is_as_old_as_its_event_unless_it_says_otherwise() {
        let read_at = |detail| {
            let event = json!({
                "id": "e-1", "detail-type": "roomcast.message", "source": "prices", "time": "2026-11-21T00:00:07Z",
                "detail": detail,
            });
            read(&serde_json::from_str(&event.to_string()).unwrap(), 5).unwrap().sent_at
        };
        assert_eq!(read_at(json!({"roomId": "r", "data": 1})), 1_795_219_207_000);
        assert_eq!(read_at(json!({"roomId": "r", "data": 1, "sentAt": 9})), 9);
    }

    #[test]
    fn an_event_has_a_deduplication_id_that_sqs_takes_whatever_its_own() {
        let of = |id: &str| {
            let event = json!({"id": id, "detail-type": "t", "source": "s", "detail": {}});
            deduplication_id(&serde_json::from_str(&event.to_string()).unwrap())
        };
        assert_eq!(of("53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa"), "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa");
        for id in ["", "a b", &"x".repeat(65), "\u{e9}"] {
            assert_eq!(of(id).len(), 64, "{id}");
        }
    }

    #[test]
    fn a_detail_that_is_no_message_says_why() {
        assert_eq!(read_detail(&json!({"data": 1})).unwrap_err().to_string(), "`roomId` is missing");
        assert_eq!(read_detail(&json!({"roomId": "r"})).unwrap_err().to_string(), "`data` is missing");
        assert_eq!(
            read_detail(&json!({"roomId": "r", "data": 1, "from": ""})).unwrap_err().to_string(),
            "`from` must have 1 to 256 bytes"
        );
    }
}

//! An event of the bus, read as a message.

use aws_lambda_events::eventbridge::EventBridgeEvent;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    Message, RoomId,
    json::{self, FieldError, required},
    limits::{NAME_CHARS, SUBJECT_BYTES},
    message::draft::{Origin, ProducerDraft},
    queue::eventbridge::DETAIL_TYPE,
};

/// An event; its detail is not parsed before it is read as a message.
type BusEvent = EventBridgeEvent<Box<RawValue>>;

/// The part of a detail that a dead letter needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    #[serde(deserialize_with = "required")]
    room_id: RoomId,
}

/// An event that can never be a message.
#[derive(Debug)]
pub(super) struct Refused {
    /// The room that it names, if that is a room.
    pub room: Option<RoomId>,
    /// Why.
    pub error: FieldError,
}

/// Reads the body of a record. The event's own id, source and time stand in for what its detail leaves out. The time is
/// the event's, not the relay's, so that a second delivery, perhaps hours later, is recognised as the same message. An
/// event without a time has that of the queue's record.
pub(super) fn read(body: &str, queued_at: u64) -> Result<Message, Refused> {
    let event: BusEvent = json::read(body).map_err(|error| Refused { room: None, error })?;
    accept(&event, queued_at).map_err(|error| {
        let destination = json::read::<Destination>(event.detail.get());
        Refused { room: destination.ok().map(|to| to.room_id), error }
    })
}

fn accept(event: &BusEvent, queued_at: u64) -> Result<Message, FieldError> {
    let id = event.id.as_deref().ok_or_else(|| FieldError::Fields("`id` is missing".to_owned()))?;
    let length = id.chars().count();
    if !(1..=NAME_CHARS).contains(&length) {
        return Err(FieldError::invalid("id", format!("must have 1 to {NAME_CHARS} characters, has {length}")));
    }
    // The bus's rule lets no other detail type pass. But events that the bus itself could not decrypt come into the
    // queue of failures past the rule.
    if event.detail_type != DETAIL_TYPE {
        return Err(FieldError::invalid("detail-type", format!("is not {DETAIL_TYPE}")));
    }
    if event.source.is_empty() || event.source.len() > SUBJECT_BYTES {
        return Err(FieldError::invalid("source", format!("must have 1 to {SUBJECT_BYTES} bytes")));
    }
    let draft = ProducerDraft::read(event.detail.get())?;
    let put_at = event.time.and_then(|time| u64::try_from(time.timestamp_millis()).ok());
    draft.accept(Origin { id, from: &event.source, sent_at: put_at.unwrap_or(queued_at) })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_detail(detail: &serde_json::Value) -> Result<Message, FieldError> {
        let event = json!({"id": "e-1", "detail-type": "roomcast.message", "source": "prices.eu", "detail": detail});
        read(&event.to_string(), 5).map_err(|refused| refused.error)
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
            read(&event.to_string(), 5).unwrap().sent_at
        };
        assert_eq!(read_at(json!({"roomId": "r", "data": 1})), 1_795_219_207_000);
        assert_eq!(read_at(json!({"roomId": "r", "data": 1, "sentAt": 9})), 9);
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

    #[test]
    fn what_is_no_event_says_why() {
        for (body, told) in [
            ("", "not a JSON object"),
            ("[]", "not a JSON object"),
            ("\"text\"", "not a JSON object"),
            (
                r#"{"id":"e","detail-type":"t","source":"s","detail":{"roomId":"r","data":1}}"#,
                "`detail-type` is not roomcast.message",
            ),
            (r#"{"id":"e","source":"s","detail-type":"t"}"#, "`detail` is missing"),
            (r#"{"detail-type":"t","source":"s","detail":{"roomId":"r","data":1}}"#, "`id` is missing"),
            (
                r#"{"id":"","detail-type":"roomcast.message","source":"s","detail":{"roomId":"r","data":1}}"#,
                "`id` must have 1 to 64 characters, has 0",
            ),
            (
                r#"{"id":"e","detail-type":"roomcast.message","source":"","detail":{}}"#,
                "`source` must have 1 to 256 bytes",
            ),
            (r#"{"id":"e","detail-type":"roomcast.message","source":"s","detail":7}"#, "not a JSON object"),
        ] {
            let error = read(body, 5).unwrap_err().error.to_string();
            assert!(error.starts_with(told), "{body}: {error}");
        }
    }
}

//! Messages: as they wait in the queue, and as the log numbers them.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    fields::{FieldError, Fields},
    frame::broadcast,
    limits::{MAX_MESSAGE_BYTES, SUBJECT_BYTES},
    room::RoomId,
    text::{escape_growth, escape_noncharacters, hex},
};

/// An accepted message that has no number yet: the body of a queue record.
#[derive(Clone, Debug)]
pub struct Message {
    /// Where it goes.
    pub room: RoomId,
    /// The sender's or the server's id for it; with `from` it makes retries idempotent.
    pub id: String,
    /// The authenticated sender.
    pub from: String,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// What it says: any JSON, never parsed on the way.
    pub data: Box<RawValue>,
    /// What it is about: of several messages of one batch with the same key only the newest is broadcast.
    pub key: Option<String>,
    /// Which of two messages with the same key is newer; without versions the later one is.
    pub version: Option<u64>,
}

/// What a message gets when its writer says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Defaults<'a> {
    /// The id.
    pub id: &'a str,
    /// The sender.
    pub from: &'a str,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
}

/// What makes two records the same message, whoever delivered them: a hash of `from` and `id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity([u8; 32]);

impl Identity {
    /// The identity of a sender's message.
    #[must_use]
    pub fn of(from: &str, id: &str) -> Self {
        let mut hash = Sha256::new();
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update((from.len() as u64).to_be_bytes());
        hash.update(from);
        hash.update(id);
        Self(hash.finalize().into())
    }

    /// As a FIFO queue's deduplication id (at most 128 characters).
    #[must_use]
    pub fn to_deduplication_id(self) -> String {
        hex(&self.0)
    }
}

impl Message {
    /// Reads the fields that say what a message is: `roomId`, `data`, `id`, `key`, `version`. Who sent it and
    /// when is the caller's to know, and never the client's to claim.
    ///
    /// # Errors
    /// When a field is missing or wrong, or the message would not fit a frame.
    pub fn from_client(fields: &Fields<'_>, defaults: Defaults<'_>) -> Result<Self, FieldError> {
        let message = Self {
            room: fields.room()?,
            id: fields.name("id")?.unwrap_or_else(|| defaults.id.to_owned()),
            from: defaults.from.to_owned(),
            sent_at: defaults.sent_at,
            data: read_data(fields)?,
            key: fields.name("key")?,
            version: fields.counter("version")?,
        };
        let bytes = broadcast::entry_len(&message);
        if bytes > MAX_MESSAGE_BYTES {
            return Err(FieldError::TooLarge { bytes, limit: MAX_MESSAGE_BYTES });
        }
        Ok(message)
    }

    /// Reads a message from somebody who may speak for others: a producer with access to the bus or the queue.
    /// `from` and `sentAt` are taken over where they stand.
    ///
    /// # Errors
    /// As [`Message::from_client`].
    pub fn from_producer(fields: &Fields<'_>, defaults: Defaults<'_>) -> Result<Self, FieldError> {
        let from = fields.text("from")?;
        if from.as_ref().is_some_and(|from| from.is_empty() || from.len() > SUBJECT_BYTES) {
            return Err(FieldError::Invalid("from", format!("must have 1 to {SUBJECT_BYTES} bytes")));
        }
        let sent_at = fields.counter("sentAt")?.unwrap_or(defaults.sent_at);
        let from = from.as_deref().unwrap_or(defaults.from);
        Self::from_client(fields, Defaults { from, sent_at, ..defaults })
    }

    /// The message's identity.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::of(&self.from, &self.id)
    }

    /// The body of a queue record or the detail of an event.
    #[must_use]
    pub fn to_body(&self) -> String {
        // A struct of strings, integers and raw JSON always serializes.
        escape_noncharacters(serde_json::to_string(self).unwrap_or_default())
    }
}

/// The field `data` as it is stored, queued and posted: with the characters escaped that SQS refuses, so that it has
/// the same size everywhere.
fn read_data(fields: &Fields<'_>) -> Result<Box<RawValue>, FieldError> {
    let data = fields.raw("data").ok_or(FieldError::Missing("data"))?;
    if escape_growth(data.get().as_bytes()) == 0 {
        return Ok(data.to_owned());
    }
    // What was JSON is JSON.
    RawValue::from_string(escape_noncharacters(data.get().to_owned()))
        .map_err(|_| FieldError::Invalid("data", "is no JSON".to_owned()))
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_struct("Message", 8)?;
        body.serialize_field("v", &1)?;
        body.serialize_field("roomId", &self.room)?;
        serialize_content(&mut body, self)?;
        body.end()
    }
}

/// A message with its place in the room's log. Serializes as clients see it.
#[derive(Clone, Debug)]
pub struct LoggedMessage {
    /// Its number: consecutive within the room.
    pub seq: u64,
    /// The message.
    pub message: Message,
}

impl Serialize for LoggedMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_entry(self.seq, &self.message, serializer)
    }
}

/// Serializes a message under a number, as clients see it.
pub(crate) fn serialize_entry<S: Serializer>(seq: u64, message: &Message, serializer: S) -> Result<S::Ok, S::Error> {
    let mut entry = serializer.serialize_struct("LoggedMessage", 7)?;
    entry.serialize_field("seq", &seq)?;
    serialize_content(&mut entry, message)?;
    entry.end()
}

fn serialize_content<S: SerializeStruct>(out: &mut S, message: &Message) -> Result<(), S::Error> {
    out.serialize_field("id", &message.id)?;
    out.serialize_field("from", &message.from)?;
    out.serialize_field("sentAt", &message.sent_at)?;
    out.serialize_field("data", &message.data)?;
    if let Some(key) = &message.key {
        out.serialize_field("key", key)?;
    }
    if let Some(version) = &message.version {
        out.serialize_field("version", version)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_INTEGER;

    const DEFAULTS: Defaults<'static> = Defaults { id: "m-1", from: "alice", sent_at: 1_700_000_000_000 };

    fn from_client(json: &str) -> Result<Message, FieldError> {
        Message::from_client(&Fields::parse(json)?, DEFAULTS)
    }

    #[test]
    fn a_client_cannot_claim_to_be_another_or_another_time() {
        let message = from_client(r#"{"roomId":"r","data":1,"from":"mallory","sentAt":5}"#).unwrap();
        assert_eq!((message.from.as_str(), message.sent_at), ("alice", 1_700_000_000_000));
    }

    #[test]
    fn a_queue_body_reads_back_as_the_same_message() {
        let json = r#"{"roomId":"r","id":"i","data":{"a": [1, "\u00e9"]},"key":"k","version":3}"#;
        let message = from_client(json).unwrap();
        let body = message.to_body();
        assert_eq!(
            body,
            r#"{"v":1,"roomId":"r","id":"i","from":"alice","sentAt":1700000000000,"data":{"a": [1, "\u00e9"]},"key":"k","version":3}"#
        );
        let other = Defaults { id: "x", from: "y", sent_at: 0 };
        let again = Message::from_producer(&Fields::parse(&body).unwrap(), other).unwrap();
        assert_eq!(again.to_body(), body);
    }

    #[test]
    fn the_largest_message_passes_and_one_byte_more_names_the_limit() {
        let of = |bytes| from_client(&format!(r#"{{"roomId":"r","data":"{}"}}"#, "x".repeat(bytes)));
        let overhead = broadcast::entry_len(&of(0).unwrap());
        assert!(of(MAX_MESSAGE_BYTES - overhead).is_ok());
        let error = of(MAX_MESSAGE_BYTES - overhead + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`data` is too large: the message takes 120833 bytes in a frame, the limit is 120832"
        );
    }

    #[test]
    fn identities_depend_on_both_parts_and_on_where_they_meet() {
        assert_eq!(Identity::of("a", "b"), Identity::of("a", "b"));
        assert_ne!(Identity::of("ab", "c"), Identity::of("a", "bc"));
        assert_eq!(Identity::of("a", "b").to_deduplication_id().len(), 64);
    }

    #[test]
    fn characters_that_sqs_refuses_are_escaped() {
        let message = from_client("{\"roomId\":\"r\",\"data\":\"\u{fffe}\u{ffff}\"}").unwrap();
        assert!(message.to_body().contains(r#""data":"\ufffe\uffff""#));
    }

    #[test]
    fn escapes_count_when_a_message_is_measured() {
        let of = |count| from_client(&format!(r#"{{"roomId":"r","data":"{}"}}"#, "\u{fffe}".repeat(count)));
        let overhead = broadcast::entry_len(&of(0).unwrap());
        let fits = (MAX_MESSAGE_BYTES - overhead) / 6;
        let largest = of(fits).unwrap();
        assert_eq!(broadcast::encode_entry(MAX_INTEGER, &largest).len(), overhead + 6 * fits);
        assert!(matches!(of(fits + 1), Err(FieldError::TooLarge { .. })));
        // The names are escaped where they are written.
        let named = from_client("{\"roomId\":\"r\",\"data\":1,\"id\":\"\u{fffe}\"}").unwrap();
        let entry = broadcast::encode_entry(MAX_INTEGER, &named);
        assert!(String::from_utf8(entry.clone()).unwrap().contains(r#""id":"\ufffe""#));
        assert_eq!(entry.len(), broadcast::entry_len(&named));
    }
}

//! Messages: as senders write them (`draft`), as they wait in the queue and as clients get them (here), and as rows of
//! the log (`item`). What a key's value keeps of them stands in `StateValue` and `StateEntry` besides.

pub mod draft;
mod item;

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{limits::MAX_INTEGER, room::RoomId, text::escape_noncharacters};

/// An accepted message that has no number yet: the body of a queue record.
#[derive(Clone, Debug)]
pub struct Message {
    /// The room that it goes to.
    pub room: RoomId,
    /// The sender's or the server's id for it; with `from` it makes retries idempotent.
    pub id: String,
    /// The authenticated sender.
    pub from: String,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// Its content: JSON that all clients can read, passed on as it stands.
    pub data: Box<RawValue>,
    /// Its key: of several messages of one batch with the same key only the newest is broadcast.
    pub key: Option<String>,
    /// Its version: of two messages with the same key the one with the higher version is newer. Without one it is 0; of
    /// two with the same version the later one is newer.
    pub version: Option<u64>,
    /// Whether it takes its key's value away.
    pub remove: bool,
    /// The time for which it is its key's value, in seconds from when it was accepted; without it, until another takes
    /// its place.
    pub ttl_seconds: Option<u64>,
}

/// The identity that makes two records the same message, whoever delivered them: a hash of `from` and `id`.
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

    /// The identity as a FIFO queue's deduplication id (at most 128 characters).
    #[must_use]
    pub fn to_deduplication_id(self) -> String {
        hex::encode(self.0)
    }
}

impl Message {
    /// A message without what it may have besides.
    #[must_use]
    pub fn new(
        room: RoomId,
        id: impl Into<String>,
        from: impl Into<String>,
        sent_at: u64,
        data: Box<RawValue>,
    ) -> Self {
        let (id, from) = (id.into(), from.into());
        Self { room, id, from, sent_at, data, key: None, version: None, remove: false, ttl_seconds: None }
    }

    /// The message's identity.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::of(&self.from, &self.id)
    }

    /// When it ceases to be its key's value, in milliseconds since the Unix epoch, if it ever does by itself.
    #[must_use]
    pub fn until(&self) -> Option<u64> {
        let until = |seconds: u64| self.sent_at.saturating_add(seconds.saturating_mul(1_000));
        self.ttl_seconds.map(|seconds| until(seconds).min(MAX_INTEGER))
    }

    /// The body of a queue record or the detail of an event.
    #[must_use]
    pub fn to_body(&self) -> String {
        // A struct of strings, integers and raw JSON always serializes.
        escape_noncharacters(serde_json::to_string(self).unwrap_or_default())
    }
}

impl Serialize for Message {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_struct("Message", 10)?;
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
    let mut entry = serializer.serialize_struct("LoggedMessage", 9)?;
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
    if message.remove {
        out.serialize_field("remove", &true)?;
    }
    if let Some(seconds) = &message.ttl_seconds {
        out.serialize_field("ttlSeconds", seconds)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_value_is_a_number_that_every_client_can_read() {
        let until = |sent_at, ttl_seconds| {
            let message = Message::new(RoomId::parse("r").unwrap(), "", "", sent_at, RawValue::NULL.to_owned());
            Message { key: Some("k".into()), ttl_seconds, ..message }.until()
        };
        assert_eq!(
            (until(5, None), until(5, Some(2)), until(MAX_INTEGER, Some(1))),
            (None, Some(2_005), Some(MAX_INTEGER))
        );
    }

    #[test]
    fn identities_depend_on_both_parts_and_on_where_they_meet() {
        assert_eq!(Identity::of("a", "b"), Identity::of("a", "b"));
        assert_ne!(Identity::of("ab", "c"), Identity::of("a", "bc"));
        assert_eq!(Identity::of("a", "b").to_deduplication_id().len(), 64);
    }
}

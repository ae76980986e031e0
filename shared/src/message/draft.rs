//! Messages before they are accepted: what their writers say, still without sender and time.

use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::{
    data,
    frame::broadcast,
    json::{self, Counter, FieldError, Name, Text, required},
    limits::{MAX_MESSAGE_BYTES, SUBJECT_BYTES, TTL_SECONDS},
    message::Message,
    room::RoomId,
    text::{escape_growth, escape_noncharacters},
};

/// The sender of messages whose producers write to a queue themselves and name none.
pub const PRODUCER: &str = "producer";

/// A message as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft<'a> {
    /// The room that it goes to.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
    /// Its content, `null` included; checked, and passed on as it stands. A removal has none.
    #[serde(borrow, default, deserialize_with = "present")]
    pub data: Option<&'a RawValue>,
    /// The writer's id for it.
    pub id: Option<Name>,
    /// Its key.
    pub key: Option<Name>,
    /// Its version: of two messages with the same key the one with the higher version is newer.
    pub version: Option<Counter>,
    /// Whether it takes its key's value away.
    pub remove: Option<bool>,
    /// The time for which it is its key's value.
    pub ttl_seconds: Option<TtlSeconds>,
    /// Whether it is ephemeral: for those who are in the room now, and not logged.
    pub ephemeral: Option<bool>,
}

/// A message as a producer with access to the bus or the queue writes it. A producer may name another sender and
/// another time.
#[derive(Debug)]
pub struct ProducerDraft<'a> {
    /// The fields that a client could write as well.
    pub(crate) draft: Draft<'a>,
    /// The fields that only a producer may write.
    pub(crate) claims: Claims,
}

/// The fields that only a producer may write; in a client's message they are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Claims {
    from: Option<Sender>,
    sent_at: Option<Counter>,
}

/// Id, sender and time of a message. A client chooses its id at most; a producer may choose all three.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The message's id, unless its writer has one for it.
    pub id: &'a str,
    /// The sender.
    pub from: &'a str,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
}

/// The sender that a producer names.
#[derive(Debug)]
struct Sender(String);

impl<'de> Deserialize<'de> for Sender {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        if text.is_empty() || text.len() > SUBJECT_BYTES {
            return Err(de::Error::custom(format!("must have 1 to {SUBJECT_BYTES} bytes")));
        }
        Ok(Self(text))
    }
}

impl Draft<'_> {
    /// Accepts the message. Who sent it and when is never the client's to claim.
    ///
    /// # Errors
    /// When the message would not fit a frame, or not every client could read it.
    pub fn accept(self, origin: Origin<'_>) -> Result<Message, FieldError> {
        let is_removal = self.check_value()?;
        let data = match self.data {
            Some(data) => escape_data(data)?,
            None if is_removal => RawValue::NULL.to_owned(),
            None => return Err(FieldError::Fields("`data` is missing".to_owned())),
        };
        let message = Message {
            room: self.room_id,
            id: self.id.map_or_else(|| origin.id.to_owned(), |Name(id)| id),
            from: origin.from.to_owned(),
            sent_at: origin.sent_at,
            data,
            key: self.key.map(|Name(key)| key),
            version: self.version.map(|Counter(version)| version),
            remove: is_removal,
            ttl_seconds: self.ttl_seconds.map(|TtlSeconds(seconds)| seconds),
        };
        let bytes = broadcast::entry_len(&message);
        if bytes > MAX_MESSAGE_BYTES {
            return Err(FieldError::TooLarge { bytes, limit: MAX_MESSAGE_BYTES });
        }
        Ok(message)
    }

    /// Whether it is a removal. An error if its fields about the key's value contradict each other.
    fn check_value(&self) -> Result<bool, FieldError> {
        if self.ephemeral == Some(true) {
            return Err(FieldError::invalid("ephemeral", "must be left out: such messages have a queue of their own"));
        }
        let is_removal = self.remove == Some(true);
        for (field, is_there) in [("remove", is_removal), ("ttlSeconds", self.ttl_seconds.is_some())] {
            if is_there && self.key.is_none() {
                return Err(FieldError::invalid(field, "must come with a `key`"));
            }
        }
        if is_removal && self.ttl_seconds.is_some() {
            return Err(FieldError::invalid("ttlSeconds", "must be left out of a removal"));
        }
        match self.data {
            Some(data) if is_removal && data.get() != "null" => {
                Err(FieldError::invalid("data", "must be left out of a removal"))
            }
            Some(data) => data::check("data", data).map(|()| is_removal),
            None => Ok(is_removal),
        }
    }
}

impl<'a> ProducerDraft<'a> {
    /// Reads a producer's JSON. It is read twice, once for each struct, because serde's `flatten` cannot borrow raw
    /// JSON.
    ///
    /// # Errors
    /// When it is no JSON object, or a field is missing, wrong or there twice.
    pub fn read(json: &'a str) -> Result<Self, FieldError> {
        Ok(Self { draft: json::read(json)?, claims: json::read(json)? })
    }

    /// Accepts the message. The producer's `from` and `sentAt` take the place of the origin's.
    ///
    /// # Errors
    /// As [`Draft::accept`].
    pub fn accept(self, origin: Origin<'_>) -> Result<Message, FieldError> {
        let Self { draft, claims } = self;
        draft.accept(Origin { from: claims.from(origin.from), sent_at: claims.sent_at(origin.sent_at), ..origin })
    }
}

impl Claims {
    pub(crate) fn from<'a>(&'a self, default: &'a str) -> &'a str {
        self.from.as_ref().map_or(default, |Sender(from)| from)
    }

    pub(crate) fn sent_at(&self, default: u64) -> u64 {
        self.sent_at.map_or(default, |Counter(sent_at)| sent_at)
    }
}

/// For `deserialize_with`: `null` counts as a value.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The time for which a value lasts, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TtlSeconds(pub u64);

impl<'de> Deserialize<'de> for TtlSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::integer(deserializer, 1..=TTL_SECONDS).map(Self)
    }
}

/// `data` as it is stored, queued and posted: with the characters escaped that SQS refuses, so that it has the same
/// size everywhere.
pub(crate) fn escape_data(data: &RawValue) -> Result<Box<RawValue>, FieldError> {
    if escape_growth(data.get().as_bytes()) == 0 {
        return Ok(data.to_owned());
    }
    // It was JSON, and an escape changes nothing about that.
    RawValue::from_string(escape_noncharacters(data.get().to_owned()))
        .map_err(|_| FieldError::invalid("data", "is no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json::read, limits::MAX_INTEGER};

    const ORIGIN: Origin<'static> = Origin { id: "m-1", from: "alice", sent_at: 1_700_000_000_000 };

    fn of_client(json: &str) -> Result<Message, FieldError> {
        read::<Draft<'_>>(json)?.accept(ORIGIN)
    }

    #[test]
    fn a_client_cannot_claim_to_be_another_or_another_time() {
        let message = of_client(r#"{"roomId":"r","data":1,"from":["mallory"],"sentAt":-5}"#).unwrap();
        assert_eq!((message.from.as_str(), message.sent_at), ("alice", 1_700_000_000_000));
    }

    #[test]
    fn null_is_data_and_nothing_else() {
        let message = of_client(r#"{"roomId":"r","data":null,"id":null,"key":null,"version":null}"#).unwrap();
        assert_eq!(
            (message.data.get(), message.id.as_str(), message.key, message.version),
            ("null", "m-1", None, None)
        );
        assert_eq!(of_client(r#"{"roomId":"r"}"#).unwrap_err().to_string(), "`data` is missing");
        assert_eq!(of_client(r#"{"roomId":null,"data":1}"#).unwrap_err().to_string(), "`roomId` is missing");
    }

    #[test]
    fn what_is_said_of_a_keys_value_fits_together() {
        let taken = of_client(r#"{"roomId":"r","data":1,"key":"k","ttlSeconds":30}"#).unwrap();
        assert_eq!((taken.until(), taken.remove), (Some(1_700_000_030_000), false));
        let removal = of_client(r#"{"roomId":"r","key":"k","version":7,"remove":true}"#).unwrap();
        assert_eq!((removal.remove, removal.data.get(), removal.until()), (true, "null", None));
        let body = removal.to_body();
        assert!(body.ends_with(r#""data":null,"key":"k","version":7,"remove":true}"#), "{body}");
        let read_back = ProducerDraft::read(&body).unwrap().accept(ORIGIN).unwrap();
        assert_eq!(read_back.to_body(), body);
        for (text, told) in [
            (r#"{"roomId":"r","remove":true}"#, "`remove` must come with a `key`"),
            (r#"{"roomId":"r","data":1,"ttlSeconds":1}"#, "`ttlSeconds` must come with a `key`"),
            (
                r#"{"roomId":"r","data":1,"key":"k","ttlSeconds":0}"#,
                "`ttlSeconds` must be an integer from 1 to 31536000",
            ),
            (r#"{"roomId":"r","key":"k","remove":true,"ttlSeconds":1}"#, "`ttlSeconds` must be left out of a removal"),
            (r#"{"roomId":"r","key":"k","remove":true,"data":1}"#, "`data` must be left out of a removal"),
            (r#"{"roomId":"r","key":"k","remove":false}"#, "`data` is missing"),
            (r#"{"roomId":"r","key":"k","remove":1,"data":1}"#, "`remove` must be a boolean"),
        ] {
            assert_eq!(of_client(text).unwrap_err().to_string(), told, "{text}");
        }
    }

    #[test]
    fn a_queue_body_reads_back_as_the_same_message() {
        let json = r#"{"roomId":"r","id":"i","data":{"a": [1, "\u00e9"]},"key":"k","version":3}"#;
        let body = of_client(json).unwrap().to_body();
        assert_eq!(
            body,
            r#"{"v":1,"roomId":"r","id":"i","from":"alice","sentAt":1700000000000,"data":{"a": [1, "\u00e9"]},"key":"k","version":3}"#
        );
        let other = Origin { id: "x", from: "y", sent_at: 0 };
        assert_eq!(ProducerDraft::read(&body).unwrap().accept(other).unwrap().to_body(), body);
    }

    #[test]
    fn the_largest_message_passes_and_one_byte_more_names_the_limit() {
        let of = |bytes| of_client(&format!(r#"{{"roomId":"r","data":"{}"}}"#, "x".repeat(bytes)));
        let overhead = broadcast::entry_len(&of(0).unwrap());
        assert!(of(MAX_MESSAGE_BYTES - overhead).is_ok());
        let error = of(MAX_MESSAGE_BYTES - overhead + 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`data` is too large: the message takes 120833 bytes in a frame, the limit is 120832"
        );
    }

    #[test]
    fn what_some_clients_could_not_read_is_refused() {
        for data in ["1e999", r#""\ud800""#] {
            assert_eq!(
                of_client(&format!(r#"{{"roomId":"r","data":{data}}}"#)).unwrap_err().to_string(),
                "`data` must be readable everywhere: at most 50 levels, numbers that fit a double, no half of a surrogate pair"
            );
        }
    }

    #[test]
    fn characters_that_sqs_refuses_are_escaped() {
        let message = of_client("{\"roomId\":\"r\",\"data\":\"\u{fffe}\u{ffff}\"}").unwrap();
        assert!(message.to_body().contains(r#""data":"\ufffe\uffff""#));
    }

    #[test]
    fn escapes_count_when_a_message_is_measured() {
        let of = |count| of_client(&format!(r#"{{"roomId":"r","data":"{}"}}"#, "\u{fffe}".repeat(count)));
        let overhead = broadcast::entry_len(&of(0).unwrap());
        let fits = (MAX_MESSAGE_BYTES - overhead) / 6;
        let largest = of(fits).unwrap();
        assert_eq!(broadcast::encode_entry(MAX_INTEGER, &largest).len(), overhead + 6 * fits);
        assert!(matches!(of(fits + 1), Err(FieldError::TooLarge { .. })));
        // The names are escaped where they are written.
        let named = of_client("{\"roomId\":\"r\",\"data\":1,\"id\":\"\u{fffe}\"}").unwrap();
        let entry = broadcast::encode_entry(MAX_INTEGER, &named);
        assert!(String::from_utf8(entry.clone()).unwrap().contains(r#""id":"\ufffe""#));
        assert_eq!(entry.len(), broadcast::entry_len(&named));
    }
}

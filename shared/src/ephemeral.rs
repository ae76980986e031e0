//! Ephemeral messages: for those who are in the room now, and for nobody else. They are in no log, have no number, and
//! may be lost.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use serde_json::value::RawValue;

use crate::{
    data,
    json::{FieldError, Name},
    limits::EPHEMERAL_DATA_BYTES,
    message::draft::{Draft, PRODUCER, ProducerDraft, escape_data},
    room::RoomId,
    text::escape_noncharacters,
};

/// An accepted ephemeral message. Serializes as the body of a queue record.
#[derive(Clone, Debug)]
pub struct Ephemeral {
    /// The room that it goes to.
    pub room: RoomId,
    /// The authenticated sender, or whom a producer names.
    pub from: String,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// Its key: of a sender's messages with the same key, or without one, the newest counts.
    pub key: Option<String>,
    /// Its content: JSON that all clients can read, passed on as it stands.
    pub data: Box<RawValue>,
}

impl Ephemeral {
    /// Reads a queue record's body, which a producer may have written. A sender that it leaves out is `producer`, a
    /// time that it leaves out is `queued_at`, in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// When it is no ephemeral message, or too large.
    pub fn read(body: &str, queued_at: u64) -> Result<Self, FieldError> {
        let ProducerDraft { draft, claims } = ProducerDraft::read(body)?;
        draft.accept_ephemeral(claims.from(PRODUCER), claims.sent_at(queued_at))
    }

    /// The body of a queue record.
    #[must_use]
    pub fn to_body(&self) -> String {
        // A struct of strings, integers and raw JSON always serializes.
        escape_noncharacters(serde_json::to_string(self).unwrap_or_default())
    }
}

impl Draft<'_> {
    /// Whether its writer wants it to be ephemeral.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        self.ephemeral == Some(true)
    }

    /// Accepts it as an ephemeral message. Who sent it and when is never the client's to claim.
    ///
    /// # Errors
    /// When it is too large, not every client could read it, or it says something that only logged messages do.
    pub fn accept_ephemeral(self, from: &str, sent_at: u64) -> Result<Ephemeral, FieldError> {
        let is_of_logged = [
            ("version", self.version.is_some()),
            ("remove", self.remove == Some(true)),
            ("ttlSeconds", self.ttl_seconds.is_some()),
        ];
        if let Some((field, _)) = is_of_logged.into_iter().find(|(_, is_there)| *is_there) {
            return Err(FieldError::invalid(field, "must be left out of an ephemeral message"));
        }
        let data = self.data.ok_or_else(|| FieldError::Fields("`data` is missing".to_owned()))?;
        data::check("data", data)?;
        let data = escape_data(data)?;
        let bytes = data.get().len();
        if bytes > EPHEMERAL_DATA_BYTES {
            let problem =
                format!("must have at most {EPHEMERAL_DATA_BYTES} bytes of JSON in an ephemeral message, has {bytes}");
            return Err(FieldError::invalid("data", problem));
        }
        let key = self.key.map(|Name(key)| key);
        Ok(Ephemeral { room: self.room_id, from: from.to_owned(), sent_at, key, data })
    }
}

impl Serialize for Ephemeral {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut body = serializer.serialize_struct("Ephemeral", 6)?;
        body.serialize_field("v", &1)?;
        body.serialize_field("roomId", &self.room)?;
        serialize_content(&mut body, self)?;
        body.end()
    }
}

/// Serializes what clients see of it.
pub(crate) fn serialize_content<S: SerializeStruct>(out: &mut S, message: &Ephemeral) -> Result<(), S::Error> {
    out.serialize_field("from", &message.from)?;
    out.serialize_field("sentAt", &message.sent_at)?;
    if let Some(key) = &message.key {
        out.serialize_field("key", key)?;
    }
    out.serialize_field("data", &message.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn of_client(text: &str) -> Result<Ephemeral, FieldError> {
        json::read::<Draft<'_>>(text)?.accept_ephemeral("alice", 7)
    }

    #[test]
    fn a_body_reads_back_as_the_same_message() {
        let text = "{\"roomId\":\"r\",\"ephemeral\":true,\"key\":\"\u{ffff}\",\"data\":{\"a\": \"\u{fffe}\"},\"from\":\"mallory\"}";
        let body = of_client(text).unwrap().to_body();
        let expected = r#"{"v":1,"roomId":"r","from":"alice","sentAt":7,"key":"\uffff","data":{"a": "\ufffe"}}"#;
        assert_eq!(body, expected, "nobody claims to be another, and SQS takes it");
        assert_eq!(Ephemeral::read(&body, 99).unwrap().to_body(), body);
    }

    #[test]
    fn a_producer_may_leave_out_who_it_is_and_when() {
        let message = Ephemeral::read(r#"{"roomId":"r","data":null}"#, 99).unwrap();
        assert_eq!(message.to_body(), r#"{"v":1,"roomId":"r","from":"producer","sentAt":99,"data":null}"#);
    }

    #[test]
    fn what_only_logged_messages_say_is_refused_by_its_name() {
        for (text, told) in [
            (r#"{"roomId":"r","data":1,"version":0}"#, "`version` must be left out of an ephemeral message"),
            (r#"{"roomId":"r","key":"k","remove":true}"#, "`remove` must be left out of an ephemeral message"),
            (
                r#"{"roomId":"r","key":"k","data":1,"ttlSeconds":5}"#,
                "`ttlSeconds` must be left out of an ephemeral message",
            ),
            (r#"{"roomId":"r","key":"k"}"#, "`data` is missing"),
            (r#"{"roomId":"r","data":1e999}"#, "`data` must be readable everywhere"),
            (r#"{"roomId":"r","data":1,"key":""}"#, "`key` must have 1 to 64 characters, has 0"),
        ] {
            assert!(of_client(text).unwrap_err().to_string().starts_with(told), "{text}");
            assert!(Ephemeral::read(text, 0).unwrap_err().to_string().starts_with(told), "{text}");
        }
        assert!(of_client(r#"{"roomId":"r","data":1,"remove":false,"version":null}"#).is_ok());
    }

    #[test]
    fn data_of_4_kib_passes_and_a_byte_more_names_the_limit() {
        let of = |data: String| of_client(&format!(r#"{{"roomId":"r","data":"{data}"}}"#));
        assert!(of("x".repeat(EPHEMERAL_DATA_BYTES - 2)).is_ok());
        let told = "`data` must have at most 4096 bytes of JSON in an ephemeral message, has 4097";
        assert_eq!(of("x".repeat(EPHEMERAL_DATA_BYTES - 1)).unwrap_err().to_string(), told);
        let escaped = of("\u{fffe}".repeat(683));
        assert!(escaped.unwrap_err().to_string().ends_with("has 4100"), "as it is posted");
    }
}

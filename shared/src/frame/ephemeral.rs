//! `ephemeral`, the frame of messages that are not logged. It is put together from parts that are encoded once.

use serde::{Serialize, Serializer};

use crate::{
    ephemeral::{Ephemeral, serialize_content},
    room::RoomId,
};

/// A message as it stands in a frame.
struct Entry<'a>(&'a Ephemeral);

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut entry = serializer.serialize_struct("Ephemeral", 4)?;
        serialize_content(&mut entry, self.0)?;
        entry.end()
    }
}

const TYPE: &str = r#"{"type":"ephemeral","roomId":""#;
const ENTRIES: &str = r#"","ephemeral":["#;
const END: &str = "]}";

/// Encodes one message as it stands in a frame.
#[must_use]
pub fn encode_entry(message: &Ephemeral) -> Vec<u8> {
    // A struct of strings, integers and raw JSON always serializes.
    serde_json::to_vec(&Entry(message)).unwrap_or_default()
}

/// The bytes that a frame takes around its entries and the commas between them.
#[must_use]
pub fn envelope_len(room: &RoomId) -> usize {
    TYPE.len() + room.as_str().len() + ENTRIES.len() + END.len()
}

/// Puts a frame together from encoded entries.
#[must_use]
pub fn frame(room: &RoomId, entries: &[Vec<u8>]) -> Vec<u8> {
    // A room id has no characters that JSON escapes.
    let parts = [TYPE.as_bytes(), room.as_str().as_bytes(), ENTRIES.as_bytes()].concat();
    [parts, entries.join(&b','), END.as_bytes().to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::RawValue};

    use super::*;

    #[test]
    fn a_frame_is_what_the_protocol_says() {
        let room = RoomId::parse("chat").unwrap();
        let message = |key: Option<&str>| Ephemeral {
            room: room.clone(),
            from: "ann\"".into(),
            sent_at: 1,
            key: key.map(str::to_owned),
            data: RawValue::from_string(r#"{"x":1}"#.into()).unwrap(),
        };
        let entries = [encode_entry(&message(Some("typing"))), encode_entry(&message(None))];
        let bytes = frame(&room, &entries);
        assert_eq!(bytes.len(), envelope_len(&room) + entries.concat().len() + 1);
        assert_eq!(
            serde_json::from_slice::<Value>(&bytes).unwrap(),
            json!({"type": "ephemeral", "roomId": "chat", "ephemeral": [
                {"from": "ann\"", "sentAt": 1, "key": "typing", "data": {"x": 1}},
                {"from": "ann\"", "sentAt": 1, "data": {"x": 1}},
            ]})
        );
    }
}

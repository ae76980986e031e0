//! `messages`, the frame in which logged messages are posted. It is put together from parts that are encoded once.

use std::{
    io::{self, Write},
    ops::RangeInclusive,
};

use serde::{Serialize, Serializer};

use crate::{
    limits::MAX_INTEGER,
    message::{Message, serialize_entry},
    room::RoomId,
    text::{escape_growth, escape_noncharacters},
};

/// A message under a number, as it stands in a frame.
struct Entry<'a>(u64, &'a Message);

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_entry(self.0, self.1, serializer)
    }
}

/// Encodes one message as it stands in a frame, without the characters that SQS refuses: a frame may go through a
/// queue.
#[must_use]
pub fn encode_entry(seq: u64, message: &Message) -> Vec<u8> {
    // A struct of strings, integers and raw JSON always serializes.
    escape_noncharacters(serde_json::to_string(&Entry(seq, message)).unwrap_or_default()).into_bytes()
}

/// Bytes that a message takes in a frame under the longest number.
#[must_use]
pub fn entry_len(message: &Message) -> usize {
    let mut counter = Counter(0);
    // The message always serializes, and the counter takes everything.
    let _ = serde_json::to_writer(&mut counter, &Entry(MAX_INTEGER, message));
    counter.0
}

struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The serializer never writes a part of a character.
        self.0 += bytes.len() + escape_growth(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const TYPE: &str = r#"{"type":"messages","roomId":""#;
const MESSAGES: &str = r#"","messages":["#;
const AFTER: &str = r#","after":"#;
const SEQ: &str = r#","seq":"#;

/// The most bytes that a frame takes around its entries and the commas between them.
#[must_use]
pub fn envelope_len(room: &RoomId) -> usize {
    const DIGITS: usize = 16; // of MAX_INTEGER
    TYPE.len() + room.as_str().len() + MESSAGES.len() + "]".len() + AFTER.len() + SEQ.len() + 2 * DIGITS + "}".len()
}

/// Puts a frame together from encoded entries. `covered` is given when the entries alone do not say which numbers the
/// frame covers, because some messages were conflated or are skipped.
#[must_use]
pub fn frame(room: &RoomId, entries: &[&[u8]], covered: Option<RangeInclusive<u64>>) -> Vec<u8> {
    let length = envelope_len(room) + entries.iter().map(|entry| entry.len() + 1).sum::<usize>();
    let mut frame = Vec::with_capacity(length);
    for part in [TYPE, room.as_str(), MESSAGES] {
        frame.extend_from_slice(part.as_bytes());
    }
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            frame.push(b',');
        }
        frame.extend_from_slice(entry);
    }
    frame.push(b']');
    if let Some(covered) = covered {
        let (first, last) = covered.into_inner();
        // Writing to a Vec cannot fail.
        let _ = write!(frame, "{AFTER}{}{SEQ}{last}", first.saturating_sub(1));
    }
    frame.push(b'}');
    frame
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::RawValue};

    use super::*;

    fn message() -> Message {
        Message {
            key: Some("k".into()),
            version: Some(2),
            ..Message::new(
                RoomId::parse("r").unwrap(),
                "i\"",
                "alice",
                7,
                RawValue::from_string(r#"{"x":1}"#.into()).unwrap(),
            )
        }
    }

    #[test]
    fn a_frame_is_what_the_protocol_says() {
        let entry = encode_entry(5, &message());
        let room = RoomId::parse("r").unwrap();
        let expected =
            json!({"seq": 5, "id": "i\"", "from": "alice", "sentAt": 7, "data": {"x": 1}, "key": "k", "version": 2});
        let plain: Value = serde_json::from_slice(&frame(&room, &[&entry, &entry], None)).unwrap();
        assert_eq!(plain, json!({"type": "messages", "roomId": "r", "messages": [expected, expected]}));
        let covering: Value = serde_json::from_slice(&frame(&room, &[&entry], Some(4..=6))).unwrap();
        assert_eq!(covering, json!({"type": "messages", "roomId": "r", "messages": [expected], "after": 3, "seq": 6}));
    }

    #[test]
    fn lengths_are_upper_bounds() {
        let room = RoomId::parse(&"r".repeat(100)).unwrap();
        assert_eq!(frame(&room, &[], Some(MAX_INTEGER..=MAX_INTEGER)).len(), envelope_len(&room));
        assert_eq!(encode_entry(MAX_INTEGER, &message()).len(), entry_len(&message()));
    }
}

//! The promises about every answer, whatever was asked.

use std::collections::HashMap;

use serde_json::{Value, value::RawValue};
use shared::{
    Ephemeral, LoggedMessage, Message, RoomId,
    frame::broadcast::entry_len,
    limits::{
        EPHEMERAL_DATA_BYTES, MAX_INTEGER, MAX_MESSAGE_BYTES, MAX_POST_BYTES, NAME_CHARS, SUBJECT_BYTES, TTL_SECONDS,
    },
};

/// The most bytes of an error's text: enough to say what is wrong and to quote a little of it.
const ERROR_BYTES: usize = 300;

/// Asserts that a text says what was wrong with an input, and that it repeats only little of the input and nothing that
/// disturbs a reader's terminal or is invisible.
pub fn assert_tells(text: &str) {
    assert!(!text.is_empty() && text.len() <= ERROR_BYTES, "{} bytes: {text:?}", text.len());
    assert_harmless(text);
}

/// Asserts that a text has nothing that disturbs a reader's terminal or is invisible.
pub fn assert_harmless(text: &str) {
    let disturbing = text.chars().find(|c| is_disturbing(*c));
    assert_eq!(disturbing, None, "{text:?}");
}

/// Control characters, characters that are invisible or change the direction of text, line separators and
/// noncharacters.
fn is_disturbing(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{feff}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Asserts that an accepted message is within all limits.
pub fn assert_within_limits(message: &Message) {
    let Message { room, id, from, sent_at, data, key, version, remove, ttl_seconds } = message;
    assert!(RoomId::parse(room.as_str()).is_ok());
    let names = [Some(id), key.as_ref()];
    assert!(names.into_iter().flatten().all(|name| (1..=NAME_CHARS).contains(&name.chars().count())), "{id:?} {key:?}");
    assert!((1..=SUBJECT_BYTES).contains(&from.len()), "{from:?}");
    assert!(*sent_at <= MAX_INTEGER && version.is_none_or(|version| version <= MAX_INTEGER));
    assert!(entry_len(message) <= MAX_MESSAGE_BYTES);
    assert!(!message.to_body().contains(['\u{fffe}', '\u{ffff}']), "SQS takes no such body");
    assert!(ttl_seconds.is_none_or(|seconds| (1..=TTL_SECONDS).contains(&seconds)), "{ttl_seconds:?}");
    assert!(key.is_some() || !(*remove || ttl_seconds.is_some()), "{message:?}");
    assert!(!remove || (ttl_seconds.is_none() && data.get() == "null"), "{message:?}");
    let _ = value(data.get());
}

/// Asserts that an accepted ephemeral message is within all limits.
pub fn assert_ephemeral_within_limits(message: &Ephemeral) {
    let Ephemeral { room, from, sent_at, key, data } = message;
    assert!(RoomId::parse(room.as_str()).is_ok());
    assert!(key.as_ref().is_none_or(|key| (1..=NAME_CHARS).contains(&key.chars().count())), "{key:?}");
    assert!((1..=SUBJECT_BYTES).contains(&from.len()), "{from:?}");
    assert!(*sent_at <= MAX_INTEGER && data.get().len() <= EPHEMERAL_DATA_BYTES);
    assert!(!message.to_body().contains(['\u{fffe}', '\u{ffff}']), "SQS takes no such body");
    let _ = value(data.get());
}

/// Reads a text as the receivers of frames do. An accepted text must be JSON to all of them.
#[must_use]
pub fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// A field of a JSON object, read in another way than by the functions.
#[must_use]
pub fn field(json: &str, name: &str) -> Option<Value> {
    let fields: HashMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    fields.get(name).map(|raw| value(raw.get()))
}

/// Asserts that a broadcast frame, as its receivers read it, has these messages or some of them, ascending, each as it
/// was accepted, and fits a post.
///
/// Returns the first and the last of the numbers that the frame stands for.
#[must_use]
pub fn assert_broadcasts(frame: &[u8], room: &RoomId, logged: &[LoggedMessage]) -> (u64, u64) {
    assert!(frame.len() <= MAX_POST_BYTES, "{} bytes", frame.len());
    let frame = value(str::from_utf8(frame).unwrap());
    assert_eq!((&frame["type"], &frame["roomId"]), (&"messages".into(), &room.as_str().into()));
    let entries = frame["messages"].as_array().unwrap();
    let numbers: Vec<u64> = entries.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert!(!numbers.is_empty() && numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    for (entry, seq) in entries.iter().zip(&numbers) {
        let LoggedMessage { message, .. } =
            logged.iter().find(|logged| logged.seq == *seq).expect("a message of the batch");
        assert_eq!(entry["data"], value(message.data.get()));
        assert_eq!((entry["id"].as_str(), entry["from"].as_str()), (Some(&*message.id), Some(&*message.from)));
        assert_eq!((entry["key"].as_str(), entry["version"].as_u64()), (message.key.as_deref(), message.version));
        assert_eq!(entry["sentAt"].as_u64(), Some(message.sent_at));
        assert_eq!((entry["remove"] == true, entry["ttlSeconds"].as_u64()), (message.remove, message.ttl_seconds));
    }
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    (frame["after"].as_u64().map_or(first, |after| after + 1), frame["seq"].as_u64().unwrap_or(last))
}

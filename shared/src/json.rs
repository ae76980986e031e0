//! Reading JSON objects that somebody else wrote (frames, events, records), and measuring JSON. The objects are
//! declared as types, and every refusal names the field and the limit.
//!
//! - A field that no type declares is ignored: a producer's own, or one of a client of another version.
//! - A field that is there twice is refused, since two readers could take it for different things.
//! - `null` counts as missing, except for a message's `data`.

use std::{
    borrow::Cow,
    io::{self, Write},
    ops::RangeInclusive,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Error},
};
use serde_json::error::Category;

use crate::{
    limits::{MAX_INTEGER, NAME_CHARS},
    text::cut,
};

/// Bytes of a JSON parser's complaint that are passed on: it may quote a string of the text whole.
const COMPLAINT_BYTES: usize = 200;

/// The reason why a JSON text or one of its fields was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The text is no JSON object.
    #[error("not a JSON object: {0}")]
    NotAnObject(String),
    /// A field is missing, or there twice; the text says which.
    #[error("{0}")]
    Fields(String),
    /// A field is there, and wrong.
    #[error("`{0}` {1}")]
    Invalid(Cow<'static, str>, String),
    /// The message as a whole would not fit a frame.
    #[error("`data` is too large: the message takes {bytes} bytes in a frame, the limit is {limit}")]
    TooLarge {
        /// Bytes that the message takes.
        bytes: usize,
        /// Bytes that it may take.
        limit: usize,
    },
}

impl FieldError {
    /// A field that is there, and wrong.
    #[must_use]
    pub fn invalid(field: &'static str, problem: impl ToString) -> Self {
        Self::Invalid(field.into(), problem.to_string())
    }
}

/// Reads a JSON object.
///
/// # Errors
/// When the text is not JSON or not an object, or one of the fields that `T` declares is missing or wrong.
pub fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, FieldError> {
    // A declared type could also be read from an array, field by field.
    if text.trim_start().starts_with('[') {
        return Err(FieldError::NotAnObject("it is an array".to_owned()));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().iter().next().map(ToString::to_string);
        refusal(field, error.inner())
    })?;
    json.end().map_err(|error| refusal(None, &error))?;
    Ok(value)
}

fn refusal(field: Option<String>, error: &serde_json::Error) -> FieldError {
    let complaint = cut(&error.to_string(), COMPLAINT_BYTES);
    if error.classify() != Category::Data {
        return FieldError::NotAnObject(complaint);
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let problem = complaint.strip_suffix(&place).unwrap_or(&complaint).to_owned();
    match field {
        Some(field) => match problem.rsplit_once(", expected ") {
            Some((found, expected)) if found.starts_with("invalid type") => {
                FieldError::Invalid(field.into(), format!("must be {expected}"))
            }
            _ => FieldError::Invalid(field.into(), problem),
        },
        // These are serde's words for errors about the object as a whole.
        None => match problem.strip_prefix("missing field ") {
            Some(field) => FieldError::Fields(format!("{field} is missing")),
            None if problem.starts_with("duplicate field") => FieldError::Fields(problem),
            None => FieldError::NotAnObject(problem.split(", expected ").next().unwrap_or_default().to_owned()),
        },
    }
}

/// Bytes of a value's JSON, counted without keeping it. 0 for a value that cannot be serialized.
#[must_use]
pub fn length(value: &impl Serialize) -> usize {
    struct Counted(usize);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    serde_json::to_writer(&mut counted, value).map_or(0, |()| counted.0)
}

/// For `deserialize_with`: a field that must be there.
///
/// # Errors
/// When it is `null`, or wrong.
pub fn required<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Option::deserialize(deserializer)?.ok_or_else(|| D::Error::custom("is missing"))
}

/// Any text. A value of another type is refused as `must be a string`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self).map_err(|_| D::Error::custom("must be a string"))
    }
}

/// A text of 1 to [`NAME_CHARS`] characters: `id`, `key`, `requestId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(pub String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        match text.chars().count() {
            1..=NAME_CHARS => Ok(Self(text)),
            length => Err(D::Error::custom(format!("must have 1 to {NAME_CHARS} characters, has {length}"))),
        }
    }
}

/// A `seq`, `version` or time: an integer that a JavaScript number holds exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter(pub u64);

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        integer(deserializer, 0..=MAX_INTEGER).map(Self)
    }
}

/// An integer within a range.
///
/// # Errors
/// When it is anything else.
pub fn integer<'de, D: Deserializer<'de>>(deserializer: D, range: RangeInclusive<u64>) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer) {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => {
            let (least, most) = range.into_inner();
            Err(de::Error::custom(format!("must be an integer from {least} to {most}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::room::RoomId;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Example<'a> {
        #[serde(deserialize_with = "required")]
        room_id: RoomId,
        id: Option<Name>,
        version: Option<Counter>,
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }

    fn refusal(text: &str) -> String {
        read::<Example<'_>>(text).unwrap_err().to_string()
    }

    #[test]
    fn every_refusal_names_the_field_and_the_limit() {
        for (text, told) in [
            (r#"{"roomId":"a b"}"#, "`roomId` may only have the characters A-Z a-z 0-9 _ - . : (has ' ')"),
            (r#"{"roomId":5}"#, "`roomId` must be a string"),
            (r#"{"roomId":["r"]}"#, "`roomId` must be a string"),
            (r#"{"roomId":null}"#, "`roomId` is missing"),
            (r#"{"id":"i"}"#, "`roomId` is missing"),
            (r#"{"roomId":"r","id":7}"#, "`id` must be a string"),
            (r#"{"roomId":"r","id":""}"#, "`id` must have 1 to 64 characters, has 0"),
            (r#"{"roomId":"r","version":-1}"#, "`version` must be an integer from 0 to 9007199254740991"),
            (r#"{"roomId":"r","version":1.5}"#, "`version` must be an integer from 0 to 9007199254740991"),
            (r#"{"roomId":"r","version":9007199254740992}"#, "`version` must be an integer from 0 to 9007199254740991"),
            (r#"{"roomId":"r","version":{}}"#, "`version` must be an integer from 0 to 9007199254740991"),
            (r#"{"roomId":"r","roomId":"r"}"#, "duplicate field `roomId`"),
        ] {
            assert_eq!(refusal(text), told, "{text}");
        }
        assert_eq!(
            refusal(&format!(r#"{{"roomId":"r","id":"{}"}}"#, "i".repeat(65))),
            "`id` must have 1 to 64 characters, has 65"
        );
        for text in ["", "{", "[]", "[\"r\"]", " [\"r\"]", "null", "7", "\"r\"", r#"{"roomId":"r"} x"#, r#"{"a":}"#] {
            assert!(refusal(text).starts_with("not a JSON object: "), "{text}: {}", refusal(text));
        }
    }

    #[test]
    fn a_length_is_that_of_the_json_in_bytes() {
        let value = serde_json::json!({"a": ["\u{e9}\n\"", 1.5, null], "b": {}});
        assert_eq!(length(&value), value.to_string().len());
        assert_eq!((length(&""), length(&[0_u8; 0])), (2, 2));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_text_at_length() {
        let told = refusal(&format!("\"{}\"", "x".repeat(100_000)));
        assert!(told.starts_with("not a JSON object: invalid type: string \"xxx") && told.len() < 250, "{told}");
        assert!(refusal(&format!(r#"{{"roomId":"r","version":"{}"}}"#, "x".repeat(100_000))).len() < 250);
    }

    #[test]
    fn unknown_fields_are_ignored_and_raw_values_are_not_read() {
        let text = r#"{"other":1,"other":2,"roomId":"r","data":{"roomId":"x", "a":[1e400]},"id":null}"#;
        let example: Example<'_> = read(text).unwrap();
        assert_eq!((example.room_id.as_str(), example.id, example.version), ("r", None, None));
        assert_eq!(example.data.unwrap().get(), r#"{"roomId":"x", "a":[1e400]}"#);
    }
}

//! Typed access to the fields of a JSON object that somebody else wrote: every refusal names the field and the limit.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::{
    limits::{MAX_INTEGER, NAME_CHARS},
    room::RoomId,
    text::cut,
};

/// Bytes of a JSON parser's complaint that are passed on: it may quote a string of the text whole.
const COMPLAINT_BYTES: usize = 200;

/// A JSON object whose values are not parsed before somebody asks for them; `data` never is.
#[derive(Debug)]
pub struct Fields<'a>(HashMap<String, &'a RawValue>);

/// Why a JSON text or one of its fields was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The text is no JSON object.
    #[error("not a JSON object: {0}")]
    NotAnObject(String),
    /// A field that must be there is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field is there, and wrong.
    #[error("`{0}` {1}")]
    Invalid(&'static str, String),
    /// The message as a whole would not fit a frame.
    #[error("`data` is too large: the message takes {bytes} bytes in a frame, the limit is {limit}")]
    TooLarge {
        /// Bytes that the message takes.
        bytes: usize,
        /// Bytes that it may take.
        limit: usize,
    },
}

impl<'a> Fields<'a> {
    /// Reads the outermost object of a JSON text.
    ///
    /// # Errors
    /// When the text is not JSON, or not an object.
    pub fn parse(text: &'a str) -> Result<Self, FieldError> {
        let not_an_object =
            |error: serde_json::Error| FieldError::NotAnObject(cut(&error.to_string(), COMPLAINT_BYTES));
        serde_json::from_str(text).map(Self).map_err(not_an_object)
    }

    /// The field's JSON text, `null` included.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied()
    }

    /// The field, unless it is missing or `null`.
    fn present(&self, name: &str) -> Option<&'a str> {
        self.raw(name).map(RawValue::get).filter(|json| *json != "null")
    }

    /// A text field of any length, if it is there.
    ///
    /// # Errors
    /// When it is not a string.
    pub fn text(&self, name: &'static str) -> Result<Option<String>, FieldError> {
        let Some(json) = self.present(name) else {
            return Ok(None);
        };
        match serde_json::from_str(json) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(FieldError::Invalid(name, "must be a string".into())),
        }
    }

    /// A text field of 1 to [`NAME_CHARS`] characters, if it is there: `id`, `key`, `requestId`.
    ///
    /// # Errors
    /// When it is not a string, or too short or long.
    pub fn name(&self, name: &'static str) -> Result<Option<String>, FieldError> {
        let text = self.text(name)?;
        match text.as_ref().map(|text| text.chars().count()) {
            Some(length) if !(1..=NAME_CHARS).contains(&length) => {
                Err(FieldError::Invalid(name, format!("must have 1 to {NAME_CHARS} characters, has {length}")))
            }
            _ => Ok(text),
        }
    }

    /// An integer from 0 to `most`, if it is there.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn integer(&self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, FieldError> {
        let Some(json) = self.present(name) else {
            return Ok(None);
        };
        match serde_json::from_str(json) {
            Ok(value) if (least..=most).contains(&value) => Ok(Some(value)),
            _ => Err(FieldError::Invalid(name, format!("must be an integer from {least} to {most}"))),
        }
    }

    /// A `seq` or `version`.
    ///
    /// # Errors
    /// When it is no integer that a JavaScript number holds exactly.
    pub fn counter(&self, name: &'static str) -> Result<Option<u64>, FieldError> {
        self.integer(name, 0, MAX_INTEGER)
    }

    /// The room, which must be there.
    ///
    /// # Errors
    /// When it is missing or no room id.
    pub fn room(&self) -> Result<RoomId, FieldError> {
        let text = self.text("roomId")?.ok_or(FieldError::Missing("roomId"))?;
        RoomId::parse(&text).map_err(|error| FieldError::Invalid("roomId", error.to_string()))
    }

    /// The entries of a field that is an object of integers, ordered by name.
    ///
    /// # Errors
    /// When it is missing or anything else.
    pub fn counters(&self, name: &'static str) -> Result<Vec<(String, u64)>, FieldError> {
        let json = self.present(name).ok_or(FieldError::Missing(name))?;
        let wrong = || FieldError::Invalid(name, format!("must be an object of integers from 0 to {MAX_INTEGER}"));
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).map_err(|_| wrong())?;
        map.into_iter()
            .map(|(key, value)| match value.as_u64() {
                Some(number) if number <= MAX_INTEGER => Ok((key, number)),
                _ => Err(wrong()),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(result: Result<T, FieldError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn every_refusal_names_the_field_and_the_limit() {
        let text = format!(
            r#"{{"roomId":"a b","id":"{}","key":7,"version":-1,"after":1.5,"rooms":{{"a":"x"}}}}"#,
            "i".repeat(65)
        );
        let fields = Fields::parse(&text).unwrap();
        assert_eq!(refusal(fields.room()), "`roomId` may only have the characters A-Z a-z 0-9 _ - . : (has ' ')");
        assert_eq!(refusal(fields.name("id")), "`id` must have 1 to 64 characters, has 65");
        assert_eq!(refusal(fields.name("key")), "`key` must be a string");
        assert_eq!(refusal(fields.counter("version")), "`version` must be an integer from 0 to 9007199254740991");
        assert_eq!(refusal(fields.counter("after")), "`after` must be an integer from 0 to 9007199254740991");
        assert_eq!(refusal(fields.integer("after", 1, 100)), "`after` must be an integer from 1 to 100");
        assert_eq!(
            refusal(fields.counters("rooms")),
            "`rooms` must be an object of integers from 0 to 9007199254740991"
        );
        assert_eq!(refusal(fields.counters("others")), "`others` is missing");
        assert!(refusal(Fields::parse("[]")).starts_with("not a JSON object: "));
        assert!(refusal(Fields::parse("{")).starts_with("not a JSON object: "));
    }

    #[test]
    fn a_refusal_does_not_repeat_the_text_at_length() {
        let text = format!("\"{}\"", "x".repeat(100_000));
        let told = refusal(Fields::parse(&text));
        assert!(told.starts_with("not a JSON object: invalid type: string \"xxx") && told.len() < 250, "{told}");
    }

    #[test]
    fn a_null_field_counts_as_missing_but_null_data_is_data() {
        let fields = Fields::parse(r#"{"id":null,"data":null}"#).unwrap();
        assert_eq!(fields.name("id").unwrap(), None);
        assert_eq!(fields.raw("data").map(RawValue::get), Some("null"));
        assert_eq!(refusal(fields.room()), "`roomId` is missing");
    }
}

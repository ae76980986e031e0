//! Arguments that are terms of Roomcast, parsed as the functions parse them. An error names the limit, and the command
//! ends with exit code 2.

use shared::{RoomId, Subject, limits::NAME_CHARS};

/// A room.
///
/// # Errors
/// When it is no room id; the text has the limit.
pub fn room(text: &str) -> Result<RoomId, String> {
    RoomId::parse(text).map_err(|error| format!("a room id {error}"))
}

/// A subject.
///
/// # Errors
/// When it is none; the text has the limit.
pub fn subject(text: &str) -> Result<Subject, String> {
    Subject::parse(text).map_err(|error| format!("a subject {error}"))
}

/// A message's id or key.
///
/// # Errors
/// When it is none; the text has the limit.
pub fn name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=NAME_CHARS => Ok(text.to_owned()),
        length => Err(format!("must have 1 to {NAME_CHARS} characters, has {length}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_the_limit() {
        assert!(room("chat:7").is_ok() && subject("auth0|1").is_ok() && name("m-1").is_ok());
        assert_eq!(room("a b").unwrap_err(), "a room id may only have the characters A-Z a-z 0-9 _ - . : (has ' ')");
        assert_eq!(room(&"r".repeat(101)).unwrap_err(), "a room id must have 1 to 100 characters, has 101");
        assert_eq!(subject("").unwrap_err(), "a subject must have 1 to 256 bytes and no control characters");
        assert_eq!(name("").unwrap_err(), "must have 1 to 64 characters, has 0");
    }
}

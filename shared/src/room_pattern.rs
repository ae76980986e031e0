//! Patterns of rooms, for settings and rights.

use crate::{limits::ROOM_ID_CHARS, room::RoomId};

/// A pattern: the name of one room, or with a `*` at its end the beginning of many rooms' names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomPattern(String);

/// Some rooms: those that any of the patterns matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomPatterns(Vec<RoomPattern>);

impl RoomPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it can match no room, or more than one `*` is in it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let name = text.strip_suffix('*').unwrap_or(text);
        if text.is_empty() || name.len() > ROOM_ID_CHARS {
            return Err("must have 1 to 100 characters besides a `*`");
        }
        if !name.is_empty() && RoomId::parse(name).is_err() {
            return Err("may only have the characters A-Z a-z 0-9 _ - . : and one `*`, at its end");
        }
        Ok(Self(text.to_owned()))
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches a room.
    #[must_use]
    pub fn matches(&self, room: &RoomId) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => room.as_str().starts_with(beginning),
            None => room.as_str() == self.0,
        }
    }
}

impl RoomPatterns {
    /// Reads patterns with commas between them. An empty text matches no room.
    ///
    /// # Errors
    /// When one of them is no pattern; the error begins with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let patterns = text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
        let read = |pattern: &str| RoomPattern::parse(pattern).map_err(|problem| format!("{pattern:?} {problem}"));
        patterns.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether any of the patterns matches a room.
    #[must_use]
    pub fn matches(&self, room: &RoomId) -> bool {
        self.0.iter().any(|pattern| pattern.matches(room))
    }

    /// Whether there are no patterns, which match no room.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_is_one_by_any_pattern() {
        let rooms = RoomPatterns::parse("prices, chat:*,").unwrap();
        let is_one = |room: &str| rooms.matches(&RoomId::parse(room).unwrap());
        assert!(is_one("prices") && is_one("chat:1") && is_one("chat:"));
        assert!(!is_one("price") && !is_one("prices2") && !is_one("chat"));
        let all = RoomPatterns::parse("*").unwrap();
        assert!(all.matches(&RoomId::parse("r").unwrap()) && !all.is_empty());
    }

    #[test]
    fn of_an_empty_text_no_room_is_one() {
        assert!(RoomPatterns::parse(" , ").unwrap().is_empty());
        assert!(!RoomPatterns::default().matches(&RoomId::parse("r").unwrap()));
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let told = RoomPatterns::parse("prices,a*b").unwrap_err();
        assert!(told.starts_with("\"a*b\" may only have"), "{told}");
    }
}

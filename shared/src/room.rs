//! Rooms.

use std::{fmt, sync::Arc};

use crate::{json::Text, limits::ROOM_ID_CHARS};

/// A room's name: 1 to 100 characters of `A-Z a-z 0-9 _ - . :`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(Arc<str>);

/// The reason why a text is no room id; says the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRoomId {
    /// It has no characters, or more than [`ROOM_ID_CHARS`].
    #[error("must have 1 to {ROOM_ID_CHARS} characters, has {0}")]
    Length(usize),
    /// It has a character that is not allowed.
    #[error("may only have the characters A-Z a-z 0-9 _ - . : (has {0:?})")]
    Character(char),
}

/// The prefix of personal rooms; see [`RoomId::owner`].
const PERSONAL: &str = "user:";

impl RoomId {
    /// Parses a room id.
    ///
    /// # Errors
    /// When the length or a character is outside the limits.
    pub fn parse(text: &str) -> Result<Self, InvalidRoomId> {
        let length = text.chars().count();
        if length == 0 || length > ROOM_ID_CHARS {
            return Err(InvalidRoomId::Length(length));
        }
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
        match text.chars().find(|c| !allowed(c)) {
            Some(c) => Err(InvalidRoomId::Character(c)),
            None => Ok(Self(text.into())),
        }
    }

    /// The room id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose personal room `user:<sub>` this is, if it is one. Nobody else may join it.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        self.0.strip_prefix(PERSONAL)
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for RoomId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RoomId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_every_allowed_character_and_the_longest_length() {
        assert!(RoomId::parse("AZaz09_-.:").is_ok());
        assert!(RoomId::parse(&"r".repeat(100)).is_ok());
    }

    #[test]
    fn refuses_empty_long_and_foreign() {
        assert_eq!(RoomId::parse(""), Err(InvalidRoomId::Length(0)));
        assert_eq!(RoomId::parse(&"r".repeat(101)), Err(InvalidRoomId::Length(101)));
        assert_eq!(RoomId::parse("a b"), Err(InvalidRoomId::Character(' ')));
        assert_eq!(RoomId::parse("a/1"), Err(InvalidRoomId::Character('/')));
        assert_eq!(RoomId::parse("é"), Err(InvalidRoomId::Character('é')));
    }

    #[test]
    fn personal_rooms_have_an_owner() {
        let owner = |text| RoomId::parse(text).unwrap().owner().map(str::to_owned);
        assert_eq!(owner("user:alice").as_deref(), Some("alice"));
        assert_eq!(owner("user:alice:x").as_deref(), Some("alice:x"));
        assert_eq!(owner("user:").as_deref(), Some(""));
        assert_eq!(owner("users"), None);
    }
}

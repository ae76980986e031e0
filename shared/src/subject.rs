//! Who is behind a connection, and what they may do.

use crate::{limits::SUBJECT_BYTES, room::RoomId};

/// The authenticated subject of a connection: its token's `sub`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(String);

/// Why a text is no subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {SUBJECT_BYTES} bytes and no control characters")]
pub struct InvalidSubject;

/// What a subject asked to do in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Receive the room's broadcasts and read its log.
    Join,
    /// Send messages into the room.
    Send,
}

impl Subject {
    /// Parses a subject.
    ///
    /// # Errors
    /// When it is empty, longer than [`SUBJECT_BYTES`], or has control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidSubject> {
        if text.is_empty() || text.len() > SUBJECT_BYTES || text.chars().any(char::is_control) {
            return Err(InvalidSubject);
        }
        Ok(Self(text.to_owned()))
    }

    /// The subject as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one place that decides what a subject may do in a room. Everybody may send to everybody's personal
    /// room (a direct message); only its owner may join it.
    #[must_use]
    pub fn may(&self, capability: Capability, room: &RoomId) -> bool {
        match capability {
            Capability::Join => !room.is_personal_room_of_another(self),
            Capability::Send => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_cannot_be_shown_or_stored() {
        assert!(Subject::parse("auth0|5f7c").is_ok());
        assert!(Subject::parse("").is_err());
        assert!(Subject::parse("a\nb").is_err());
        assert!(Subject::parse(&"s".repeat(257)).is_err());
    }

    #[test]
    fn anybody_sends_to_a_personal_room_and_only_its_owner_joins() {
        let alice = Subject::parse("alice").unwrap();
        let bobs = RoomId::parse("user:bob").unwrap();
        assert!(alice.may(Capability::Send, &bobs));
        assert!(!alice.may(Capability::Join, &bobs));
    }
}

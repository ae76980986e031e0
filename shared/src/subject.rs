//! Subjects: who is behind a connection.

use crate::limits::SUBJECT_BYTES;

/// The authenticated subject of a connection: its token's `sub`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(String);

/// The reason why a text is no subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {SUBJECT_BYTES} bytes and no control characters")]
pub struct InvalidSubject;

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
}

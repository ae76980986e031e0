//! A grant: who is behind a connection, what they may do, and until when. The authorizer writes it into its context,
//! which API Gateway keeps with the connection and sends with every event, so that no later frame needs a token.

use std::collections::HashMap;

use serde_json::{Map, Value};
use shared::{
    RoomId, Subject,
    limits::MAX_INTEGER,
    rights::{Right, Rights},
};

use crate::response::RouteError;

/// Seconds by which the clocks of the issuer of tokens and of these functions may differ.
pub const LEEWAY_SECONDS: u64 = 5;

const SUBJECT: &str = "sub";
const RIGHTS: &str = "rooms";
const EXPIRY: &str = "exp";

/// The grant of a connection: who is behind it, what they may do, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The subject.
    pub subject: Subject,
    /// Their rights, by room.
    pub rights: Rights,
    /// When the token expires, in seconds since the Unix epoch.
    pub expires_at: u64,
}

impl Grant {
    /// The authorizer's context. API Gateway takes texts, numbers and truth values.
    #[must_use]
    pub fn to_context(&self) -> Map<String, Value> {
        // Names and lists of names always serialize.
        let rights = serde_json::to_string(&self.rights).unwrap_or_default();
        Map::from_iter([
            (SUBJECT.to_owned(), self.subject.as_str().into()),
            (RIGHTS.to_owned(), rights.into()),
            (EXPIRY.to_owned(), self.expires_at.to_string().into()),
        ])
    }

    /// Reads the authorizer's context; `None` if it names nobody. A context without rights or an end was written by
    /// another version. Its grant counts as ended, and the client gets a new one by connecting again.
    #[must_use]
    pub fn from_context(context: &HashMap<String, Value>) -> Option<Self> {
        let text = |key| context.get(key).and_then(Value::as_str);
        let subject = Subject::parse(text(SUBJECT)?).ok()?;
        let rights = text(RIGHTS).and_then(|rights| serde_json::from_str(rights).ok());
        let expires_at = text(EXPIRY).and_then(|seconds| seconds.parse().ok());
        let (rights, expires_at) = rights.zip(expires_at).unwrap_or_default();
        Some(Self { subject, rights, expires_at })
    }

    /// Requires a right in a room.
    ///
    /// # Errors
    /// When the subject does not have it.
    pub fn require(&self, right: Right, room: &RoomId) -> Result<(), RouteError> {
        if self.rights.allow(&self.subject, right, room) {
            return Ok(());
        }
        Err(RouteError::Forbidden(format!("`roomId` {room}: your token gives no right to `{}`", right.name())))
    }

    /// Whether the token has ended, its leeway included.
    #[must_use]
    pub fn is_over(&self, now_seconds: u64) -> bool {
        self.ends_at() <= now_seconds
    }

    /// Milliseconds until the token expires.
    #[must_use]
    pub fn expires_in_ms(&self, now_millis: u64) -> u64 {
        self.expires_at.saturating_mul(1_000).saturating_sub(now_millis).min(MAX_INTEGER)
    }

    /// When the token ends, its leeway included, in seconds since the Unix epoch.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        self.expires_at.saturating_add(LEEWAY_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grant() -> Grant {
        let rights = serde_json::from_str(r#"{"chat:*":["join","send"]}"#).unwrap();
        Grant { subject: Subject::parse("alice").unwrap(), rights, expires_at: 1_800_000_000 }
    }

    #[test]
    fn a_grant_comes_out_of_the_context_as_it_went_in() {
        let context = grant().to_context();
        assert_eq!(
            Value::from(context.clone()),
            json!({"sub": "alice", "rooms": r#"{"chat:*":["join","send"]}"#, "exp": "1800000000"})
        );
        assert_eq!(Grant::from_context(&context.into_iter().collect()), Some(grant()));
    }

    #[test]
    fn a_context_that_lacks_anything_gives_nothing() {
        let whole = grant().to_context();
        for missing in [RIGHTS, EXPIRY] {
            let context = whole.clone().into_iter().filter(|(key, _)| key != missing).collect();
            let read = Grant::from_context(&context).unwrap();
            assert_eq!((read.expires_at, read.rights), (0, Rights::default()), "without {missing}");
        }
        assert_eq!(Grant::from_context(&HashMap::new()), None);
    }

    #[test]
    fn a_grant_ends_a_leeway_after_its_expiry() {
        assert!(!grant().is_over(1_800_000_004));
        assert!(grant().is_over(1_800_000_005));
        assert!(!Grant { expires_at: u64::MAX, ..grant() }.is_over(u64::MAX - 1));
    }

    #[test]
    fn what_a_right_is_missing_for_is_told() {
        let room = RoomId::parse("prices").unwrap();
        let error = grant().require(Right::Send, &room).unwrap_err().to_string();
        assert_eq!(error, "`roomId` prices: your token gives no right to `send`");
    }
}

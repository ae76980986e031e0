//! Frames that the server sends in reply to a client's own frame. Broadcasts are in [`super::broadcast`].

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{message::LoggedMessage, presence::ListedMember, room::RoomId};

/// A reply, with the id of the request that it answers.
#[derive(Debug, Serialize)]
pub struct ServerFrame {
    /// The reply, by its type.
    #[serde(flatten)]
    pub reply: Reply,
    /// The request's id, if it had one.
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// A reply.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reply {
    /// The connection is in the room.
    Joined {
        /// The room that was joined.
        room_id: RoomId,
        /// The head of the room's log, and what was missed.
        #[serde(flatten)]
        catch_up: CatchUp,
        /// The time for which the log keeps a message, in seconds.
        retention_seconds: u64,
        /// When to sync the room next, in milliseconds from now on.
        sync_after_ms: u64,
        /// For a connection whose presence counts: the longest time between two syncs of the room, in milliseconds,
        /// also while broadcasts come. A connection that syncs less often is taken for gone.
        #[serde(skip_serializing_if = "Option::is_none")]
        sync_within_ms: Option<u64>,
        /// When the connection's token expires, in milliseconds from now on: a connection with a new one should be open
        /// by then.
        expires_in_ms: u64,
        /// The server's time, in milliseconds since the Unix epoch; for whoever asked for state or presence.
        #[serde(skip_serializing_if = "Option::is_none")]
        now: Option<u64>,
        /// The first page of the room's state, for whoever asked for it, as of `seq`.
        #[serde(flatten)]
        state: Option<JoinedState>,
        /// The room's members, for one of them.
        #[serde(skip_serializing_if = "Option::is_none")]
        presence: Option<JoinedPresence>,
    },
    /// The connection is not in the room.
    Left {
        /// The room that was left.
        room_id: RoomId,
    },
    /// The message is in the queue.
    Accepted {
        /// The room that the message goes to.
        room_id: RoomId,
        /// The message's id, the sender's or the server's.
        id: String,
    },
    /// The heads of the rooms' logs, and what was missed.
    Synced {
        /// The missed messages, by room. A room that could not be served is left out: the client asks for it again.
        rooms: BTreeMap<RoomId, CatchUp>,
        /// Rooms that the subject may not join, or that are more than a connection may be in.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        forbidden: Vec<RoomId>,
        /// Rooms in which the connection's membership had ended, or nearly so, and is renewed.
        renewed: Vec<RoomId>,
        /// When to sync these rooms next, in milliseconds from now on.
        sync_after_ms: u64,
        /// The state of presence in the rooms that the client asked about. A room that could not be read is left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        presence: Option<BTreeMap<RoomId, PresenceStanding>>,
        /// The server's time in milliseconds since the Unix epoch, for whoever asked for presence.
        #[serde(skip_serializing_if = "Option::is_none")]
        now: Option<u64>,
    },
    /// A page of a room's log.
    History {
        /// The room whose log was read.
        room_id: RoomId,
        /// The messages, ascending by number.
        messages: Vec<LoggedMessage>,
        /// Whether there are older ones.
        more: bool,
    },
    /// A page of a room's state.
    State {
        /// The room whose state was read.
        room_id: RoomId,
        /// The number of the log as of which the page is exact.
        seq: u64,
        /// The entries of the page, and where it ends.
        #[serde(flatten)]
        page: StatePage,
    },
    /// A page of a room's members.
    Members {
        /// The room whose members were read.
        room_id: RoomId,
        /// Whether the page is part of the published list. If not, the room has too many members for a list.
        listed: bool,
        /// The members of the page, and where it ends.
        #[serde(flatten)]
        list: MemberList,
    },
    /// The request was refused; the connection stays open unless a reason says otherwise.
    Error {
        /// The kind of error.
        code: ErrorCode,
        /// A text that says what to do about it.
        message: String,
        /// The id of the message, in an error about a `sendMessage`, to try again with: the sender's or the server's.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// A reason that clients act on by themselves, where the code alone does not tell.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<ErrorReason>,
        /// When to try again at the earliest, in milliseconds from now on, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

/// The head of a room's log, and what a client has missed of it.
#[derive(Debug, Default, Serialize)]
pub struct CatchUp {
    /// The number of the newest message that the log has, or had before everything in it expired; 0 when nothing is
    /// known of it.
    pub seq: u64,
    /// The missed messages, ascending.
    pub messages: Vec<LoggedMessage>,
    /// Whether there is more than fitted the reply.
    pub more: bool,
    /// Whether some of what was asked for is gone, or never was in this log.
    pub truncated: bool,
}

/// Part of a room's state, ascending by key.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatePage {
    /// The keys that have a value.
    pub entries: Vec<StateEntry>,
    /// Keys without a value, if a message could still come that is older than their removal or expiry.
    pub removed: Vec<StateRemoval>,
    /// The key after which there is more, if there is; empty is from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Members of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemberList {
    /// The version of what is published of them; 0 if nothing is.
    pub rev: u64,
    /// The number of members.
    pub count: u64,
    /// Some of them, sorted by subject; `None` in a room of which only their number is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<ListedMember>>,
    /// The subject after which the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A room's members, for somebody who has just joined them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinedPresence {
    /// The subject of the connection itself: which of the members it is.
    pub id: String,
    /// The first page of the list.
    #[serde(flatten)]
    pub list: MemberList,
}

/// Part of a room's state in a `joined` reply, where the fields have other names.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinedState {
    /// As [`StatePage::entries`].
    pub state: Vec<StateEntry>,
    /// As [`StatePage::removed`].
    pub state_removed: Vec<StateRemoval>,
    /// As [`StatePage::next`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_next: Option<String>,
}

impl From<StatePage> for JoinedState {
    fn from(StatePage { entries, removed, next }: StatePage) -> Self {
        Self { state: entries, state_removed: removed, state_next: next }
    }
}

/// A key's value: the message that it was set with.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StateEntry {
    /// The key that has the value.
    pub key: String,
    /// The message's number.
    pub seq: u64,
    /// Its version, if it has one above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The subject that set the value.
    pub from: String,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// The time for which the value lasts from `sent_at` on, in seconds; `None` is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// The value: JSON, passed on as it stands.
    pub data: Box<RawValue>,
}

/// A key whose value was removed, or has expired.
#[derive(Debug, Serialize)]
pub struct StateRemoval {
    /// The key that has no value.
    pub key: String,
    /// The number of the message that removed the value, or whose value has expired.
    pub seq: u64,
    /// That message's version, if it has one above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// The state of a room's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PresenceStanding {
    /// The version of what is published; 0 if nothing is.
    pub rev: u64,
    /// The number of members.
    pub count: u64,
}

/// The kinds of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The frame is malformed.
    BadRequest,
    /// There is no such action.
    UnknownAction,
    /// The subject may not do that.
    Forbidden,
    /// The message is over the limit.
    TooLarge,
    /// Too much at once; try again later.
    RateLimited,
    /// Something behind the route did not answer; try again later.
    Unavailable,
}

impl ErrorCode {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnknownAction => "unknown_action",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The reason why a request was refused, beyond its kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorReason {
    /// The token of the connection has expired: the connection is closed, and another one with a new token is served.
    TokenExpired,
}

impl ServerFrame {
    /// The frame as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, integers and raw JSON always serialize.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;

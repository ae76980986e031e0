//! Frames that the server sends in reply to a client's own frame. Broadcasts are in [`super::broadcast`].

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{message::LoggedMessage, presence::Member, room::RoomId};

/// A reply, with the id of the request that it answers.
#[derive(Debug, Serialize)]
pub struct ServerFrame {
    /// What it says.
    #[serde(flatten)]
    pub reply: Reply,
    /// The request's id, if it had one.
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What a reply may say.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reply {
    /// The connection is in the room.
    Joined {
        /// The room.
        room_id: RoomId,
        /// Where the room's log stands, and what was missed.
        #[serde(flatten)]
        catch_up: CatchUp,
        /// How long the log keeps a message, in seconds.
        retention_seconds: u64,
        /// When to sync the room next, in milliseconds from now on.
        sync_after_ms: u64,
        /// Of a room that counts who is present: within how many milliseconds to sync it, again and again, also while broadcasts come.
        /// A connection that does not is taken for gone.
        #[serde(skip_serializing_if = "Option::is_none")]
        sync_within_ms: Option<u64>,
        /// When the connection's token expires, in milliseconds from now on: a connection with a new one should be open by then.
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
        /// The room.
        room_id: RoomId,
    },
    /// The message is in the queue.
    Accepted {
        /// The room.
        room_id: RoomId,
        /// The message's id, the sender's or the server's.
        id: String,
    },
    /// Where the rooms' logs stand, and what was missed.
    Synced {
        /// By room. A room that could not be served is left out: the client asks for it again.
        rooms: BTreeMap<RoomId, CatchUp>,
        /// Rooms that the subject may not join, or that are more than a connection may be in.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        forbidden: Vec<RoomId>,
        /// Rooms in which the connection was a member no more, or nearly so, and is one again.
        renewed: Vec<RoomId>,
        /// When to sync these rooms next, in milliseconds from now on.
        sync_after_ms: u64,
        /// Where the presence of the rooms stands of which that was asked. One that could not be read is left out.
        #[serde(skip_serializing_if = "Option::is_none")]
        presence: Option<BTreeMap<RoomId, PresenceStanding>>,
        /// The server's time in milliseconds since the Unix epoch, for whoever asked for presence.
        #[serde(skip_serializing_if = "Option::is_none")]
        now: Option<u64>,
    },
    /// A page of a room's log.
    History {
        /// The room.
        room_id: RoomId,
        /// Ascending.
        messages: Vec<LoggedMessage>,
        /// Whether there are older ones.
        more: bool,
    },
    /// A page of a room's state.
    State {
        /// The room.
        room_id: RoomId,
        /// The number of the log as of which the page is exact.
        seq: u64,
        /// The page.
        #[serde(flatten)]
        page: StatePage,
    },
    /// A page of a room's members.
    Members {
        /// The room.
        room_id: RoomId,
        /// Whether the page is one of the list that is published. If not, the room has too many members for one.
        listed: bool,
        /// The page.
        #[serde(flatten)]
        list: MemberList,
    },
    /// The request was refused; the connection stays open unless a reason says otherwise.
    Error {
        /// What kind of error.
        code: ErrorCode,
        /// What to do about it.
        message: String,
        /// Of an error about a `sendMessage`: the message's id, the sender's or the server's, to try again with.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// What the code leaves open, where a client should do something about it by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<ErrorReason>,
        /// When to try again at the earliest, in milliseconds from now on, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

/// Where a room's log stands, and what a client has missed of it.
#[derive(Debug, Default, Serialize)]
pub struct CatchUp {
    /// The number of the newest message that the log has, or had before everything in it expired; 0 when nothing is known
    /// of it.
    pub seq: u64,
    /// What was missed, ascending.
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
    /// The values.
    pub entries: Vec<StateEntry>,
    /// Keys without a value, as far as a message could still come that is older than what took it away.
    pub removed: Vec<StateRemoval>,
    /// The key after which there is more, if there is; empty is from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Members of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemberList {
    /// The version of what is published of them; 0 is nothing.
    pub rev: u64,
    /// How many there are.
    pub count: u64,
    /// Some of them, sorted by subject; `None` in a room of which only their number is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
    /// The subject after which the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A room's members, for somebody who has just joined them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinedPresence {
    /// The subject that has joined: which of the members it is.
    pub id: String,
    /// The members.
    #[serde(flatten)]
    pub list: MemberList,
}

/// Part of a room's state in a `joined` reply, which has fields of its own.
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
    /// The key.
    pub key: String,
    /// The message's number.
    pub seq: u64,
    /// Its version, if it has one above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The sender.
    pub from: String,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// For how long the value lasts from then on, in seconds, if not for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// What it says.
    pub data: Box<RawValue>,
}

/// A key whose value was taken away, or has expired.
#[derive(Debug, Serialize)]
pub struct StateRemoval {
    /// The key.
    pub key: String,
    /// The number of the message that it was taken away with, or whose value has expired.
    pub seq: u64,
    /// That message's version, if it has one above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// Where a room's presence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PresenceStanding {
    /// The version of what is published; 0 is nothing.
    pub rev: u64,
    /// How many members there are.
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

/// Why a request was refused, beyond its kind of error.
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
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{message::Message, presence::MemberData};

    fn value(reply: Reply, request_id: Option<&str>) -> Value {
        let frame = ServerFrame { reply, request_id: request_id.map(str::to_owned) };
        serde_json::from_str(&frame.to_json()).unwrap()
    }

    #[test]
    fn replies_are_what_the_protocol_says() {
        let room_id = RoomId::parse("r").unwrap();
        let message = Message {
            room: room_id.clone(),
            id: "i".into(),
            from: "a".into(),
            sent_at: 1,
            data: RawValue::from_string("[1]".into()).unwrap(),
            key: None,
            version: None,
            remove: false,
            ttl_seconds: None,
        };
        let logged = LoggedMessage { seq: 8, message };
        let catch_up = || CatchUp { seq: 9, messages: vec![logged.clone()], more: true, truncated: false };
        let entry = json!({"seq": 8, "id": "i", "from": "a", "sentAt": 1, "data": [1]});
        assert_eq!(
            value(
                Reply::Joined {
                    room_id: room_id.clone(),
                    catch_up: catch_up(),
                    retention_seconds: 60,
                    expires_in_ms: 9,
                    sync_after_ms: 30_000,
                    sync_within_ms: None,
                    now: None,
                    state: None,
                    presence: None,
                },
                Some("q")
            ),
            json!({
                "type": "joined", "requestId": "q", "roomId": "r", "seq": 9, "messages": [entry], "more": true,
                "truncated": false, "retentionSeconds": 60, "syncAfterMs": 30_000, "expiresInMs": 9,
            })
        );
        assert_eq!(
            value(
                Reply::Synced {
                    rooms: BTreeMap::from([(room_id.clone(), catch_up())]),
                    forbidden: vec![RoomId::parse("f").unwrap()],
                    renewed: vec![room_id.clone()],
                    sync_after_ms: 5,
                    presence: None,
                    now: None,
                },
                None
            ),
            json!({
                "type": "synced", "rooms": {"r": {"seq": 9, "messages": [entry], "more": true, "truncated": false}},
                "forbidden": ["f"], "renewed": ["r"], "syncAfterMs": 5,
            })
        );
        assert_eq!(
            value(Reply::History { room_id: room_id.clone(), messages: vec![logged], more: false }, None),
            json!({"type": "history", "roomId": "r", "messages": [entry], "more": false})
        );
        assert_eq!(value(Reply::Left { room_id: room_id.clone() }, None), json!({"type": "left", "roomId": "r"}));
        assert_eq!(
            value(Reply::Accepted { room_id, id: "i".into() }, None),
            json!({"type": "accepted", "roomId": "r", "id": "i"})
        );
        assert_eq!(
            value(
                Reply::Error {
                    code: ErrorCode::TooLarge,
                    message: "m".into(),
                    id: None,
                    reason: None,
                    retry_after_ms: None
                },
                None
            ),
            json!({"type": "error", "code": "too_large", "message": "m"})
        );
        let error = Reply::Error {
            code: ErrorCode::RateLimited,
            message: "m".into(),
            id: Some("i".into()),
            reason: Some(ErrorReason::TokenExpired),
            retry_after_ms: Some(7),
        };
        assert_eq!(
            value(error, None),
            json!({
                "type": "error", "code": "rate_limited", "message": "m", "id": "i", "reason": "token_expired", "retryAfterMs": 7,
            })
        );
    }

    #[test]
    fn state_is_what_the_protocol_says() {
        let room_id = RoomId::parse("r").unwrap();
        let data = || RawValue::from_string("{}".into()).unwrap();
        let page = || StatePage {
            entries: vec![
                StateEntry {
                    key: "a".into(),
                    seq: 9,
                    version: Some(7),
                    from: "eu".into(),
                    sent_at: 1,
                    ttl_seconds: Some(30),
                    data: data(),
                },
                StateEntry {
                    key: "b".into(),
                    seq: 2,
                    version: None,
                    from: "eu".into(),
                    sent_at: 1,
                    ttl_seconds: None,
                    data: data(),
                },
            ],
            removed: vec![StateRemoval { key: "c".into(), seq: 8, version: Some(3) }],
            next: Some("c".into()),
        };
        let entries = json!([
            {"key": "a", "seq": 9, "version": 7, "from": "eu", "sentAt": 1, "ttlSeconds": 30, "data": {}},
            {"key": "b", "seq": 2, "from": "eu", "sentAt": 1, "data": {}},
        ]);
        let removed = json!([{"key": "c", "seq": 8, "version": 3}]);
        assert_eq!(
            value(Reply::State { room_id: room_id.clone(), seq: 44, page: page() }, Some("q")),
            json!({
                "type": "state", "requestId": "q", "roomId": "r", "seq": 44, "entries": entries, "removed": removed, "next": "c",
            })
        );
        let joined = Reply::Joined {
            room_id: room_id.clone(),
            catch_up: CatchUp { seq: 9, ..CatchUp::default() },
            retention_seconds: 60,
            expires_in_ms: 9,
            sync_after_ms: 30_000,
            sync_within_ms: None,
            now: Some(5),
            presence: None,
            state: Some(page().into()),
        };
        assert_eq!(
            value(joined, None),
            json!({
                "type": "joined", "roomId": "r", "seq": 9, "messages": [], "more": false, "truncated": false, "retentionSeconds": 60,
                "syncAfterMs": 30_000, "expiresInMs": 9, "now": 5, "state": entries, "stateRemoved": removed, "stateNext": "c",
            })
        );
    }

    #[test]
    fn members_are_told_with_what_they_are_a_version_of() {
        let room_id = RoomId::parse("r").unwrap();
        let members = |next: Option<&str>| MemberList {
            rev: 12,
            count: 2,
            members: next.map(|next| vec![Member { id: next.to_owned(), data: MemberData::parse("[1]") }]),
            next: next.map(str::to_owned),
        };
        assert_eq!(
            value(Reply::Members { room_id: room_id.clone(), listed: true, list: members(Some("ann")) }, None),
            json!({
                "type": "members", "roomId": "r", "listed": true, "rev": 12, "count": 2, "members": [{"id": "ann", "data": [1]}],
                "next": "ann",
            })
        );
        assert_eq!(
            value(Reply::Members { room_id: room_id.clone(), listed: false, list: members(None) }, None),
            json!({"type": "members", "roomId": "r", "listed": false, "rev": 12, "count": 2})
        );
        let synced = Reply::Synced {
            rooms: BTreeMap::new(),
            forbidden: Vec::new(),
            renewed: Vec::new(),
            sync_after_ms: 5,
            presence: Some(BTreeMap::from([(room_id.clone(), PresenceStanding { rev: 12, count: 2 })])),
            now: Some(7),
        };
        assert_eq!(
            value(synced, None),
            json!({
                "type": "synced", "rooms": {}, "renewed": [], "syncAfterMs": 5, "presence": {"r": {"rev": 12, "count": 2}},
                "now": 7,
            })
        );
        let joined = Reply::Joined {
            room_id,
            catch_up: CatchUp::default(),
            retention_seconds: 60,
            sync_after_ms: 5,
            sync_within_ms: Some(3),
            expires_in_ms: 9,
            now: Some(7),
            state: None,
            presence: Some(JoinedPresence { id: "ann".to_owned(), list: members(None) }),
        };
        let told = value(joined, None);
        assert_eq!(
            (&told["presence"], &told["now"], &told["syncWithinMs"]),
            (&json!({"id": "ann", "rev": 12, "count": 2}), &json!(7), &json!(3))
        );
    }
}

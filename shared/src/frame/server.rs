//! Frames that the server sends in reply to a client's own frame. Broadcasts are in [`super::broadcast`].

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::{message::LoggedMessage, room::RoomId};

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
        /// When the connection's token expires, in milliseconds from now on: a connection with a new one should be open by then.
        expires_in_ms: u64,
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
    use serde_json::{Value, json, value::RawValue};

    use super::*;
    use crate::message::Message;

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
                    sync_after_ms: 30_000
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
                    sync_after_ms: 5
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
}

//! Frames that the server sends in reply to a client's own frame. Broadcasts are in [`super::broadcast`].

use std::collections::BTreeMap;

use serde::Serialize;

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
        missed: Missed,
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
        /// By room.
        rooms: BTreeMap<RoomId, Missed>,
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
    /// The request was refused; the connection stays open.
    Error {
        /// What kind of error.
        code: ErrorCode,
        /// What to do about it.
        message: String,
    },
}

/// Where a room's log stands, and what a client has missed of it.
#[derive(Debug, Default, Serialize)]
pub struct Missed {
    /// The head of the log; 0 when it is empty.
    pub seq: u64,
    /// What was missed, ascending.
    pub messages: Vec<LoggedMessage>,
    /// Whether there is more than fitted the reply.
    pub more: bool,
    /// Whether retention has dropped some of what was asked for.
    pub truncated: bool,
}

/// The kinds of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
        };
        let logged = LoggedMessage { seq: 8, message };
        let missed = || Missed { seq: 9, messages: vec![logged.clone()], more: true, truncated: false };
        let entry = json!({"seq": 8, "id": "i", "from": "a", "sentAt": 1, "data": [1]});
        assert_eq!(
            value(Reply::Joined { room_id: room_id.clone(), missed: missed() }, Some("q")),
            json!({"type": "joined", "requestId": "q", "roomId": "r", "seq": 9, "messages": [entry], "more": true, "truncated": false})
        );
        assert_eq!(
            value(Reply::Synced { rooms: BTreeMap::from([(room_id.clone(), missed())]) }, None),
            json!({"type": "synced", "rooms": {"r": {"seq": 9, "messages": [entry], "more": true, "truncated": false}}})
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
            value(Reply::Error { code: ErrorCode::TooLarge, message: "m".into() }, None),
            json!({"type": "error", "code": "too_large", "message": "m"})
        );
    }
}

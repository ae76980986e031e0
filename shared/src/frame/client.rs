//! Frames that clients send.

use crate::{
    fields::{FieldError, Fields},
    limits::{HISTORY_DEFAULT, HISTORY_MESSAGES, MAX_INTEGER, SYNC_ROOMS},
    room::RoomId,
};

/// A client's request, with the id under which it wants the reply.
#[derive(Debug)]
pub struct ClientFrame<'a> {
    /// Echoed in the reply.
    pub request_id: Option<String>,
    /// What it wants.
    pub request: Request<'a>,
}

/// What a client may want.
#[derive(Debug)]
pub enum Request<'a> {
    /// Receive a room's broadcasts, and what was missed after a seq.
    JoinRoom {
        /// The room.
        room: RoomId,
        /// The last seq that the client has.
        after: Option<u64>,
    },
    /// Receive a room's broadcasts no more.
    LeaveRoom {
        /// The room.
        room: RoomId,
    },
    /// Send a message. Its fields become a message when it is known who sent it.
    SendMessage {
        /// The whole frame.
        fields: Fields<'a>,
    },
    /// Heartbeat, keep-alive and gap fill in one.
    Sync {
        /// Each room with the last seq that the client has.
        rooms: Vec<(RoomId, u64)>,
    },
    /// Read a page of a room's log, newest first.
    GetHistory {
        /// The room.
        room: RoomId,
        /// Only messages with a smaller seq.
        before: Option<u64>,
        /// Messages at most.
        limit: u32,
    },
}

/// Why a frame was refused.
#[derive(Debug)]
pub struct Refusal {
    /// Echoed in the error, where the frame was readable enough to have one.
    pub request_id: Option<String>,
    /// The reason.
    pub reason: RefusalReason,
}

/// Why a frame was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// No such action.
    #[error("unknown action {0:?}; there are joinRoom, leaveRoom, sendMessage, sync and getHistory")]
    UnknownAction(String),
    /// The action is another route's: API Gateway has read another one in the frame.
    #[error("the frame must have one `action`, at its top level")]
    AmbiguousAction,
    /// A field is missing or wrong, or the frame is no JSON object.
    #[error(transparent)]
    Field(#[from] FieldError),
}

impl<'a> ClientFrame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no JSON object, its action is unknown or a field is missing or wrong.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        let fields = Fields::parse(text).map_err(|error| Refusal { request_id: None, reason: error.into() })?;
        let request_id =
            fields.name("requestId").map_err(|error| Refusal { request_id: None, reason: error.into() })?;
        match Request::read(fields) {
            Ok(request) => Ok(Self { request_id, request }),
            Err(reason) => Err(Refusal { request_id, reason }),
        }
    }
}

impl<'a> Request<'a> {
    fn read(fields: Fields<'a>) -> Result<Self, RefusalReason> {
        let action = fields.text("action")?.ok_or(FieldError::Missing("action"))?;
        Ok(match action.as_str() {
            "joinRoom" => Self::JoinRoom { room: fields.room()?, after: fields.counter("after")? },
            "leaveRoom" => Self::LeaveRoom { room: fields.room()? },
            "sendMessage" => Self::SendMessage { fields },
            "sync" => Self::Sync { rooms: read_sync_rooms(&fields)? },
            "getHistory" => Self::GetHistory {
                room: fields.room()?,
                before: fields.integer("before", 1, MAX_INTEGER)?,
                limit: read_history_limit(&fields)?,
            },
            _ => {
                return Err(RefusalReason::UnknownAction(action.chars().take(64).collect()));
            }
        })
    }
}

fn read_sync_rooms(fields: &Fields<'_>) -> Result<Vec<(RoomId, u64)>, FieldError> {
    let rooms = fields.counters("rooms")?;
    if rooms.len() > SYNC_ROOMS {
        let problem = format!("must have at most {SYNC_ROOMS} rooms, has {}", rooms.len());
        return Err(FieldError::Invalid("rooms", problem));
    }
    rooms
        .into_iter()
        .map(|(room, seq)| match RoomId::parse(&room) {
            Ok(room) => Ok((room, seq)),
            Err(error) => Err(FieldError::Invalid("rooms", format!("has a room id that {error}"))),
        })
        .collect()
}

fn read_history_limit(fields: &Fields<'_>) -> Result<u32, FieldError> {
    let limit = fields.integer("limit", 1, HISTORY_MESSAGES.into())?;
    Ok(limit.and_then(|limit| limit.try_into().ok()).unwrap_or(HISTORY_DEFAULT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(text: &str) -> String {
        ClientFrame::parse(text).unwrap_err().reason.to_string()
    }

    #[test]
    fn reads_every_action() {
        let of = |text| ClientFrame::parse(text).unwrap();
        let join = of(r#"{"action":"joinRoom","roomId":"r","after":5,"requestId":"q"}"#);
        assert_eq!(join.request_id.as_deref(), Some("q"));
        assert!(matches!(join.request, Request::JoinRoom { after: Some(5), .. }));
        assert!(matches!(of(r#"{"action":"leaveRoom","roomId":"r"}"#).request, Request::LeaveRoom { .. }));
        assert!(matches!(of(r#"{"action":"sendMessage"}"#).request, Request::SendMessage { .. }));
        assert!(matches!(of(r#"{"action":"sync","rooms":{}}"#).request, Request::Sync { rooms } if rooms.is_empty()));
        let history = of(r#"{"action":"getHistory","roomId":"r","before":9}"#).request;
        assert!(matches!(history, Request::GetHistory { before: Some(9), limit: 50, .. }));
    }

    #[test]
    fn refusals_say_what_is_wrong_and_keep_the_request_id() {
        let unknown = ClientFrame::parse(r#"{"action":"$connect","requestId":"q"}"#).unwrap_err();
        assert_eq!(unknown.request_id.as_deref(), Some("q"));
        assert_eq!(unknown.reason, RefusalReason::UnknownAction("$connect".into()));
        assert_eq!(reason("{}"), "`action` is missing");
        assert_eq!(reason(r#"{"action":5}"#), "`action` must be a string");
        assert_eq!(reason(r#"{"action":"joinRoom","roomId":""}"#), "`roomId` must have 1 to 100 characters, has 0");
        assert_eq!(
            reason(r#"{"action":"getHistory","roomId":"r","limit":101}"#),
            "`limit` must be an integer from 1 to 100"
        );
        let rooms: Vec<_> = (0..51).map(|n| format!("\"r{n}\":0")).collect();
        let text = format!(r#"{{"action":"sync","rooms":{{{}}}}}"#, rooms.join(","));
        assert_eq!(reason(&text), "`rooms` must have at most 50 rooms, has 51");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = ClientFrame::parse(&text);
        }

        #[test]
        fn no_json_makes_it_panic(action in "joinRoom|leaveRoom|sync|getHistory|x", value in "-?[0-9]{1,20}|\"[a-z/ ]{0,9}\"|null|\\{\\}|\\[1\\]") {
            let _ = ClientFrame::parse(&format!(
                r#"{{"action":"{action}","roomId":{value},"after":{value},"before":{value},"limit":{value},"rooms":{value},"requestId":{value}}}"#
            ));
        }
    }
}

//! Frames that clients send.

mod members;

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;
use shared::{
    RoomId,
    json::{self, Counter, FieldError, Name, Text, required},
    limits::{HISTORY_DEFAULT, HISTORY_MESSAGES, MAX_INTEGER, NAME_CHARS, STATE_ENTRIES, SYNC_ROOMS},
    message::draft::Draft,
    text::cut,
};

pub use members::{GetMembers, SubjectAfter};

/// Bytes of an unknown action that are repeated.
const ACTION_BYTES: usize = 32;

/// A client's frame, decoded: its request, with the id under which it wants the reply.
#[derive(Debug)]
pub struct Inbound<'a> {
    /// The client's id for the request, echoed in the reply.
    pub request_id: Option<String>,
    /// The request itself.
    pub request: Request<'a>,
}

/// A client's request.
#[derive(Debug)]
pub enum Request<'a> {
    /// Receive a room's broadcasts, and what was missed after a seq.
    JoinRoom(JoinRoom<'a>),
    /// Receive a room's broadcasts no more.
    LeaveRoom(LeaveRoom),
    /// Send a message to a room.
    SendMessage(Draft<'a>),
    /// Heartbeat, keep-alive and gap fill in one.
    Sync(Sync),
    /// Read a page of a room's log, newest first.
    GetHistory(GetHistory),
    /// Read a page of a room's state.
    GetState(GetState),
    /// Read a page of a room's members, sorted by subject.
    GetMembers(GetMembers),
}

/// The fields of `joinRoom`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRoom<'a> {
    /// The room to join.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
    /// The last seq that the client has.
    pub after: Option<Counter>,
    /// Whether it wants the room's state, too.
    pub state: Option<bool>,
    /// Whether it is to be listed among the members, and wants the list, too.
    pub presence: Option<bool>,
    /// Its data for the other members; checked, and passed on as it stands.
    #[serde(borrow)]
    pub presence_data: Option<&'a RawValue>,
}

/// The fields of `leaveRoom`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaveRoom {
    /// The room to leave.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
}

/// The fields of `sync`.
#[derive(Debug, Deserialize)]
pub struct Sync {
    /// Each room with the last seq that the client has.
    #[serde(deserialize_with = "required")]
    pub rooms: Positions,
    /// Rooms with the `rev` of their members that the client has.
    pub presence: Option<Positions>,
}

/// The fields of `getHistory`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetHistory {
    /// The room whose log is read.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
    /// Only messages with a smaller seq.
    pub before: Option<Before>,
    /// The most messages on the page.
    pub limit: Option<PageLimit<HISTORY_MESSAGES>>,
}

impl GetHistory {
    /// Messages at most; the default if the request names no limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.map_or(HISTORY_DEFAULT, |PageLimit(limit)| limit)
    }
}

/// The fields of `getState`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetState {
    /// The room whose state is read.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
    /// The last key that the client has; without, or empty, from the beginning.
    pub after: Option<AfterKey>,
    /// The `seq` that came with the first page.
    pub seq: Option<Counter>,
    /// The most entries on the page.
    pub limit: Option<PageLimit<STATE_ENTRIES>>,
}

impl GetState {
    /// Entries at most; the default if the request names no limit.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.map_or(STATE_ENTRIES, |PageLimit(limit)| limit)
    }
}

/// The key after which a page of state begins; an empty one is before all.
#[derive(Clone, Debug)]
pub struct AfterKey(pub String);

/// The most messages, entries or members on a page: from 1 to `MOST`.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit<const MOST: u32>(pub u32);

impl<'de> Deserialize<'de> for AfterKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(key) = Text::deserialize(deserializer)?;
        if key.chars().count() > NAME_CHARS {
            return Err(D::Error::custom(format!("must have at most {NAME_CHARS} characters")));
        }
        Ok(Self(key))
    }
}

impl<'de, const MOST: u32> Deserialize<'de> for PageLimit<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = json::integer(deserializer, 1..=MOST.into())?;
        Ok(Self(u32::try_from(limit).unwrap_or(MOST)))
    }
}

/// Rooms with a number each, at most [`SYNC_ROOMS`].
#[derive(Debug)]
pub struct Positions(pub BTreeMap<RoomId, u64>);

/// The seq before which a page of history ends.
#[derive(Clone, Copy, Debug)]
pub struct Before(pub u64);

impl<'de> Deserialize<'de> for Before {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::integer(deserializer, 1..=MAX_INTEGER).map(Self)
    }
}

impl<'de> Deserialize<'de> for Positions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PositionsVisitor)
    }
}

struct PositionsVisitor;

impl<'de> Visitor<'de> for PositionsVisitor {
    type Value = Positions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of integers from 0 to {MAX_INTEGER}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Positions, A::Error> {
        let (mut positions, mut count) = (BTreeMap::new(), 0);
        while let Some(room) = map.next_key::<String>()? {
            let room = RoomId::parse(&room).map_err(|error| A::Error::custom(format!("has a room id that {error}")))?;
            let Ok(Counter(seq)) = map.next_value() else {
                return Err(A::Error::custom(format!("must be an object of integers from 0 to {MAX_INTEGER}")));
            };
            count += 1;
            // Rooms beyond the limit are counted and not kept.
            if count <= SYNC_ROOMS && positions.insert(room.clone(), seq).is_some() {
                return Err(A::Error::custom(format!("has the room {room} twice")));
            }
        }
        if count > SYNC_ROOMS {
            return Err(A::Error::custom(format!("must have at most {SYNC_ROOMS} rooms, has {count}")));
        }
        Ok(Positions(positions))
    }
}

/// The refusal of a frame.
#[derive(Debug)]
pub struct Refusal {
    /// Echoed in the error, where the frame was readable enough to have one.
    pub request_id: Option<String>,
    /// The `id` of the message that is not sent, where it could be read: a sender waits for an answer to it.
    pub message_id: Option<String>,
    /// The fault of the frame.
    pub reason: RefusalReason,
}

/// A fault of a frame.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// There is no such action.
    #[error(
        "unknown action {0:?}; there are joinRoom, leaveRoom, sendMessage, sync, getHistory, getState and getMembers"
    )]
    UnknownAction(String),
    /// The frame came by the route of another action: API Gateway has read another one in it.
    #[error("the frame must have one `action`, at its top level")]
    AmbiguousAction,
    /// A field is missing or wrong, or the frame is no JSON object.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No state is kept of the room.
    #[error("`roomId` {0}: no state is kept of the room")]
    NoState(RoomId),
}

/// The fields that every frame has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    request_id: Option<Name>,
}

/// The fields of a `sendMessage` that can be read although others may be wrong.
#[derive(Deserialize)]
struct Sent {
    action: Text,
    id: Name,
}

impl Sent {
    fn id(text: &str) -> Option<String> {
        let Self { action: Text(action), id: Name(id) } = json::read(text).ok()?;
        (action == "sendMessage").then_some(id)
    }
}

#[derive(Deserialize)]
struct Action {
    #[serde(deserialize_with = "required")]
    action: Text,
}

impl<'a> Inbound<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// When it is no JSON object, its action is unknown or a field is missing, wrong or there twice.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        // The envelope first, so that an error about the rest has the request's id.
        let refused = |request_id, reason| Refusal { request_id, message_id: Sent::id(text), reason };
        let Envelope { request_id } = json::read(text).map_err(|error| refused(None, FieldError::into(error)))?;
        let request_id = request_id.map(|Name(id)| id);
        match Request::read(text) {
            Ok(request) => Ok(Self { request_id, request }),
            Err(reason) => Err(refused(request_id, reason)),
        }
    }
}

impl<'a> Request<'a> {
    /// The `id` that a message was sent with.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        match self {
            Self::SendMessage(Draft { id: Some(Name(id)), .. }) => Some(id),
            _ => None,
        }
    }

    fn read(text: &'a str) -> Result<Self, RefusalReason> {
        let Action { action: Text(action) } = json::read(text)?;
        Ok(match action.as_str() {
            "joinRoom" => Self::JoinRoom(json::read(text)?),
            "leaveRoom" => Self::LeaveRoom(json::read(text)?),
            "sendMessage" => Self::SendMessage(json::read(text)?),
            "sync" => Self::Sync(json::read(text)?),
            "getHistory" => Self::GetHistory(json::read(text)?),
            "getState" => Self::GetState(json::read(text)?),
            "getMembers" => Self::GetMembers(json::read(text)?),
            _ => return Err(RefusalReason::UnknownAction(cut(&action, ACTION_BYTES))),
        })
    }
}

#[cfg(test)]
mod tests;

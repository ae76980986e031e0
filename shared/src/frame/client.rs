//! Frames that clients send.

mod members;

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use serde_json::value::RawValue;

use crate::{
    draft::Draft,
    json::{self, Counter, FieldError, Name, Text, required},
    limits::{HISTORY_DEFAULT, HISTORY_MESSAGES, MAX_INTEGER, NAME_CHARS, STATE_ENTRIES, SYNC_ROOMS},
    room::RoomId,
    text::cut,
};

pub use members::{GetMembers, Listing, MembersLimit, SubjectAfter};

/// Bytes of an unknown action that are repeated.
const ACTION_BYTES: usize = 32;

/// A client's frame, decoded: its request, with the id under which it wants the reply.
#[derive(Debug)]
pub struct Inbound<'a> {
    /// Echoed in the reply.
    pub request_id: Option<String>,
    /// What it wants.
    pub request: Request<'a>,
}

/// What a client may want.
#[derive(Debug)]
pub enum Request<'a> {
    /// Receive a room's broadcasts, and what was missed after a seq.
    JoinRoom(JoinRoom<'a>),
    /// Receive a room's broadcasts no more.
    LeaveRoom(LeaveRoom),
    /// Send a message.
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

/// `joinRoom`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JoinRoom<'a> {
    /// The room.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
    /// The last seq that the client has.
    pub after: Option<Counter>,
    /// Whether it wants the room's state, too.
    pub state: Option<bool>,
    /// Whether it is to be listed among the members, and wants the list, too.
    pub presence: Option<bool>,
    /// What the other members are told of it; checked, and passed on as it stands.
    #[serde(borrow)]
    pub presence_data: Option<&'a RawValue>,
}

/// `leaveRoom`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaveRoom {
    /// The room.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
}

/// `sync`.
#[derive(Debug, Deserialize)]
pub struct Sync {
    /// Each room with the last seq that the client has.
    #[serde(deserialize_with = "required")]
    pub rooms: Positions,
    /// Rooms with the `rev` of their members that the client has.
    pub presence: Option<Positions>,
}

/// `getHistory`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetHistory {
    /// The room.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
    /// Only messages with a smaller seq.
    pub before: Option<Before>,
    /// Messages at most.
    pub limit: Option<HistoryLimit>,
}

impl GetHistory {
    /// Messages at most, in any case.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.map_or(HISTORY_DEFAULT, |HistoryLimit(limit)| limit)
    }
}

/// `getState`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetState {
    /// The room.
    #[serde(deserialize_with = "required")]
    pub room_id: RoomId,
    /// The last key that the client has; without, or empty, from the beginning.
    pub after: Option<AfterKey>,
    /// The `seq` that came with the first page.
    pub seq: Option<Counter>,
    /// Entries at most.
    pub limit: Option<StateLimit>,
}

impl GetState {
    /// Entries at most, in any case.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit.map_or(STATE_ENTRIES, |StateLimit(limit)| limit)
    }
}

/// The key after which a page of state begins; an empty one is before all.
#[derive(Clone, Debug)]
pub struct AfterKey(pub String);

/// Entries that a page of state may have.
#[derive(Clone, Copy, Debug)]
pub struct StateLimit(pub u32);

impl<'de> Deserialize<'de> for AfterKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(key) = Text::deserialize(deserializer)?;
        if key.chars().count() > NAME_CHARS {
            return Err(D::Error::custom(format!("must have at most {NAME_CHARS} characters")));
        }
        Ok(Self(key))
    }
}

impl<'de> Deserialize<'de> for StateLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = json::integer(deserializer, 1..=STATE_ENTRIES.into())?;
        Ok(Self(u32::try_from(limit).unwrap_or(STATE_ENTRIES)))
    }
}

/// Rooms with a number each, at most [`SYNC_ROOMS`].
#[derive(Debug)]
pub struct Positions(pub BTreeMap<RoomId, u64>);

/// The seq before which a page of history ends.
#[derive(Clone, Copy, Debug)]
pub struct Before(pub u64);

/// Messages that a page of history may have.
#[derive(Clone, Copy, Debug)]
pub struct HistoryLimit(pub u32);

impl<'de> Deserialize<'de> for Before {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::integer(deserializer, 1..=MAX_INTEGER).map(Self)
    }
}

impl<'de> Deserialize<'de> for HistoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = json::integer(deserializer, 1..=HISTORY_MESSAGES.into())?;
        Ok(Self(u32::try_from(limit).unwrap_or(HISTORY_MESSAGES)))
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
            // Those beyond the limit are counted and not kept.
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

/// Why a frame was refused.
#[derive(Debug)]
pub struct Refusal {
    /// Echoed in the error, where the frame was readable enough to have one.
    pub request_id: Option<String>,
    /// The `id` of the message that is not sent, where it could be read: a sender waits for an answer to it.
    pub message_id: Option<String>,
    /// The reason.
    pub reason: RefusalReason,
}

/// Why a frame was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// No such action.
    #[error(
        "unknown action {0:?}; there are joinRoom, leaveRoom, sendMessage, sync, getHistory, getState and getMembers"
    )]
    UnknownAction(String),
    /// The action is another route's: API Gateway has read another one in the frame.
    #[error("the frame must have one `action`, at its top level")]
    AmbiguousAction,
    /// A field is missing or wrong, or the frame is no JSON object.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No state is kept of the room.
    #[error("`roomId` {0}: no state is kept of the room")]
    NoState(RoomId),
}

/// What every frame has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    request_id: Option<Name>,
}

/// What can be read of a `sendMessage` whose other fields may be wrong.
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
        // One after the other, so that an error about what follows has the request's id.
        let Envelope { request_id } =
            json::read(text).map_err(|error| Refusal { request_id: None, message_id: None, reason: error.into() })?;
        let request_id = request_id.map(|Name(id)| id);
        match Request::read(text) {
            Ok(request) => Ok(Self { request_id, request }),
            Err(reason) => Err(Refusal { request_id, message_id: Sent::id(text), reason }),
        }
    }
}

impl<'a> Request<'a> {
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(text: &str) -> String {
        Inbound::parse(text).unwrap_err().reason.to_string()
    }

    #[test]
    fn reads_every_action() {
        let of = |text| Inbound::parse(text).unwrap();
        let join = of(r#"{"action":"joinRoom","roomId":"r","after":5,"requestId":"q"}"#);
        assert_eq!(join.request_id.as_deref(), Some("q"));
        assert!(matches!(join.request, Request::JoinRoom(JoinRoom { after: Some(Counter(5)), .. })));
        assert!(matches!(of(r#"{"action":"leaveRoom","roomId":"r"}"#).request, Request::LeaveRoom(_)));
        let send = of(r#"{"action":"sendMessage","roomId":"r","data":{"action":"sync"},"id":"i"}"#).request;
        assert!(matches!(send, Request::SendMessage(Draft { id: Some(Name(id)), .. }) if id == "i"));
        let Request::Sync(Sync { rooms: Positions(rooms), presence: None }) =
            of(r#"{"action":"sync","rooms":{"b":2,"a":1}}"#).request
        else {
            panic!()
        };
        assert_eq!(rooms.iter().map(|(room, seq)| (room.as_str(), *seq)).collect::<Vec<_>>(), [("a", 1), ("b", 2)]);
        let Request::GetHistory(history) = of(r#"{"action":"getHistory","roomId":"r","before":9}"#).request else {
            panic!()
        };
        assert!(matches!((history.before, history.limit()), (Some(Before(9)), 50)));
        let Request::GetState(state) = of(r#"{"action":"getState","roomId":"r","after":"a","seq":9}"#).request else {
            panic!()
        };
        assert!(
            matches!((&state.after, state.seq, state.limit()), (Some(AfterKey(key)), Some(Counter(9)), 1_000) if key == "a")
        );
        let Request::GetMembers(members) = of(r#"{"action":"getMembers","roomId":"r","after":"ann"}"#).request else {
            panic!()
        };
        assert!(matches!((&members.after, members.limit()), (Some(SubjectAfter(after)), 100) if after == "ann"));
    }

    #[test]
    fn a_page_of_state_is_within_its_limits() {
        let told = |fields: &str| reason(&format!(r#"{{"action":"getState","roomId":"r",{fields}}}"#));
        assert_eq!(told(r#""limit":1001"#), "`limit` must be an integer from 1 to 1000");
        assert_eq!(told(&format!(r#""after":"{}""#, "x".repeat(65))), "`after` must have at most 64 characters");
        assert_eq!(told(r#""seq":-1"#), "`seq` must be an integer from 0 to 9007199254740991");
        assert!(Inbound::parse(r#"{"action":"getState","roomId":"r","after":""}"#).is_ok());
    }

    #[test]
    fn refusals_say_what_is_wrong_and_keep_the_request_id() {
        let unknown = Inbound::parse(r#"{"action":"$connect","requestId":"q"}"#).unwrap_err();
        assert_eq!(unknown.request_id.as_deref(), Some("q"));
        assert_eq!(unknown.reason, RefusalReason::UnknownAction("$connect".into()));
        assert_eq!(reason("{}"), "`action` is missing");
        assert_eq!(reason(r#"{"action":5}"#), "`action` must be a string");
        assert_eq!(reason(r#"{"action":"joinRoom","roomId":""}"#), "`roomId` must have 1 to 100 characters, has 0");
        assert_eq!(
            reason(r#"{"action":"getHistory","roomId":"r","limit":101}"#),
            "`limit` must be an integer from 1 to 100"
        );
        assert_eq!(
            reason(r#"{"action":"getMembers","roomId":"r","limit":501}"#),
            "`limit` must be an integer from 1 to 500"
        );
        let after = |bytes: usize| format!(r#"{{"action":"getMembers","roomId":"r","after":"{}"}}"#, "x".repeat(bytes));
        assert_eq!(reason(&after(257)), "`after` must have at most 256 bytes");
        assert!(Inbound::parse(&after(256)).is_ok() && Inbound::parse(&after(0)).is_ok());
        let rooms: Vec<_> = (0..51).map(|n| format!("\"r{n}\":0")).collect();
        let text = format!(r#"{{"action":"sync","rooms":{{{}}}}}"#, rooms.join(","));
        assert_eq!(reason(&text), "`rooms` must have at most 50 rooms, has 51");
        let text = format!(r#"{{"action":"sync","rooms":{{}},"presence":{{{}}}}}"#, rooms.join(","));
        assert_eq!(reason(&text), "`presence` must have at most 50 rooms, has 51");
        for (rooms, told) in [
            (r#"{"a":1,"a":2}"#, "`rooms` has the room a twice"),
            (r#"{"a b":1}"#, "`rooms` has a room id that may only have the characters A-Z a-z 0-9 _ - . : (has ' ')"),
            (r#"{"a":"1"}"#, "`rooms` must be an object of integers from 0 to 9007199254740991"),
            ("null", "`rooms` is missing"),
            ("[1]", "`rooms` must be an object of integers from 0 to 9007199254740991"),
            ("7", "`rooms` must be an object of integers from 0 to 9007199254740991"),
        ] {
            assert_eq!(reason(&format!(r#"{{"action":"sync","rooms":{rooms}}}"#)), told);
        }
    }

    #[test]
    fn a_refused_message_is_named_by_its_id() {
        let id = |text: &str| Inbound::parse(text).unwrap_err().message_id;
        assert_eq!(id(r#"{"action":"sendMessage","roomId":"r","data":1,"id":"i","version":-1}"#).as_deref(), Some("i"));
        assert_eq!(id(r#"{"action":"sendMessage","data":1,"id":"i"}"#).as_deref(), Some("i"));
        assert_eq!(id(r#"{"action":"sendMessage","roomId":"r","data":1,"id":7}"#), None);
        assert_eq!(id(r#"{"action":"joinRoom","roomId":"","id":"i"}"#), None);
    }

    #[test]
    fn an_unknown_action_is_not_repeated_at_length() {
        for character in ["x", "\u{1f600}", "\\u0001", "\u{202e}"] {
            let told = reason(&format!(r#"{{"action":"{}"}}"#, character.repeat(1_000)));
            assert!(told.len() <= 300 && told.contains('\u{2026}') && !told.contains('\u{202e}'), "{told}");
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused_and_the_request_id_kept() {
        assert_eq!(reason(r#"{"action":"leaveRoom","roomId":"a","roomId":"b"}"#), "duplicate field `roomId`");
        let twice = Inbound::parse(r#"{"action":"sync","requestId":"q","action":"joinRoom"}"#).unwrap_err();
        assert_eq!(
            (twice.request_id.as_deref(), twice.reason.to_string().as_str()),
            (Some("q"), "duplicate field `action`")
        );
        let twice = Inbound::parse(r#"{"action":"sync","requestId":"q","requestId":"q"}"#).unwrap_err();
        assert_eq!(twice.request_id, None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = Inbound::parse(&text);
        }

        #[test]
        fn no_json_makes_it_panic(action in "joinRoom|leaveRoom|sync|getHistory|getMembers|x", value in "-?[0-9]{1,20}|\"[a-z/ ]{0,9}\"|null|\\{\\}|\\[1\\]") {
            let _ = Inbound::parse(&format!(
                r#"{{"action":"{action}","roomId":{value},"after":{value},"before":{value},"limit":{value},"rooms":{value},"presence":{value},"presenceData":{value},"requestId":{value}}}"#
            ));
        }
    }
}

//! Presence: who is in a room, as it is published. The list of a room at one `rev`, changed by the facts of the frames
//! after it, is the list at any later `rev`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::{
    data,
    json::{self, Counter, FieldError, required},
    limits::PRESENCE_DATA_BYTES,
    queue::Record,
    room::RoomId,
    text::escape_noncharacters,
    trace::TraceHeader,
};

/// A member's data: JSON, passed on as it stands.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct MemberData(Box<RawValue>);

impl MemberData {
    /// Takes a client's `presenceData` as it stands.
    ///
    /// # Errors
    /// When it is longer than [`PRESENCE_DATA_BYTES`], or not every client could read it.
    pub fn of_client(json: &RawValue) -> Result<Self, FieldError> {
        let bytes = json.get().len();
        if bytes > PRESENCE_DATA_BYTES {
            let problem = format!("must have at most {PRESENCE_DATA_BYTES} bytes of JSON, has {bytes}");
            return Err(FieldError::invalid("presenceData", problem));
        }
        data::check("presenceData", json).map(|()| Self(json.to_owned()))
    }

    /// Reads JSON. `None` for a text that is no JSON, and for `null`, which says nothing.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str::<Option<Box<RawValue>>>(json).ok().flatten().map(Self)
    }

    /// The JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for MemberData {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for MemberData {}

impl<'de> Deserialize<'de> for MemberData {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(Self)
    }
}

/// The part of a connection's entry in the list of members that is not its subject.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The connection's data.
    pub data: Option<MemberData>,
}

/// The members of a room by their subjects, each with its data.
pub type Members = BTreeMap<String, Option<MemberData>>;

/// A member as replies, frames and events show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedMember {
    /// The subject.
    pub id: String,
    /// Its data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<MemberData>,
}

/// A publication: a room's `rev`, and what a connection that has an older one is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The list's version; rises with each publication.
    pub rev: u64,
    /// Members: distinct subjects.
    pub count: u64,
    /// The change that has led to this list.
    pub change: Change,
}

/// The change that has led to a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Facts that turn the list at `after` into the list at the publication's `rev`.
    Facts {
        /// The `rev` that they follow on; 0 is the empty list.
        after: u64,
        /// New members, and those whose data has changed, each with its data.
        joined: Vec<ListedMember>,
        /// Those who are members no more.
        left: Vec<String>,
    },
    /// There is no list: the room has too many members for one.
    CountOnly,
    /// Clients must ask for the list: the facts are too many for a frame.
    Reload,
}

/// A publication as a record and a frame have it.
#[derive(Serialize, Deserialize)]
#[serde(expecting = "an object")]
struct Wire {
    #[serde(deserialize_with = "required_counter")]
    rev: u64,
    #[serde(default, deserialize_with = "counter", skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
    #[serde(deserialize_with = "required_counter")]
    count: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joined: Option<Vec<ListedMember>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reload: Option<bool>,
}

fn required_counter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    required::<Counter, D>(deserializer).map(|Counter(number)| number)
}

fn counter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Counter>::deserialize(deserializer)?.map(|Counter(number)| number))
}

impl From<&Publication> for Wire {
    fn from(publication: &Publication) -> Self {
        let Publication { rev, count, change } = publication.clone();
        let wire = Self { rev, after: None, count, joined: None, left: None, reload: None };
        match change {
            Change::Facts { after, joined, left } => {
                Self { after: Some(after), joined: Some(joined), left: Some(left), ..wire }
            }
            Change::CountOnly => wire,
            Change::Reload => Self { reload: Some(true), ..wire },
        }
    }
}

impl Wire {
    fn publication(self) -> Result<Publication, FieldError> {
        let Self { rev, after, count, joined, left, reload } = self;
        let change = match (reload, after) {
            (Some(true), _) => Change::Reload,
            (_, Some(after)) if after < rev => {
                Change::Facts { after, joined: joined.unwrap_or_default(), left: left.unwrap_or_default() }
            }
            (_, Some(_)) => return Err(FieldError::invalid("presence", "must have an `after` below its `rev`")),
            (_, None) if joined.is_none() && left.is_none() => Change::CountOnly,
            (_, None) => return Err(FieldError::invalid("presence", "must have an `after` with `joined` or `left`")),
        };
        Ok(Publication { rev, count, change })
    }
}

/// The body of a publication's record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyOut<'a, S> {
    v: u8,
    room_id: &'a RoomId,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard: Option<S>,
    presence: Wire,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyIn {
    #[serde(deserialize_with = "required")]
    room_id: RoomId,
    #[serde(deserialize_with = "required")]
    presence: Wire,
}

/// The frame of a publication.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    r#type: &'static str,
    room_id: &'a RoomId,
    #[serde(flatten)]
    publication: Wire,
}

impl Publication {
    /// The record for the rooms' queue. In the room's group it stays behind the messages before it; and a second record
    /// of the same `rev` is dropped for five minutes.
    #[must_use]
    pub fn to_record(&self, room: &RoomId, trace: Option<TraceHeader>) -> Record {
        Record {
            group_id: room.to_string(),
            deduplication_id: format!("presence/{room}/{}", self.rev),
            body: self.to_body(room, None::<()>),
            reason: None,
            trace,
        }
    }

    /// The body of a record; one for a shard of the room names the shard.
    #[must_use]
    pub fn to_body(&self, room: &RoomId, shard: Option<impl Serialize>) -> String {
        // Strings, integers and raw JSON always serialize.
        let body = BodyOut { v: 1, room_id: room, shard, presence: self.into() };
        escape_noncharacters(serde_json::to_string(&body).unwrap_or_default())
    }

    /// Reads a record's body.
    ///
    /// # Errors
    /// When it is not one that [`Publication::to_body`] makes.
    pub fn read(body: &str) -> Result<(RoomId, Self), FieldError> {
        let BodyIn { room_id, presence } = json::read(body)?;
        Ok((room_id, presence.publication()?))
    }

    /// The `presence` frame.
    #[must_use]
    pub fn to_frame(&self, room: &RoomId) -> String {
        // Strings, integers and raw JSON always serialize.
        serde_json::to_string(&Frame { r#type: "presence", room_id: room, publication: self.into() })
            .unwrap_or_default()
    }

    /// This publication and the next one in one: the last fact of each subject counts. If the next one does not follow
    /// on this one, clients must ask for the list.
    #[must_use]
    pub fn merge(self, next: Self) -> Self {
        if next.rev <= self.rev {
            return self;
        }
        let change = match (self.change, next.change) {
            (_, Change::CountOnly) => Change::CountOnly,
            (Change::Facts { after, joined, left }, Change::Facts { after: follows, joined: then, left: gone })
                if follows == self.rev =>
            {
                // A BTreeMap, so that the facts have the same order each time.
                let mut facts: BTreeMap<String, Option<ListedMember>> = BTreeMap::new();
                for (present, absent) in [(joined, left), (then, gone)] {
                    facts.extend(absent.into_iter().map(|id| (id, None)));
                    facts.extend(present.into_iter().map(|member| (member.id.clone(), Some(member))));
                }
                let left = facts.iter().filter(|(_, fact)| fact.is_none()).map(|(id, _)| id.clone()).collect();
                Change::Facts { after, joined: facts.into_values().flatten().collect(), left }
            }
            _ => Change::Reload,
        };
        Self { rev: next.rev, count: next.count, change }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn room() -> RoomId {
        RoomId::parse("chat").unwrap()
    }

    fn member(id: &str, data: Option<&str>) -> ListedMember {
        ListedMember { id: id.to_owned(), data: data.and_then(MemberData::parse) }
    }

    fn facts(after: u64, rev: u64, joined: &[ListedMember], left: &[&str]) -> Publication {
        let left = left.iter().map(|id| (*id).to_owned()).collect();
        Publication { rev, count: 3, change: Change::Facts { after, joined: joined.to_vec(), left } }
    }

    #[test]
    fn records_and_frames_are_what_the_protocol_says() {
        let publication = facts(9, 12, &[member("bob", Some(r#"{"name":"B\u0062"}"#)), member("al", None)], &["cy"]);
        let record = publication.to_record(&room(), None);
        assert_eq!((record.group_id.as_str(), record.deduplication_id.as_str()), ("chat", "presence/chat/12"));
        let told = json!({
            "rev": 12, "after": 9, "count": 3, "joined": [{"id": "bob", "data": {"name": "Bb"}}, {"id": "al"}], "left": ["cy"],
        });
        let body: Value = serde_json::from_str(&record.body).unwrap();
        assert_eq!(body, json!({"v": 1, "roomId": "chat", "presence": told}));
        let frame: Value = serde_json::from_str(&publication.to_frame(&room())).unwrap();
        let mut expected = json!({"type": "presence", "roomId": "chat"});
        expected.as_object_mut().unwrap().extend(told.as_object().unwrap().clone());
        assert_eq!(frame, expected);
        assert!(record.body.contains(r#"{"name":"B\u0062"}"#), "data is passed on as it stands");
    }

    #[test]
    fn a_record_reads_back_as_the_same_publication() {
        let count_only = Publication { rev: 4, count: 900, change: Change::CountOnly };
        let reload = Publication { rev: 5, count: 4, change: Change::Reload };
        for publication in [facts(0, 1, &[member("a", Some("[1]"))], &["b"]), facts(1, 2, &[], &[]), count_only, reload]
        {
            assert_eq!(Publication::read(&publication.to_body(&room(), None::<()>)).unwrap(), (room(), publication));
        }
    }

    #[test]
    fn a_record_that_is_none_says_why() {
        for (presence, told) in [
            (json!(null), "`presence` is missing"),
            (json!({"rev": 1}), "`presence` missing field `count`"),
            (json!("x"), "`presence` must be an object"),
            (json!({"rev": -1, "count": 1}), "`presence` must be an integer from 0 to 9007199254740991"),
            (json!({"rev": 1, "count": 1, "joined": []}), "`presence` must have an `after` with `joined` or `left`"),
            (json!({"rev": 1, "count": 1, "after": 1}), "`presence` must have an `after` below its `rev`"),
        ] {
            let body = json!({"v": 1, "roomId": "chat", "presence": presence}).to_string();
            assert_eq!(Publication::read(&body).unwrap_err().to_string(), told);
        }
    }

    #[test]
    fn of_several_publications_the_last_fact_of_a_subject_counts() {
        let first = facts(1, 2, &[member("a", Some("1")), member("b", None)], &["c", "d"]);
        let second = facts(2, 5, &[member("a", Some("2")), member("c", None)], &["b", "e"]);
        let expected = facts(1, 5, &[member("a", Some("2")), member("c", None)], &["b", "d", "e"]);
        assert_eq!(first.clone().merge(second.clone()), expected);
        assert_eq!(first.clone().merge(second.clone()).merge(first.clone()), expected, "an older one tells nothing");
        assert_eq!(second.clone().merge(first), second);
    }

    #[test]
    fn what_does_not_follow_on_is_to_be_asked_for() {
        let count_only = |rev| Publication { rev, count: 3, change: Change::CountOnly };
        let reload = |rev| Publication { rev, count: 3, change: Change::Reload };
        let change = |one: Publication, next: Publication| one.merge(next).change;
        assert_eq!(change(facts(1, 2, &[], &[]), facts(3, 4, &[], &[])), Change::Reload);
        assert_eq!(change(reload(2), facts(2, 4, &[], &[])), Change::Reload);
        assert_eq!(change(count_only(2), facts(2, 4, &[], &[])), Change::Reload);
        assert_eq!(change(facts(1, 2, &[], &[]), reload(3)), Change::Reload);
        assert_eq!(change(facts(1, 2, &[], &[]), count_only(3)), Change::CountOnly);
    }

    #[test]
    fn null_is_no_data() {
        assert_eq!(MemberData::parse("null"), None);
        assert_eq!(MemberData::parse("{"), None);
        assert_eq!(MemberData::parse(" [1] ").unwrap().as_json(), "[1]");
    }
}

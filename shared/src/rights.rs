//! Rights: what a token lets its subject do, and in which rooms.
//!
//! Written as JSON, in a token's claim `rooms` as in the authorizer's context: `{"chat:*": ["join", "send"]}`. A room
//! may be named by several patterns; their rights add up. The personal room `user:<sub>` is outside of that: it is
//! always its subject's, and nobody else ever joins it or reads its log.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, MapAccess, Visitor},
};

use crate::{json::Text, room::RoomId, room_pattern::RoomPattern, subject::Subject};

/// A right in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Receive the room's broadcasts: `joinRoom`, `sync`, `$connect?roomId=`.
    Join,
    /// Send messages into the room.
    Send,
    /// Read what was said before: `getHistory`, `joinRoom` with `after`.
    History,
    /// Send messages with a `key` into a room that keeps state.
    State,
}

/// Every right, in the order in which they are written.
pub const ALL: [Right; 4] = [Right::Join, Right::Send, Right::History, Right::State];

impl Right {
    /// The right's name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Send => "send",
            Self::History => "history",
            Self::State => "state",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of rights, one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RightSet(u8);

/// A subject's rights, by room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights(BTreeMap<RoomPattern, RightSet>);

/// Rights for many subjects: `{sub}` in a pattern stands for the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RightsTemplate(BTreeMap<String, RightSet>);

/// The place of the subject in a pattern of a [`RightsTemplate`].
const SUBJECT: &str = "{sub}";

impl Rights {
    /// The one place that decides what a subject may do in a room.
    #[must_use]
    pub fn allow(&self, subject: &Subject, right: Right, room: &RoomId) -> bool {
        match room.owner() {
            Some(owner) if owner == subject.as_str() => return true,
            Some(_) if matches!(right, Right::Join | Right::History) => return false,
            _ => {}
        }
        self.0.iter().any(|(pattern, rights)| rights.0 & right.bit() != 0 && pattern.matches(room))
    }

    /// The number of patterns.
    #[must_use]
    pub fn patterns(&self) -> usize {
        self.0.len()
    }
}

impl RightsTemplate {
    /// Reads a template from JSON.
    ///
    /// # Errors
    /// When it is no JSON object of rights, a pattern can match no room whatever the subject, or it has a `*` right
    /// after `{sub}`: it would give `al` the rooms of `alice`.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        let template: Self = serde_json::from_str(json)?;
        for pattern in template.0.keys() {
            if pattern.ends_with("{sub}*") {
                let problem = "gives a subject the rooms of every other whose name begins so";
                return Err(serde_json::Error::custom(format!("the pattern {pattern:?} {problem}")));
            }
            RoomPattern::parse(&pattern.replace(SUBJECT, "s"))
                .map_err(|problem| serde_json::Error::custom(format!("the pattern {pattern:?} {problem}")))?;
        }
        Ok(template)
    }

    /// A subject's rights. A pattern that would name no room with this subject in it is left out. All patterns with
    /// `{sub}` are left out for a subject that contains a character by which one of them goes on after `{sub}`.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> Rights {
        let name = subject.as_str();
        // By `inbox:{sub}:*`, `al` would get the rooms of `al:ice`. By `inbox:{sub}` and `inbox:{sub}:sent`, `al:sent`
        // would get a room of `al`.
        let separators = self.0.keys().flat_map(|pattern| pattern.split(SUBJECT).skip(1));
        let has_separator = separators.filter_map(|rest| rest.chars().next()).any(|separator| name.contains(separator));
        // A subject with a `*` would turn a name into a pattern.
        let can_be_named = RoomId::parse(name).is_ok() && !has_separator;
        let mut named: BTreeMap<RoomPattern, RightSet> = BTreeMap::new();
        for (pattern, rights) in &self.0 {
            if pattern.contains(SUBJECT) && !can_be_named {
                continue;
            }
            if let Ok(pattern) = RoomPattern::parse(&pattern.replace(SUBJECT, name)) {
                named.entry(pattern).or_default().0 |= rights.0;
            }
        }
        Rights(named)
    }
}

impl Serialize for RightSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ALL.into_iter().filter(|right| self.0 & right.bit() != 0).map(Right::name))
    }
}

impl<'de> Deserialize<'de> for RightSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "must be a list of \"join\", \"send\", \"history\", \"state\"";
        let names: Vec<Text> = Vec::deserialize(deserializer).map_err(|_| D::Error::custom(EXPECTED))?;
        names.iter().try_fold(Self::default(), |set, Text(name)| {
            let right = ALL.into_iter().find(|right| right.name() == name).ok_or_else(|| D::Error::custom(EXPECTED))?;
            Ok(Self(set.0 | right.bit()))
        })
    }
}

impl Serialize for Rights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pattern, rights)| (pattern.as_str(), rights)))
    }
}

impl<'de> Deserialize<'de> for Rights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| RoomPattern::parse(text).map_err(|problem| format!("has a pattern that {problem}"));
        deserializer.deserialize_map(PatternsVisitor(read)).map(Self)
    }
}

impl<'de> Deserialize<'de> for RightsTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PatternsVisitor(|text: &str| Ok(text.to_owned()))).map(Self)
    }
}

struct PatternsVisitor<F>(F);

impl<'de, P: Ord, F: Fn(&str) -> Result<P, String>> Visitor<'de> for PatternsVisitor<F> {
    type Value = BTreeMap<P, RightSet>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of room patterns with a list of rights each")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut patterns = BTreeMap::new();
        while let Some(pattern) = map.next_key::<String>()? {
            let pattern = (self.0)(&pattern).map_err(A::Error::custom)?;
            // Two readers could take different ones for the one that counts.
            if patterns.insert(pattern, map.next_value()?).is_some() {
                return Err(A::Error::custom("has a pattern twice"));
            }
        }
        Ok(patterns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYWHERE: &str = r#"{"*":["join","send","history","state"]}"#;

    fn rights(json: &str) -> Rights {
        serde_json::from_str(json).unwrap()
    }

    /// The rights of alice in a room, by name.
    fn of_alice(rights: &Rights, room: &str) -> Vec<&'static str> {
        let (alice, room) = (Subject::parse("alice").unwrap(), RoomId::parse(room).unwrap());
        ALL.into_iter().filter(|right| rights.allow(&alice, *right, &room)).map(Right::name).collect()
    }

    #[test]
    fn each_right_is_had_where_a_pattern_gives_it_and_nowhere_else() {
        for right in ALL {
            let rights = rights(&format!(r#"{{"chat:*":["{0}"],"prices":["{0}"]}}"#, right.name()));
            for room in ["chat:1", "chat:", "prices"] {
                assert_eq!(of_alice(&rights, room), [right.name()], "{room}");
            }
            for room in ["chat", "prices2", "price", "Chat:1", "x:chat:1"] {
                assert!(of_alice(&rights, room).is_empty(), "{room}");
            }
        }
    }

    #[test]
    fn the_rights_of_several_patterns_add_up() {
        let rights = rights(r#"{"*":["join"],"chat:*":["send"],"chat:1":["history"]}"#);
        assert_eq!(of_alice(&rights, "chat:1"), ["join", "send", "history"]);
        assert_eq!(of_alice(&rights, "chat:2"), ["join", "send"]);
        assert_eq!(of_alice(&rights, "prices"), ["join"]);
    }

    #[test]
    fn a_personal_room_is_its_subjects_whatever_a_token_says() {
        let names = ALL.map(Right::name);
        assert_eq!(of_alice(&Rights::default(), "user:alice"), names);
        for room in ["user:bob", "user:", "user:alice:x", "user:Alice"] {
            assert!(of_alice(&Rights::default(), room).is_empty(), "{room}");
            assert_eq!(of_alice(&rights(EVERYWHERE), room), ["send", "state"], "{room}");
            assert_eq!(of_alice(&rights(&format!(r#"{{"{room}":["join","history"]}}"#)), room), [""; 0], "{room}");
        }
        assert_eq!(of_alice(&rights(r#"{"user:*":["send"]}"#), "user:bob"), ["send"]);
    }

    #[test]
    fn patterns_and_rights_that_mean_nothing_are_refused() {
        for json in [
            r#"{"a*b":["join"]}"#,
            r#"{"**":["join"]}"#,
            r#"{"":["join"]}"#,
            r#"{"a b":["join"]}"#,
            r#"{"r":["jion"]}"#,
            r#"{"r":"join"}"#,
            r#"{"r":null}"#,
            r#"{"r":["join"],"r":["send"]}"#,
            "[]",
            "null",
        ] {
            assert!(serde_json::from_str::<Rights>(json).is_err(), "{json}");
        }
        let long = format!(r#"{{"{}":["join"]}}"#, "r".repeat(101));
        assert!(serde_json::from_str::<Rights>(&long).is_err());
        assert!(serde_json::from_str::<Rights>(&long.replace("rr\"", "r*\"")).is_ok());
    }

    #[test]
    fn rights_are_written_as_they_are_read() {
        for json in [EVERYWHERE, r#"{"*":["join"],"chat:*":["join","send","history","state"],"r":[]}"#] {
            assert_eq!(serde_json::to_string(&rights(json)).unwrap(), json);
        }
    }

    #[test]
    fn a_template_names_the_subject_and_never_more_rooms_than_that() {
        let template =
            RightsTemplate::parse(r#"{"inbox:{sub}":["join"],"team:{sub}:*":["send"],"all":["join"]}"#).unwrap();
        let of = |subject: &str| serde_json::to_string(&template.of(&Subject::parse(subject).unwrap())).unwrap();
        assert_eq!(of("alice"), r#"{"all":["join"],"inbox:alice":["join"],"team:alice:*":["send"]}"#);
        // Two patterns may become the same one, and their rights add up.
        let template = RightsTemplate::parse(r#"{"inbox:{sub}":["join"],"inbox:alice":["send"]}"#).unwrap();
        let alice = template.of(&Subject::parse("alice").unwrap());
        assert_eq!(serde_json::to_string(&alice).unwrap(), r#"{"inbox:alice":["join","send"]}"#);
        for subject in ["*", "a*", "a b", "{sub}", "\u{e9}"] {
            assert_eq!(of(subject), r#"{"all":["join"]}"#, "{subject}");
        }
        assert_eq!(of(&"s".repeat(99)), r#"{"all":["join"]}"#);
        for subject in ["al:ice", "alice:", ":"] {
            assert_eq!(of(subject), r#"{"all":["join"]}"#, "{subject} has the character that ends a subject");
        }
        for json in
            [r#"{"inbox:{sub}*":["join"]}"#, r#"{"{sub}*x":["join"]}"#, r#"{"{user}":["join"]}"#, r#"{"r":["x"]}"#, "7"]
        {
            assert!(RightsTemplate::parse(json).is_err(), "{json}");
        }
    }
}

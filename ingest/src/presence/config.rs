//! The configuration of the `presence` function.

use std::ops::RangeInclusive;

use shared::{
    RoomId,
    config::{ConfigError, Settings},
    store::connections::ROOM_INDEX,
};

use super::rooms::PresenceRooms;

/// The range of `PRESENCE_POSTS_PER_SECOND`.
const POSTS_PER_SECOND: RangeInclusive<u64> = 1..=1_000_000;

const EVENTS: &str = "LIFECYCLE_EVENTS";

/// The `presence` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceConfig {
    /// `CONNECTIONS_TABLE`.
    pub connections_table: String,
    /// `ROOM_INDEX`: the index of the connection table by room.
    pub room_index: String,
    /// `QUEUE_URL`: the rooms' queue.
    pub queue_url: String,
    /// `PRESENCE_QUEUE_URL`: the queue of ticks.
    pub presence_queue_url: String,
    /// `EVENT_BUS_NAME`: where lifecycle events go; required if there are any.
    pub event_bus: String,
    /// The rooms that are published, and how often.
    pub settings: PresenceSettings,
}

/// The rooms that have presence or lifecycle events, and how often they are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceSettings {
    /// The rooms, and how long a member counts as present without a sync.
    pub rooms: PresenceRooms,
    /// `LIFECYCLE_EVENTS`: what those events tell of.
    pub events: EventKinds,
    /// `PRESENCE_DELAY_SECONDS`: the delay of the queue of ticks, in milliseconds.
    pub delay_ms: u64,
    /// `PRESENCE_POSTS_PER_SECOND`: posts that all publications together may cause, per second.
    pub posts_per_second: u64,
    /// `PRESENCE_LIST_MAX`: the number of members up to which there is a list.
    pub list_max: usize,
}

/// The kinds of lifecycle events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKinds {
    /// Rooms that become occupied or vacated.
    pub room: bool,
    /// Members that join or leave.
    pub member: bool,
}

/// The kinds of presence that a room has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whether the room's connections are told of its members.
    pub presence: bool,
    /// The kinds of its lifecycle events.
    pub events: EventKinds,
}

impl PresenceSettings {
    /// The kinds of presence that a room has.
    #[must_use]
    pub fn kept(&self, room: &RoomId) -> Kept {
        let has_events = self.rooms.lifecycle.matches(room);
        let EventKinds { room: of_room, member } = self.events;
        let events = EventKinds { room: of_room && has_events, member: member && has_events };
        Kept { presence: self.rooms.listed.matches(room), events }
    }
}

impl Kept {
    /// Whether nothing is kept of the room.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        !self.presence && !self.events.room && !self.events.member
    }
}

impl PresenceConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let rooms = PresenceRooms::read(&mut settings);
        let event_bus = if rooms.lifecycle.is_empty() {
            settings.or("EVENT_BUS_NAME", "default")
        } else {
            settings.required("EVENT_BUS_NAME")
        };
        let config = Self {
            connections_table: settings.required("CONNECTIONS_TABLE"),
            room_index: settings.or("ROOM_INDEX", ROOM_INDEX),
            queue_url: settings.url("QUEUE_URL"),
            presence_queue_url: settings.url("PRESENCE_QUEUE_URL"),
            event_bus,
            settings: PresenceSettings {
                rooms,
                events: event_kinds(&mut settings),
                delay_ms: settings.integer("PRESENCE_DELAY_SECONDS", 3..=60, 3) * 1_000,
                posts_per_second: settings.integer("PRESENCE_POSTS_PER_SECOND", POSTS_PER_SECOND, 500),
                list_max: usize::try_from(settings.integer("PRESENCE_LIST_MAX", 0..=1_000, 500)).unwrap_or_default(),
            },
        };
        settings.finish(config)
    }
}

/// `LIFECYCLE_EVENTS`: `room`, `member` or both with a comma between them.
fn event_kinds<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> EventKinds {
    let text = settings.or(EVENTS, "room");
    let mut kinds = EventKinds { room: false, member: false };
    for word in text.split(',').map(str::trim) {
        match word {
            "room" => kinds.room = true,
            "member" => kinds.member = true,
            _ => settings.refuse(EVENTS, format!("must be room, member or room,member, is {text:?}")),
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::settings;

    const GOOD: [(&str, &str); 3] = [
        ("CONNECTIONS_TABLE", "c"),
        ("QUEUE_URL", "https://sqs/1/q.fifo"),
        ("PRESENCE_QUEUE_URL", "https://sqs/1/p.fifo"),
    ];

    fn read(extra: &[(&str, &str)]) -> Result<PresenceConfig, ConfigError> {
        PresenceConfig::read(settings(&[extra, &GOOD].concat()))
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = read(&[]).unwrap();
        assert_eq!(config.room_index, "roomId-index");
        let PresenceSettings { rooms, events, delay_ms, posts_per_second, list_max } = config.settings;
        assert!(rooms.are_none(), "the template says which");
        assert_eq!(events, EventKinds { room: true, member: false });
        assert_eq!((rooms.lease_seconds, delay_ms, posts_per_second, list_max), (1_200, 3_000, 500, 500));
    }

    #[test]
    fn what_is_kept_of_a_room_is_what_its_patterns_say() {
        let set = [("PRESENCE_ROOMS", "chat:*"), ("LIFECYCLE_ROOMS", "chat:1,game"), ("EVENT_BUS_NAME", "b")];
        let both = read(&[set[0], set[1], set[2], ("LIFECYCLE_EVENTS", "member, room")]).unwrap().settings;
        let kept = |room: &str| both.kept(&RoomId::parse(room).unwrap());
        let (all, none) = (EventKinds { room: true, member: true }, EventKinds { room: false, member: false });
        assert_eq!(kept("chat:1"), Kept { presence: true, events: all });
        assert_eq!(kept("chat:2"), Kept { presence: true, events: none });
        assert_eq!(kept("game"), Kept { presence: false, events: all });
        assert!(kept("other").is_nothing() && !kept("game").is_nothing());
    }

    #[test]
    fn every_bad_variable_is_named() {
        let bad = [
            ("CONNECTIONS_TABLE", ""),
            ("QUEUE_URL", "queue"),
            ("PRESENCE_QUEUE_URL", ""),
            ("PRESENCE_ROOMS", "a*b"),
            ("LIFECYCLE_ROOMS", "a*b,c"),
            ("LIFECYCLE_EVENTS", "rooms"),
            ("PRESENCE_LEASE_SECONDS", "59"),
            ("PRESENCE_DELAY_SECONDS", "2"),
            ("PRESENCE_POSTS_PER_SECOND", "0"),
            ("PRESENCE_LIST_MAX", "-1"),
            ("LOG_LEVEL", "loud"),
        ];
        let error = read(&bad).unwrap_err().to_string();
        assert!(error.starts_with("bad configuration, 11 variables:"), "{error}");
        assert!(bad.iter().all(|(name, _)| error.contains(name)), "{error}");
        let error = read(&[("LIFECYCLE_ROOMS", "*")]).unwrap_err().to_string();
        assert_eq!(error, "bad configuration, 1 variable: EVENT_BUS_NAME is missing");
    }
}

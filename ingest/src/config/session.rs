//! The `session` function's configuration.

use std::{num::NonZeroU32, ops::RangeInclusive};

use shared::{
    config::{ConfigError, Settings},
    room_pattern::RoomPatterns,
};

use super::{PER_SECOND, presence};
use crate::presence::rooms::PresenceRooms;

/// Seconds between two syncs of a room at the most: API Gateway closes a connection that is idle for ten minutes.
const SYNC_SECONDS: u64 = 540;

/// The `session` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// `CONNECTIONS_TABLE`.
    pub connections_table: String,
    /// `MESSAGES_TABLE`.
    pub messages_table: String,
    /// `SYNC_MIN_SECONDS` to `SYNC_MAX_SECONDS`: how often clients sync a room, in milliseconds.
    pub sync_after_ms: RangeInclusive<u64>,
    /// `RETENTION_SECONDS`: how long the log keeps a message.
    pub retention_seconds: u64,
    /// `CONNECTIONS_ENDPOINT`: where connections are closed.
    pub connections_endpoint: String,
    /// The limits of connections, subjects and rooms.
    pub limits: SessionLimits,
    /// `STATE_ROOMS` with `STATE_TABLE`: the rooms whose state is kept, if there are any.
    pub state: Option<StateConfig>,
    /// `PRESENCE_ROOMS`, `LIFECYCLE_ROOMS`, `PRESENCE_LEASE_SECONDS`.
    pub presence: PresenceRooms,
    /// `PRESENCE_QUEUE_URL`: where ticks are sent; `None` when there are no such rooms.
    pub presence_queue_url: Option<String>,
}

/// The rooms whose state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// `STATE_TABLE`.
    pub table: String,
    /// `STATE_ROOMS`.
    pub rooms: RoomPatterns,
}

impl StateConfig {
    fn read<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> Option<Self> {
        let rooms = settings.rooms("STATE_ROOMS");
        (!rooms.is_empty()).then(|| Self { table: settings.required("STATE_TABLE"), rooms })
    }
}

/// The limits of connections, subjects and rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// `CONNECTION_ROOMS`: rooms that a connection may be in.
    pub rooms: u32,
    /// `SUBJECT_CONNECTIONS`: connections that a subject may have; `None` when they are not counted.
    pub connections: Option<NonZeroU32>,
    /// `SUBJECT_REQUESTS_PER_SECOND`: requests of a subject, a second; 0 is no limit.
    pub requests: u64,
    /// `ROOM_JOINS_PER_SECOND`: joins of a room, a second; 0 is no limit.
    pub room_joins: u64,
}

impl SessionConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let (connections_table, messages_table) =
            (settings.required("CONNECTIONS_TABLE"), settings.required("MESSAGES_TABLE"));
        let least = settings.integer("SYNC_MIN_SECONDS", 5..=SYNC_SECONDS, 30);
        let most = settings.integer("SYNC_MAX_SECONDS", least..=SYNC_SECONDS, SYNC_SECONDS);
        let retention_seconds = settings.retention_seconds();
        let connections_endpoint = settings.url("CONNECTIONS_ENDPOINT");
        let (presence, presence_queue_url) = presence(&mut settings);
        let requests = settings.integer("SUBJECT_REQUESTS_PER_SECOND", PER_SECOND, 20);
        let room_joins = settings.integer("ROOM_JOINS_PER_SECOND", PER_SECOND, 200);
        let mut at_most =
            |name, range, default| u32::try_from(settings.integer(name, range, default)).unwrap_or(u32::MAX);
        let limits = SessionLimits {
            rooms: at_most("CONNECTION_ROOMS", 1..=1_000, 100),
            connections: NonZeroU32::new(at_most("SUBJECT_CONNECTIONS", 0..=1_000, 50)),
            requests,
            room_joins,
        };
        let state = StateConfig::read(&mut settings);
        settings.finish(Self {
            connections_table,
            messages_table,
            sync_after_ms: least * 1_000..=most * 1_000,
            retention_seconds,
            connections_endpoint,
            limits,
            state,
            presence,
            presence_queue_url,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::settings, *};

    const NEEDED: [(&str, &str); 3] =
        [("CONNECTIONS_TABLE", "c"), ("MESSAGES_TABLE", "m"), ("CONNECTIONS_ENDPOINT", "https://api/live")];

    fn read(variables: &[(&str, &str)]) -> Result<SessionConfig, ConfigError> {
        SessionConfig::read(settings(&[&NEEDED, variables].concat()))
    }

    #[test]
    fn the_longest_time_between_syncs_is_no_shorter_than_the_shortest() {
        let defaults = read(&[]).unwrap();
        assert_eq!((defaults.sync_after_ms, defaults.retention_seconds), (30_000..=540_000, 86_400));
        let up_to = |most: &str| read(&[("SYNC_MIN_SECONDS", "60"), ("SYNC_MAX_SECONDS", most)]);
        assert_eq!(up_to("60").unwrap().sync_after_ms, 60_000..=60_000);
        let error = up_to("59").unwrap_err().to_string();
        assert!(error.contains("SYNC_MAX_SECONDS must be an integer from 60 to 540"), "{error}");
    }

    #[test]
    fn presence_is_off_unless_rooms_have_it_and_then_it_has_a_queue() {
        let off = read(&[("PRESENCE_QUEUE_URL", "http://q/1/p.fifo")]).unwrap();
        assert!(off.presence.are_none() && off.presence_queue_url.is_none());
        for rooms in ["PRESENCE_ROOMS", "LIFECYCLE_ROOMS"] {
            let on = read(&[(rooms, "chat:*"), ("PRESENCE_QUEUE_URL", "http://q/1/p.fifo")]).unwrap();
            assert_eq!(
                (on.presence.lease_seconds, on.presence_queue_url.as_deref()),
                (1_200, Some("http://q/1/p.fifo"))
            );
            assert_eq!(
                (on.presence.listed.is_empty(), on.presence.lifecycle.is_empty()),
                match rooms {
                    "PRESENCE_ROOMS" => (false, true),
                    _ => (true, false),
                }
            );
            let error = read(&[(rooms, "chat:*"), ("PRESENCE_LEASE_SECONDS", "59")]).unwrap_err().to_string();
            for part in ["PRESENCE_QUEUE_URL is missing", "PRESENCE_LEASE_SECONDS must be an integer from 60 to 7200"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn every_bad_variable_is_named() {
        let bad = [
            ("LOG_LEVEL", "x"),
            ("SYNC_MIN_SECONDS", "4"),
            ("SYNC_MAX_SECONDS", "541"),
            ("RETENTION_SECONDS", "59"),
            ("CONNECTION_ROOMS", "0"),
            ("SUBJECT_CONNECTIONS", "-1"),
        ];
        let error = SessionConfig::read(settings(&bad)).unwrap_err().to_string();
        let names = bad.iter().chain(&NEEDED).map(|(name, _)| *name);
        assert!(names.into_iter().all(|name| error.contains(name)), "{error}");
    }
}

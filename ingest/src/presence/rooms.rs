//! The rooms that have presence or lifecycle events, as all functions are told of them.

use std::ops::RangeInclusive;

use shared::{RoomId, config::Settings, room_pattern::RoomPatterns};

/// The time for which a connection counts as present without a sync, in seconds: no longer than a row lasts.
const LEASE_SECONDS: RangeInclusive<u64> = 60..=7_200;

/// The rooms that have presence or lifecycle events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceRooms {
    /// `PRESENCE_ROOMS`: those whose members see each other, if they want to be seen.
    pub listed: RoomPatterns,
    /// `LIFECYCLE_ROOMS`: those of which events tell backends. Every connection in them counts as present.
    pub lifecycle: RoomPatterns,
    /// `PRESENCE_LEASE_SECONDS`: how long a connection is present without a sync.
    pub lease_seconds: u64,
}

impl PresenceRooms {
    /// Reads the variables.
    pub fn read<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> Self {
        Self {
            listed: settings.rooms("PRESENCE_ROOMS"),
            lifecycle: settings.rooms("LIFECYCLE_ROOMS"),
            lease_seconds: settings.integer("PRESENCE_LEASE_SECONDS", LEASE_SECONDS, 1_200),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.listed.is_empty() && self.lifecycle.is_empty()
    }

    /// Whether a room is one of them.
    #[must_use]
    pub fn include(&self, room: &RoomId) -> bool {
        self.listed.matches(room) || self.lifecycle.matches(room)
    }
}

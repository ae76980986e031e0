//! The parts of a workload file for optional features: ephemeral messages, presence, state.

use super::fields::Fields;

/// The ephemeral messages of a group of rooms.
#[derive(Clone, Copy, Debug)]
pub struct EphemeralLoad {
    /// Sends a second in each room.
    pub per_second: f64,
    /// Bytes of `data`.
    pub bytes: f64,
}

impl EphemeralLoad {
    /// Of a workload file.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            per_second: fields.number("perSecond", 0.0..=10_000.0, Some(0.0)),
            bytes: fields.whole("bytes", 1.0..=4_096.0, Some(4.0)),
        }
    }
}

/// The presence of a group of rooms.
#[derive(Clone, Copy, Debug)]
pub struct PresenceLoad {
    /// The share of members who are listed.
    pub listed: f64,
    /// Bytes of `presenceData`.
    pub bytes: f64,
    /// Whether members' joins and leaves are put on the bus.
    pub events: bool,
}

impl PresenceLoad {
    /// Of a workload file.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            listed: fields.number("listed", 0.0..=1.0, Some(0.0)),
            bytes: fields.whole("bytes", 2.0..=1_024.0, Some(30.0)),
            events: fields.flag("events", false),
        }
    }
}

/// The keys of a group of rooms.
#[derive(Clone, Copy, Debug)]
pub struct StateLoad {
    /// The share of messages that have a key.
    pub keyed: f64,
    /// The share of those that another of their batch supersedes.
    pub superseded: f64,
    /// The share of batches that come to another environment than the previous one, which then writes the keys of that
    /// again.
    pub alternating: f64,
    /// Keys of each room.
    pub keys: f64,
    /// Bytes of a key.
    pub key_bytes: f64,
    /// Joins a day of each room that get a snapshot.
    pub joins_per_day: f64,
    /// The share of snapshots that an environment has read within the second before, and kept.
    pub kept: f64,
}

impl StateLoad {
    /// Of a workload file.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self {
            keyed: fields.number("keyed", 0.0..=1.0, Some(0.0)),
            superseded: fields.number("superseded", 0.0..=1.0, Some(0.0)),
            alternating: fields.number("alternating", 0.0..=1.0, Some(0.0)),
            keys: fields.whole("keys", 0.0..=1e6, Some(0.0)),
            key_bytes: fields.whole("keyBytes", 1.0..=64.0, Some(10.0)),
            joins_per_day: fields.number("joinsPerDay", 0.0..=1e9, Some(0.0)),
            kept: fields.number("kept", 0.0..=1.0, Some(0.0)),
        }
    }
}

//! State: a row for each key, and the snapshots that joiners get of it.

use super::{
    fields::Fields,
    sizes::{self, MESSAGE_STEP, REPLY, read_units, steps, write_units},
    traffic::{INGEST_SECONDS, invocation},
    usage::{Count, Part, Usage},
    workload::{RoomGroup, Setting, Workload},
};

/// Bytes of a reply with state at the most.
const PAGE: f64 = 114_688.0;

/// Rows that one `Query` of State asks for.
const ROWS: f64 = 500.0;

/// What a strongly consistent read reads with a unit.
const STRONG_STEP: f64 = 4_096.0;

/// What a group of rooms does with keys.
#[derive(Clone, Copy, Debug)]
pub struct StateLoad {
    /// The share of messages that have a key.
    pub keyed: f64,
    /// The share of those that another of their batch supersedes.
    pub superseded: f64,
    /// The share of batches that come to another environment than the one before, which applies those again.
    pub alternating: f64,
    /// Keys of each room.
    pub keys: f64,
    /// Bytes of a key.
    pub key_bytes: f64,
    /// Joins a day of each room that get a snapshot.
    pub joins_per_day: f64,
    /// The share of snapshots that an environment has kept of the second before.
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

/// A key's row, and its place in a reply.
fn sizes_of(group: &RoomGroup, setting: &Setting) -> (f64, f64) {
    let value = group.state.key_bytes + setting.subject_bytes + group.bytes;
    // roomId, key, version, seq, from, sentAt, data; the reply has no room, and its numbers have all their digits.
    (58.0 + setting.room_bytes + value, 86.0 + value)
}

/// What a group's keys take in a month.
pub(super) fn add(usage: &mut Usage, group: &RoomGroup, workload: &Workload) {
    let (load, setting) = (&group.state, &workload.setting);
    let (row, _) = sizes_of(group, setting);
    let puts = group.messages(workload.days) * load.keyed * (1.0 - load.superseded) * (1.0 + load.alternating);
    usage.add_some(Part::State, Count::PutItem, puts);
    usage.add_some(Part::State, Count::WriteUnits, puts * write_units(row));
    usage.add_some(Part::State, Count::StoredBytes, group.count * load.keys * (row + sizes::ROW_OVERHEAD));
    let joins = group.count * load.joins_per_day * workload.days;
    if joins > 0.0 && load.keys > 0.0 {
        usage.add_times(joins, &snapshot(group, setting));
    }
}

/// A snapshot, beside the join whose reply its first page is in.
fn snapshot(group: &RoomGroup, setting: &Setting) -> Usage {
    let mut usage = Usage::default();
    let (row, entry) = sizes_of(group, setting);
    let (state, read) = (Part::State, 1.0 - group.state.kept);
    let most = (PAGE / entry).floor().max(1.0);
    let mut left = group.state.keys;
    let mut is_first = true;
    while left > 0.0 {
        let keys = left.min(most);
        left -= keys;
        let of_join = if is_first { 1.0 } else { 0.0 };
        usage.add_some(state, Count::Replies, steps(keys * entry + REPLY, MESSAGE_STEP) - of_join);
        usage.add(state, Count::EgressBytes, keys * entry + REPLY * (1.0 - of_join));
        if !is_first {
            usage.add(state, Count::FramesIn, 1.0);
            invocation(&mut usage, state, Count::Session, (setting.ingest_gb, INGEST_SECONDS), setting);
            // The log's head.
            usage.add_some(state, Count::Query, read);
            usage.add_some(state, Count::ReadUnits, read * 2.0 * read_units(row));
        }
        let full = (keys / ROWS).floor();
        let rest = keys - full * ROWS;
        let of_rest = if rest > 0.0 { steps(rest * row, STRONG_STEP) } else { 0.0 };
        usage.add_some(state, Count::Query, read * (keys / ROWS).ceil());
        usage.add_some(state, Count::ReadUnits, read * (full * steps(ROWS * row, STRONG_STEP) + of_rest));
        is_first = false;
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Estimate, bill::Bill, prices::Prices, workload::read};

    fn usd(room: &str) -> f64 {
        let text = format!(r#"{{"days": 1, "subjectBytes": 10, "rooms": [{{"members": 1, {room}}}]}}"#);
        let usage = Estimate::of(&read(&text).unwrap()).usage;
        Bill::of(&usage.part(Part::State), &Prices::read(None).unwrap()).total()
    }

    fn is_about(value: f64, expected: f64) {
        assert!((value / expected - 1.0).abs() < 0.05, "{value} is not about {expected}");
    }

    #[test]
    fn a_keyed_message_is_a_write() {
        let keyed =
            |state: &str| usd(&format!(r#""messagesPerSecond": 10, "via": "queue", "state": {{"keyed": 1, {state}}}"#));
        is_about(keyed(r#""keys": 0"#) / 0.864, 0.625);
        is_about(keyed(r#""alternating": 1"#) / 0.864, 1.25);
        is_about(keyed(r#""superseded": 0.5"#) / 0.864, 0.3125);
    }

    #[test]
    fn half_of_a_snapshot_is_egress() {
        // Entries of 150 bytes.
        let join = |keys: &str, kept: &str| {
            let state = format!(r#"{{"keys": {keys}, "joinsPerDay": 1e6, "kept": {kept}}}"#);
            usd(&format!(r#""messagesPerSecond": 0, "bytes": 44, "state": {state}"#))
        };
        is_about(join("100", "0"), 1.85);
        is_about(join("1000", "0"), 25.0);
        is_about(join("10000", "0"), 257.0);
        is_about(join("1000", "0") - join("1000", "1"), 38.0 * 0.125);
    }
}

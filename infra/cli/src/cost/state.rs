//! State: a row for each key, and the snapshots that joiners get of it.

use super::{
    calls::{INGEST_SECONDS, invocation},
    sizes::{self, MESSAGE_STEP, REPLY, steps, write_units},
    usage::{Count, Part, Usage},
    workload::{RoomGroup, Setting, Workload},
};

/// The most bytes of a reply with state.
const PAGE: f64 = 114_688.0;

/// Rows that one `Query` of State asks for.
const ROWS: f64 = 500.0;

/// The bytes that a strongly consistent read reads with one unit.
const STRONG_STEP: f64 = 4_096.0;

/// A key's row, and its place in a reply.
fn sizes_of(group: &RoomGroup, setting: &Setting) -> (f64, f64) {
    let value = group.state.key_bytes + setting.subject_bytes + group.bytes;
    // roomId, key, version, seq, from, sentAt, data; the reply has no room, and its numbers have all their digits.
    (52.0 + setting.room_bytes + value, 87.0 + value)
}

/// The usage of a group's keys in a month.
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

/// A snapshot, beside the join whose reply contains its first page. The environment that serves it keeps what it has
/// read for the later pages.
fn snapshot(group: &RoomGroup, setting: &Setting) -> Usage {
    let mut usage = Usage::default();
    let (row, entry) = sizes_of(group, setting);
    let (state, keys) = (Part::State, group.state.keys);
    let of_page = (PAGE / entry).floor().max(1.0);
    let (full, rest) = ((keys / of_page).floor(), keys % of_page);
    let billed = |keys: f64| if keys > 0.0 { steps(keys * entry + REPLY, MESSAGE_STEP) } else { 0.0 };
    let further = (keys / of_page).ceil() - 1.0;
    // One of the replies is the join's own.
    usage.add_some(state, Count::Replies, full * billed(of_page) + billed(rest) - 1.0);
    usage.add(state, Count::EgressBytes, keys * entry + further * REPLY);
    if further > 0.0 {
        let mut page = Usage::default();
        page.add(state, Count::FramesIn, 1.0);
        invocation(&mut page, state, Count::Session, (setting.ingest_gb, INGEST_SECONDS), setting);
        usage.add_times(further, &page);
    }
    // The last call finds the end, possibly without getting any row.
    let units = |rows: f64| steps(rows * row, STRONG_STEP);
    let (read, calls) = (1.0 - group.state.kept, (keys / ROWS).floor());
    usage.add_some(state, Count::Query, read * (calls + 1.0));
    usage.add_some(state, Count::ReadUnits, read * (calls * units(ROWS) + units(keys % ROWS)));
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
        // The entries have 150 bytes each.
        let join = |keys: &str, kept: &str| {
            let state = format!(r#"{{"keys": {keys}, "joinsPerDay": 1e6, "kept": {kept}}}"#);
            usd(&format!(r#""messagesPerSecond": 0, "bytes": 44, "state": {state}"#))
        };
        is_about(join("100", "0"), 1.85);
        is_about(join("1000", "0"), 25.0);
        is_about(join("10000", "0"), 257.0);
        is_about(join("1000", "0") - join("1000", "1"), 35.0 * 0.125);
    }
}

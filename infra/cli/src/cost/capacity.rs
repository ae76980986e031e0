//! The capacity of an account: connections, rooms and rates by its quota of requests a second.

use std::fmt::Write;

use super::{
    beats,
    flow::demand,
    presence::pace,
    report::{short, table},
    workload::{RoomGroup, Workload, read},
};

/// The quotas of older and newer regions.
pub const QUOTAS: [f64; 2] = [10_000.0, 2_500.0];

/// New connections a second of an account.
const HANDSHAKES: f64 = 500.0;

/// Write units a second of an index's partition: joins of one room, each of which is one.
const PARTITION_WRITES: f64 = 1_000.0;

/// Single sends a second of a FIFO queue's group.
const GROUP_SENDS: f64 = 300.0;

/// Messages among which a FIFO queue looks for groups.
const FIFO_WINDOW: f64 = 120_000.0;

/// Seconds from a tick's delay to the frames that it causes.
const PRESENCE_LOOK: f64 = 0.5;

/// Sizes of a room.
const ROOMS: [f64; 5] = [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0];

/// The whole page of tables, in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut page = String::new();
    page.push_str("### Messages a second of one room, alone in its account\n\n");
    page.push_str(&rates());
    page.push_str("\n### Rooms with one message a second each, side by side\n\n");
    page.push_str(&side_by_side());
    page.push_str("\n### Idle connections, and what their beats leave\n\n");
    page.push_str(&idle());
    page.push_str("\n### Until everybody is there\n\n");
    page.push_str(&arrivals());
    page.push_str("\n### Presence of one room\n\n");
    page.push_str(&presence());
    page.push_str("\n### The queue\n\n");
    page.push_str(&queue());
    page
}

/// A workload of one room whose rate is to be found: `rate` messages a second, none of them sent by clients.
fn one_room(members: f64, rate: f64, quota: f64) -> Option<Workload> {
    let text = r#"{"rooms": [{"members": 1, "messagesPerSecond": 0, "via": "events", "bytes": 300}]}"#;
    let mut workload = read(text).ok()?;
    workload.quota = quota;
    workload.rooms[0] = RoomGroup { members, messages_per_second: rate, ..workload.rooms[0].clone() };
    Some(workload)
}

/// The posts a second that the quota leaves for a room beside its beats.
fn left(members: f64, rate: f64, quota: f64) -> f64 {
    quota - 2.0 * members * beats_of(rate)
}

/// Beats a second of a member of one room, by the template's defaults.
fn beats_of(rate: f64) -> f64 {
    one_room(1.0, rate, QUOTAS[0]).map_or(f64::NAN, |workload| beats::per_second(rate, 1.0, &workload.setting))
}

/// Seconds until a message has been posted to everybody, at the account's rate or as fast as posts go.
fn seconds(members: f64, quota: f64) -> f64 {
    let Some(workload) = one_room(members, 1.0, quota) else { return f64::NAN };
    let setting = &workload.setting;
    let shards = if members > setting.shard_size { setting.shards } else { 1.0 };
    let by_concurrency = members * setting.post_milliseconds / 1_000.0 / setting.fanout_concurrency / shards;
    by_concurrency.max((members - quota / 2.0).max(0.0) / left(members, 1.0, quota).max(1.0))
}

fn rates() -> String {
    let row = |members: &f64| {
        let mut cells = vec![short(*members)];
        for quota in QUOTAS {
            let posts = left(*members, 1.0, quota) / members;
            cells.push(short(posts.clamp(0.0, GROUP_SENDS)));
            let packed = one_room(*members, GROUP_SENDS, quota).map(|workload| demand(&workload).flows[0]);
            let most = packed.map_or(f64::NAN, |flow| posts * flow.messages_per_post());
            cells.push(short(most.clamp(0.0, GROUP_SENDS)));
            cells.push(short(seconds(*members, quota)));
        }
        cells
    };
    let head = [
        "members",
        "10,000/s: unpacked",
        "packed",
        "a broadcast (s)",
        "2,500/s: unpacked",
        "packed",
        "a broadcast (s)",
    ];
    table(&head, ROOMS.iter().map(row))
}

fn side_by_side() -> String {
    let row = |members: &f64| {
        let mut cells = vec![short(*members)];
        for quota in QUOTAS {
            // A message with the reply to its sender, its posts, and the members' beats.
            let of_room = 2.0 + members + 2.0 * members * beats_of(1.0);
            let rooms = quota / of_room;
            cells.push(short(if rooms < 1.0 { rooms } else { rooms.floor() }));
        }
        cells
    };
    table(&["members of each", "rooms at 10,000/s", "rooms at 2,500/s"], ROOMS.iter().take(4).map(row))
}

fn idle() -> String {
    let row = |connections: &f64| {
        let requests = 2.0 * connections * beats_of(0.0);
        let mut cells = vec![short(*connections), short(requests / 2.0)];
        cells.extend(QUOTAS.map(|quota| format!("{}%", short(100.0 * requests / quota))));
        cells
    };
    let connections = [1_000.0, 10_000.0, 100_000.0, 500_000.0, 1_000_000.0];
    let head = ["idle connections", "beats a second", "of 10,000/s", "of 2,500/s"];
    table(&head, connections.iter().map(row))
}

fn arrivals() -> String {
    let row = |connections: &f64| {
        let (handshakes, joins) = (connections / HANDSHAKES, connections / PARTITION_WRITES);
        vec![short(*connections), short(handshakes), short(joins), short(handshakes.max(joins))]
    };
    let connections = [1_000.0, 10_000.0, 100_000.0];
    let head = ["connections", "handshakes, 500/s (s)", "joins of one room, 1,000/s (s)", "both (s)"];
    table(&head, connections.iter().map(row))
}

fn presence() -> String {
    let row = |members: &f64| {
        let Some(workload) = one_room(*members, 0.0, QUOTAS[0]) else { return Vec::new() };
        let pace = pace(*members, &workload.setting);
        let seen = workload.setting.presence_delay + PRESENCE_LOOK;
        vec![short(*members), short(pace), short(members / pace), short(seen), short(seen + pace)]
    };
    let head = [
        "members",
        "a frame every (s)",
        "posts/s at the most",
        "a join is seen (s), in a quiet room",
        "in one that always changes",
    ];
    table(&head, ROOMS.iter().map(row))
}

fn queue() -> String {
    let mut text = String::new();
    let hours = FIFO_WINDOW / GROUP_SENDS;
    let _ = writeln!(
        text,
        "- a room takes {} messages a second, ten times as many if its producer sends batches of ten",
        short(GROUP_SENDS)
    );
    let _ = writeln!(
        text,
        "- one room that is not drained at all fills the window of {} messages in {} minutes",
        short(FIFO_WINDOW),
        short(hours / 60.0)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/capacity.md");

    #[test]
    fn the_page_has_the_tables_that_are_computed() {
        let tables = markdown();
        assert!(PAGE.contains(&tables), "`roomcast cost --capacity` says:\n{tables}");
    }
}

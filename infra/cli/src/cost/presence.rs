//! Presence: members' rows and their leases, ticks, publications, and the events that are made of them.

use super::{
    beats,
    calls::{INGEST_SECONDS, LOGGING, frame, invocation, receipt},
    sizes::{self, MESSAGE_STEP, QUEUE_STEP, REPLY, read_units, steps, write_units},
    usage::{Count, Part, Usage},
    workload::{RoomGroup, Setting, Workload},
};

/// A room may use a fifth of the stack's posts.
const SHARE: f64 = 5.0;

/// The fewest and the most seconds between two publications of a room.
const PACE: (f64, f64) = (1.0, 900.0);

/// Bytes of members in the reply to a join, and in one that has nothing else.
const MEMBERS_BYTES: f64 = 16_384.0;
const MEMBERS_PAGE: f64 = 110_000.0;

/// The most bytes of a list in the room's row; beyond, the row has only a count.
const LIST: f64 = 204_800.0;

/// The bytes of a page of an index.
const INDEX_PAGE: f64 = 1_048_576.0;

/// Seconds of a look at a room, and the further seconds for each page of members.
const LOOK_SECONDS: (f64, f64) = (0.020, 0.015);

/// Changes in one lifecycle event.
const CHANGES_AN_EVENT: f64 = 100.0;

/// Seconds from one publication of a room to the next.
#[must_use]
pub fn pace(connections: f64, setting: &Setting) -> f64 {
    (SHARE * connections / setting.presence_posts).clamp(PACE.0, PACE.1)
}

/// Members sync within this part of their lease.
const BEAT: f64 = 0.45;

/// The part of a lease after which a `sync` renews it.
const RENEWED_AFTER: f64 = 0.4;

/// The setting by which a group's connections beat.
pub(super) fn beating(group: &RoomGroup, setting: &Setting) -> Setting {
    let mut setting = setting.clone();
    if group.presence.listed > 0.0 {
        setting.sync_max = setting.sync_max.min(BEAT * setting.presence_lease);
        setting.longest_beat = setting.longest_beat.min(setting.sync_max);
        setting.sync_min = setting.sync_min.min(setting.sync_max);
    }
    setting
}

/// The rates at which things happen in one room, a second while its members are connected.
struct Rates {
    /// Rows of members are written or deleted.
    rows: f64,
    /// The list is looked at.
    looks: f64,
    /// A changed list is published.
    publications: f64,
    /// Members who came or went since the last publication.
    changes: f64,
}

fn rates(group: &RoomGroup, setting: &Setting) -> Rates {
    let seconds = (group.hours_per_day * 3_600.0).max(1.0);
    let listed = group.members * group.presence.listed;
    let (rows, changes) =
        (2.0 * listed * group.sessions_per_day() / seconds, 2.0 * listed * group.visits_per_day / seconds);
    let pace = pace(group.members, setting);
    let publications = changes / (1.0 + changes * pace.max(setting.presence_delay));
    let check = if listed > 0.0 { 2.0 / setting.presence_lease } else { 0.0 };
    let looks = (rows / (1.0 + rows * pace)).max(publications).max(check);
    let changes = if publications > 0.0 { changes / publications } else { 0.0 };
    Rates { rows, looks, publications, changes }
}

/// Posts a second of all rooms when their members are connected, within the stack's rate.
#[must_use]
pub fn posts_per_second(workload: &Workload) -> f64 {
    wanted(workload).min(workload.setting.presence_posts)
}

fn wanted(workload: &Workload) -> f64 {
    let of_group = |group: &RoomGroup| group.count * group.members * rates(group, &workload.setting).publications;
    workload.rooms.iter().map(of_group).sum()
}

/// A member's place in the room's row, in a frame, and in the index of members.
fn sizes_of(group: &RoomGroup, setting: &Setting) -> (f64, f64, f64) {
    let named = setting.subject_bytes + group.presence.bytes;
    // connectionId, roomId, memberOf, userId, data, joinedAt, presentUntil, listed.
    (6.0 + named, 18.0 + named, 104.0 + 2.0 * setting.room_bytes + named)
}

/// Whether the room's row has the list of its members, and not their count alone.
fn has_list(group: &RoomGroup, setting: &Setting) -> bool {
    let listed = group.members * group.presence.listed;
    listed <= setting.presence_list_max && listed * sizes_of(group, setting).0 <= LIST
}

/// Bytes of the room's row.
fn row_bytes(group: &RoomGroup, setting: &Setting) -> f64 {
    let list = group.members * group.presence.listed * sizes_of(group, setting).0;
    150.0 + setting.room_bytes + if has_list(group, setting) { list } else { 0.0 }
}

/// The usage of a group's members in a month.
pub(super) fn add(usage: &mut Usage, group: &RoomGroup, workload: &Workload) {
    if group.presence.listed <= 0.0 {
        return;
    }
    let setting = &workload.setting;
    let (rates, presence) = (rates(group, setting), Part::Presence);
    let seconds = group.count * group.connected_seconds(workload.days);
    let wanted = wanted(workload);
    let within = if wanted > setting.presence_posts { setting.presence_posts / wanted } else { 1.0 };
    // A change writes the row's place in the index and sends a tick, of which a room has one a second at most.
    let rows = seconds * rates.rows;
    usage.add(presence, Count::WriteUnits, rows * write_units(sizes_of(group, setting).2));
    let ticks = seconds * (rates.rows / (1.0 + rates.rows)).max(2.0 / setting.presence_lease);
    usage.add(presence, Count::SendMessage, ticks);
    usage.add(presence, Count::FifoRequests, ticks);
    usage.add_times(rows / 2.0, &joined(group, setting));
    // The first beat after that part of the lease renews the row.
    let beat = beating(group, setting).longest_beat * beats::JITTER;
    let renewed_every = beat * (RENEWED_AFTER * setting.presence_lease / beat).ceil();
    let renewals = seconds * group.members * group.presence.listed / renewed_every;
    usage.add(presence, Count::UpdateItem, renewals);
    usage.add(presence, Count::WriteUnits, 2.0 * renewals);
    usage.add_times(seconds * rates.looks * within, &look(group, setting));
    let publications = seconds * rates.publications * within;
    usage.add_times(publications, &publication(group, setting, rates.changes / within));
    if group.presence.events {
        let events = 2.0 * (rates.changes / within / 2.0 / CHANGES_AN_EVENT).ceil().max(1.0);
        let bytes = rates.changes / within / events * sizes_of(group, setting).1;
        usage.add_some(Part::Lifecycle, Count::PutEvents, publications);
        usage.add_some(Part::Lifecycle, Count::Events, publications * events * steps(bytes, QUEUE_STEP));
    }
}

/// Adds the reads of the rooms' lists by a `sync`.
pub(super) fn sync(usage: &mut Usage, group: &RoomGroup, rooms: f64, setting: &Setting) {
    if group.presence.listed > 0.0 {
        usage.add(Part::Presence, Count::BatchGetItem, 1.0);
        usage.add(Part::Presence, Count::ReadUnits, rooms * read_units(row_bytes(group, setting)));
    }
}

/// The list that a joiner gets. It asks for the part that does not fit the reply; it is assumed that nobody else in its
/// environment has asked within the second.
fn joined(group: &RoomGroup, setting: &Setting) -> Usage {
    let mut usage = Usage::default();
    let (presence, row) = (Part::Presence, row_bytes(group, setting));
    let listed = if has_list(group, setting) { group.members * group.presence.listed } else { 0.0 };
    let bytes = listed * sizes_of(group, setting).1;
    let further = (bytes - MEMBERS_BYTES).max(0.0);
    let pages = 1.0 + if further > 0.0 { steps(further, MEMBERS_PAGE) } else { 0.0 };
    usage.add(presence, Count::GetItem, pages);
    usage.add(presence, Count::ReadUnits, pages * 2.0 * read_units(row));
    usage.add(presence, Count::EgressBytes, bytes);
    let mut page = Usage::default();
    frame(&mut page, presence, 1.0);
    invocation(&mut page, presence, Count::Session, (setting.ingest_gb, INGEST_SECONDS), setting);
    if pages > 1.0 {
        usage.add_times(pages - 1.0, &page);
    }
    usage
}

/// A look at a room: its row and its members.
fn look(group: &RoomGroup, setting: &Setting) -> Usage {
    let mut usage = Usage::default();
    let presence = Part::Presence;
    let members = group.members * group.presence.listed * sizes_of(group, setting).2;
    let pages = steps(members, INDEX_PAGE);
    receipt(&mut usage, presence, Count::FifoRequests, REPLY);
    let seconds = LOOK_SECONDS.0 + LOOK_SECONDS.1 * pages;
    invocation(&mut usage, presence, Count::PresenceFunction, (setting.ingest_gb, seconds), setting);
    usage.add(presence, Count::GetItem, 1.0);
    usage.add(presence, Count::Query, pages);
    let row = 2.0 * read_units(row_bytes(group, setting));
    usage.add(presence, Count::ReadUnits, row + read_units(members));
    usage
}

/// A publication, beside the look that leads to it: the first page of the room's connections tells how many are posted
/// to; the list is put and sent, and posted to everybody without being logged.
fn publication(group: &RoomGroup, setting: &Setting, changes: f64) -> Usage {
    let mut usage = Usage::default();
    let (presence, members) = (Part::Presence, group.members);
    let row = row_bytes(group, setting);
    let bytes =
        90.0 + setting.room_bytes + if has_list(group, setting) { changes * sizes_of(group, setting).1 } else { 0.0 };
    usage.add(presence, Count::PutItem, 1.0);
    usage.add(presence, Count::WriteUnits, write_units(row));
    usage.add(presence, Count::SendMessage, 1.0);
    usage.add(presence, Count::FifoRequests, steps(bytes, QUEUE_STEP));
    receipt(&mut usage, presence, Count::FifoRequests, bytes);
    let (_, first_page) = sizes::pages(members.min(500.0), setting);
    let (calls, units) = sizes::pages(members, setting);
    usage.add(presence, Count::Query, 1.0 + calls);
    usage.add(presence, Count::ReadUnits, first_page + units);
    let posting = members * setting.post_milliseconds / 1_000.0 / setting.fanout_concurrency;
    invocation(&mut usage, presence, Count::Fanout, (setting.fanout_gb, LOGGING + posting), setting);
    usage.add(presence, Count::Posts, members * steps(bytes, MESSAGE_STEP));
    usage.add(presence, Count::EgressBytes, members * bytes);
    usage
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{bill::Bill, prices::Prices, workload::read};

    fn workload(rooms: &str, settings: &str) -> Workload {
        read(&format!(r#"{{"rooms": [{rooms}] {settings}}}"#)).unwrap()
    }

    fn usd(usage: &Usage) -> f64 {
        Bill::of(usage, &Prices::read(None).unwrap()).total()
    }

    #[test]
    fn posts_are_the_price_of_a_publication() {
        for (members, besides) in [(10.0, 5.6), (100.0, 13.1), (500.0, 44.6), (10_000.0, 172.0)] {
            let rooms = format!(r#"{{"members": {members}, "messagesPerSecond": 0, "presence": {{"listed": 1}}}}"#);
            let workload = workload(&rooms, "");
            let (group, setting) = (&workload.rooms[0], &workload.setting);
            let mut usage = look(group, setting);
            usage.add_times(1.0, &publication(group, setting, 2.0));
            let million = 1e6 * usd(&usage) - members;
            assert!((million / besides - 1.0).abs() < 0.02, "{members}: {million}");
        }
    }

    #[test]
    fn a_short_lease_costs_writes_and_beats() {
        let rooms = r#"{"members": 1000, "messagesPerSecond": 0, "presence": {"listed": 1}}"#;
        let taken = |lease: &str| {
            let workload = workload(rooms, &format!(r#", "fixed": false, "presenceLeaseSeconds": {lease}"#));
            crate::cost::Estimate::of(&workload).usage
        };
        let (long, short) = (taken("1200"), taken("60"));
        // A beat every 540 or 27 seconds, less the jitter.
        for (usage, renewals) in [(&long, 4.848e6), (&short, 96.97e6)] {
            let counted = usage.of(Part::Presence, Count::UpdateItem);
            assert!((counted / renewals - 1.0).abs() < 0.001, "{counted}");
        }
        let beats = |usage: &Usage| usage.of(Part::Beats, Count::FramesIn);
        assert!((beats(&short) / beats(&long) - 19.1).abs() < 0.5, "{} {}", beats(&short), beats(&long));
    }

    #[test]
    fn a_large_room_is_counted_at_its_pace() {
        let churn = r#"{"members": 10000, "messagesPerSecond": 0, "visitsPerDay": 864, "presence": {"listed": 1}}"#;
        let workload = workload(churn, r#", "days": 1, "fixed": false"#);
        assert!((posts_per_second(&workload) - 100.0).abs() < 0.1, "a fifth of what the stack has");
        let usage = crate::cost::Estimate::of(&workload).usage;
        let of_index = usage.of(Part::Presence, Count::WriteUnits) - 2.0 * usage.of(Part::Presence, Count::UpdateItem);
        assert!((of_index / 17.28e6 - 1.0).abs() < 0.01, "{of_index}");
    }

    #[test]
    fn rooms_share_the_stacks_rate() {
        let rooms = r#"{"count": 1000, "members": 100, "messagesPerSecond": 0, "visitsPerDay": 100, "presence": {"listed": 1}}"#;
        let workload = workload(rooms, r#", "days": 1, "fixed": false"#);
        assert!((posts_per_second(&workload) - 500.0).abs() < 1e-6);
        let posts = crate::cost::Estimate::of(&workload).usage.of(Part::Presence, Count::Posts);
        assert!((posts / (500.0 * 86_400.0) - 1.0).abs() < 1e-6, "{posts}");
    }

    #[test]
    fn what_is_not_used_is_not_listed() {
        let plain = workload(r#"{"members": 100, "messagesPerSecond": 1, "visitsPerDay": 3}"#, "");
        let parts = crate::cost::Estimate::of(&plain).usage.parts();
        let besides = [Part::State, Part::Presence, Part::Ephemeral, Part::Lifecycle];
        assert!(parts.iter().all(|part| !besides.contains(part)), "{parts:?}");
    }
}

//! Rooms whose presence is kept, their connections, the queues, and the time: everything but the functions' environments.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use ingest::presence::config::{EventKinds, PresenceSettings};
use serde_json::{Value, json};
use shared::ConnectionId;
use shared::clock::Clock;
use shared::queue::Record;
use shared::rooms::RoomPatterns;
use testkit::clock::TestClock;
use testkit::delayed_queue::DelayedQueue;
use testkit::dynamodb::{DynamoDb, Lagging};
use testkit::presence_view::PresenceView;

use super::bus::Witness;

/// The lease, in milliseconds.
pub(super) const LEASE: u64 = 60_000;

/// The delay of ticks, in milliseconds.
pub(super) const DELAY: u64 = 3_000;

/// For how long a tick that was received is hidden, in milliseconds.
pub(super) const VISIBILITY: u64 = 90_000;

/// How often a client beats, in milliseconds.
const BEAT: u64 = 25_000;

/// How much clocks differ, in milliseconds.
pub(super) const SKEW: i64 = 200;

/// How long a publication is under way, in milliseconds, at the most.
const UNDER_WAY: u64 = 300;

/// What may go wrong, as shares of 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Ticks that are not sent.
    pub(super) ticks_lost: f64,
    /// Connections whose end nobody reports.
    pub(super) ends_unreported: f64,
    /// Frames that do not arrive, arrive twice, or late.
    pub(super) frames: f64,
    /// Rows of living connections that are deleted, for each beat.
    pub(super) rows_deleted: f64,
    /// Batches in which an environment is killed or stopped for a while.
    pub(super) kills: f64,
    /// Calls to the bus of which an entry fails; at 1 each fails.
    pub(super) bus: f64,
    /// Publications that the rooms' queue does not take.
    pub(super) queue: f64,
}

/// A client's connection to a room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) room: String,
    pub(super) subject: String,
    data: Value,
    joined_at: u64,
    present_until: u64,
    is_listed: bool,
    /// Whether its row is there.
    has_row: bool,
    next_beat: u64,
    pub(super) view: PresenceView,
    /// Frames and answers under way, by when they arrive.
    inbox: Vec<(u64, Value)>,
}

/// What is published of a room.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) rev: u64,
    pub(super) count: u64,
    pub(super) everybody: u64,
    read_at: u64,
    pub(super) members: Option<BTreeMap<String, Value>>,
    /// Whether events name everybody who comes or goes.
    names_everybody: bool,
}

pub(super) struct World {
    pub(super) lagging: Lagging,
    pub(super) clock: TestClock,
    /// As the functions of the session have it.
    pub(super) session_clock: TestClock,
    pub(super) ticks: DelayedQueue,
    pub(super) broadcasts: DelayedQueue,
    pub(super) bus: Witness,
    pub(super) settings: PresenceSettings,
    pub(super) members: RefCell<BTreeMap<String, Member>>,
    pub(super) faults: Cell<Faults>,
    pub(super) random: RefCell<Rng>,
    /// How many connections there have been.
    pub(super) connected: Cell<u64>,
}

/// How long the queue of ticks keeps them, in seconds, by the template.
fn retention_of_ticks() -> u64 {
    let template = include_str!("../../../../infra/template.yaml");
    let queue = template.split("\n  PresenceQueue:\n").nth(1).unwrap();
    let (_, seconds) = queue.split_once("MessageRetentionPeriod: ").unwrap();
    seconds.lines().next().unwrap().parse().unwrap()
}

impl World {
    /// A world of rooms `p…` with presence, `e…` with events and `b…` with both.
    pub(super) fn new(list_max: usize, posts_per_second: u64, mut random: Rng) -> Self {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let patterns = |text: &str| RoomPatterns::parse(text).unwrap();
        let settings = PresenceSettings {
            rooms: patterns("p*,b*"),
            lifecycle_rooms: patterns("e*,b*"),
            events: EventKinds { room: true, member: true },
            lease_ms: LEASE,
            delay_ms: DELAY,
            posts_per_second,
            list_max,
        };
        Self {
            lagging: dynamodb.lagging(&clock, 0..=1_500, random.fork()),
            session_clock: clock.ahead_by_millis(random.i64(-SKEW..=SKEW)),
            ticks: DelayedQueue::new(&clock, DELAY, VISIBILITY).keeping(1_000 * retention_of_ticks()),
            broadcasts: DelayedQueue::new(&clock, 0, VISIBILITY),
            bus: Witness::default(),
            settings,
            members: RefCell::default(),
            faults: Cell::default(),
            connected: Cell::default(),
            random: RefCell::new(random),
            clock,
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.clock.unix_millis()
    }

    pub(super) fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    fn chance(&self, share: f64) -> bool {
        self.random.borrow_mut().f64() < share
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().u64(..bound)
    }

    /// Which connections are in a room.
    pub(super) fn connections(&self, room: &str) -> Vec<String> {
        let members = self.members.borrow();
        members.iter().filter(|(_, member)| member.room == room).map(|(connection, _)| connection.clone()).collect()
    }

    /// A subject's connection joins a room, as `joinRoom` has it: the row, the tick, then the list.
    pub(super) fn join(&self, room: &str, subject: &str, data: &Value) -> String {
        self.connected.set(self.connected.get() + 1);
        let connection = connection(self.connected.get());
        let now = self.session_clock.unix_millis();
        let mut view = PresenceView::default();
        view.read();
        let member = Member {
            room: room.to_owned(),
            subject: subject.to_owned(),
            data: data.clone(),
            joined_at: now,
            present_until: (now + LEASE) / 1_000,
            is_listed: !room.starts_with('e'),
            has_row: true,
            next_beat: now + self.below(BEAT),
            view,
            inbox: Vec::new(),
        };
        self.put(&connection, &member);
        self.members.borrow_mut().insert(connection.clone(), member);
        self.tick(room);
        connection
    }

    /// A connection leaves its room, or ends and is reported: the row, then the tick.
    pub(super) fn leave(&self, connection: &str) {
        let Some(member) = self.members.borrow_mut().remove(connection) else { return };
        if member.has_row {
            self.lagging.delete(connection, &member.room);
        }
        self.tick(&member.room);
    }

    /// A connection ends; perhaps nobody says so.
    pub(super) fn end(&self, connection: &str) {
        if self.chance(self.faults.get().ends_unreported) {
            self.members.borrow_mut().remove(connection);
        } else {
            self.leave(connection);
        }
    }

    fn put(&self, connection: &str, member: &Member) {
        let number = |number: u64| json!({ "N": number.to_string() });
        let (text, expires_at) = (|text: &str| json!({ "S": text }), self.now() / 1_000 + 7_200);
        self.lagging.put(&json!({
            "connectionId": text(connection), "roomId": text(&member.room), "memberOf": text(&member.room),
            "userId": text(&member.subject), "joinedAt": number(member.joined_at), "expiresAt": number(expires_at),
            "slot": number(u64::from(ConnectionId::new(connection).slot())), "data": text(&member.data.to_string()),
            "listed": { "BOOL": member.is_listed }, "presentUntil": number(member.present_until),
        }));
    }

    /// Puts the row of a connection that nobody looks after, present for so many milliseconds.
    pub(super) fn put_row(&self, connection: &str, room: &str, subject: &str, present_for: u64) {
        let now = self.session_clock.unix_millis();
        let member = Member {
            room: room.to_owned(),
            subject: subject.to_owned(),
            data: Value::Null,
            joined_at: now,
            present_until: (now + present_for) / 1_000,
            is_listed: true,
            has_row: true,
            next_beat: u64::MAX,
            view: PresenceView::default(),
            inbox: Vec::new(),
        };
        self.put(connection, &member);
    }

    /// Deletes what is published of a room, if that has expired: sooner than the table's TTL ever does.
    pub(super) fn expire(&self, room: &str) {
        let row = format!("presence/{room}");
        let expires_at = self.lagging.row(&row, room).and_then(|row| row["expiresAt"].as_u64());
        if expires_at.is_some_and(|expires_at| expires_at * 1_000 <= self.now()) {
            self.lagging.delete(&row, room);
        }
    }

    /// Puts a row of presence that cannot be read: it does not say how it came about.
    pub(super) fn spoil(&self, room: &str, rev: u64) {
        let number = |number: u64| json!({ "N": number.to_string() });
        self.lagging.put(&json!({
            "connectionId": { "S": format!("presence/{room}") }, "roomId": { "S": room }, "rev": number(rev),
            "count": number(0), "members": { "S": "{}" }, "nextAt": number(0), "readAt": number(0),
        }));
    }

    /// Deletes the row of a connection.
    pub(super) fn delete_row(&self, connection: &str, room: &str) {
        self.lagging.delete(connection, room);
    }

    /// Sends a tick, unless it gets lost or the second has had one.
    pub(super) fn tick(&self, room: &str) {
        if self.chance(self.faults.get().ticks_lost) {
            return;
        }
        let (group_id, body) = (room.to_owned(), json!({ "v": 1, "roomId": room }).to_string());
        let deduplication_id = self.session_clock.unix_seconds().to_string();
        self.ticks.add(&Record { group_id, deduplication_id, body, reason: None, trace: None });
    }

    /// What is published of a room.
    pub(super) fn row(&self, room: &str) -> Option<Row> {
        let row = self.lagging.row(&format!("presence/{room}"), room)?;
        let number = |name: &str| row[name].as_u64().unwrap();
        let json = |name: &str| row[name].as_str().map(|text| serde_json::from_str(text).unwrap());
        Some(Row {
            rev: number("rev"),
            count: number("count"),
            everybody: number("everybody"),
            read_at: number("readAt"),
            members: json("members"),
            names_everybody: row["unlisted"].is_string(),
        })
    }

    /// Lets clients do what is due: beat, ask for members, take what arrives.
    pub(super) fn serve_clients(&self) {
        let now = self.now();
        let connections: Vec<String> = self.members.borrow().keys().cloned().collect();
        for connection in connections {
            self.deliver(&connection, now);
            let (room, is_beat, request) = {
                let mut members = self.members.borrow_mut();
                let Some(member) = members.get_mut(&connection) else { continue };
                let is_beat = member.next_beat <= now;
                if is_beat {
                    member.next_beat = now + BEAT;
                }
                let request = if member.is_listed { member.view.request(now) } else { None };
                (member.room.clone(), is_beat, request)
            };
            if is_beat {
                self.beat(&connection, &room);
            }
            if let Some(after) = request {
                let page = page(self.row(&room).as_ref(), after.as_deref(), 1 + self.below(5));
                self.under_way(&connection, json!({ "page": page }), UNDER_WAY);
            }
        }
    }

    /// As `sync` has it: renews the row, lets the room be looked at if nobody has lately, and tells where it stands.
    fn beat(&self, connection: &str, room: &str) {
        let row = self.row(room);
        let now = self.session_clock.unix_millis();
        if row.as_ref().is_none_or(|row| row.read_at + LEASE / 2 <= now) {
            self.tick(room);
        }
        let lost = self.chance(self.faults.get().rows_deleted);
        {
            let mut members = self.members.borrow_mut();
            let member = members.get_mut(connection).unwrap();
            if lost && member.has_row {
                self.lagging.delete(connection, room);
                member.has_row = false;
            } else if !member.has_row {
                // The library joins again.
                (member.has_row, member.joined_at) = (true, now);
                member.present_until = (now + LEASE) / 1_000;
                self.put(connection, member);
                member.view.read();
                self.tick(room);
            } else if member.present_until * 1_000 <= now + LEASE * 3 / 5 {
                member.present_until = (now + LEASE) / 1_000;
                self.lagging.renew(connection, room, member.present_until);
            }
        }
        let standing = row.map_or(0, |row| row.rev);
        self.under_way(connection, json!({ "synced": standing }), UNDER_WAY);
    }

    /// Sends something to a client, to arrive within a time.
    fn under_way(&self, connection: &str, what: Value, within: u64) {
        let at = self.now() + self.below(within);
        if let Some(member) = self.members.borrow_mut().get_mut(connection) {
            member.inbox.push((at, what));
        }
    }

    /// Posts a frame to everybody in a room.
    pub(super) fn post(&self, room: &str, frame: &Value) {
        let faults = self.faults.get().frames;
        for connection in self.connections(room) {
            let what = json!({ "frame": frame });
            match self.below(3) {
                0 if self.chance(faults) => {}
                1 if self.chance(faults) => {
                    self.under_way(&connection, what.clone(), 5_000);
                    self.under_way(&connection, what, UNDER_WAY);
                }
                2 if self.chance(faults) => self.under_way(&connection, what, 10_000),
                _ => self.under_way(&connection, what, UNDER_WAY),
            }
        }
    }

    fn deliver(&self, connection: &str, now: u64) {
        let mut members = self.members.borrow_mut();
        let Some(member) = members.get_mut(connection) else { return };
        member.inbox.sort_by_key(|(at, _)| *at);
        let later = member.inbox.partition_point(|(at, _)| *at <= now);
        for (_, what) in member.inbox.drain(..later).collect::<Vec<_>>() {
            if !what["page"].is_null() {
                member.view.page(&what["page"], now);
            } else if let Some(rev) = what["synced"].as_u64() {
                member.view.synced(rev, now);
            } else {
                member.view.frame(&what["frame"], now);
            }
        }
    }

    /// Who should be in a room, by the rows of those who are present: each with the data of its newest connection.
    pub(super) fn present(&self, room: &str) -> BTreeMap<String, Value> {
        let members = self.members.borrow();
        let mut newest: BTreeMap<&str, &Member> = BTreeMap::new();
        for member in members.values().filter(|member| member.room == room && member.has_row) {
            let known = newest.entry(&member.subject).or_insert(member);
            // Of two of one millisecond that with the greater id, which comes later here.
            if known.joined_at <= member.joined_at {
                *known = member;
            }
        }
        newest.into_iter().map(|(subject, member)| (subject.to_owned(), member.data.clone())).collect()
    }

    /// Asserts that what is published of a room is who is present.
    pub(super) fn assert_exact(&self, room: &str, what: &str) {
        let (present, row) = (self.present(room), self.row(room));
        let subjects: BTreeSet<&String> = present.keys().collect();
        let Some(row) = row else {
            assert!(present.is_empty(), "{what}: nothing is published of {room}, where {subjects:?} are");
            return;
        };
        if room.starts_with('e') {
            let is_same = if row.names_everybody { row.everybody == present.len() as u64 } else { !present.is_empty() };
            assert!(is_same, "{what}: {room} has {subjects:?}, published is {row:?}");
            return;
        }
        assert_eq!(row.count, present.len() as u64, "{what}: {room}");
        if let Some(members) = &row.members {
            assert_eq!(*members, present, "{what}: the list of {room}");
        }
    }

    /// Asserts that the clients of a room see what is published.
    pub(super) fn assert_seen(&self, room: &str, what: &str) {
        let (Some(row), present) = (self.row(room), self.present(room)) else { return };
        for (connection, member) in self.members.borrow().iter().filter(|(_, member)| member.room == room) {
            assert!(member.view.is_settled(), "{what}: {connection} in {room} is not settled: {:?}", member.view);
            assert_eq!(
                (member.view.rev(), member.view.count()),
                (row.rev, row.count),
                "{what}: {connection} in {room}"
            );
            assert_eq!(member.view.members().is_some(), row.members.is_some(), "{what}: {connection} in {room}");
            if let Some(seen) = member.view.members() {
                assert_eq!(*seen, present, "{what}: {connection} in {room}");
            }
        }
    }
}

/// The name of a connection, by its number.
pub(super) fn connection(number: u64) -> String {
    format!("connection-{number}=")
}

/// A page of members, as `joined.presence` and `members` have it.
fn page(row: Option<&Row>, after: Option<&str>, limit: u64) -> Value {
    let Some(row) = row else { return json!({ "rev": 0, "count": 0, "members": [] }) };
    let Some(members) = &row.members else { return json!({ "rev": row.rev, "count": row.count }) };
    let rest = members.iter().filter(|(id, _)| after.is_none_or(|after| id.as_str() > after));
    let mut rest = rest.map(|(id, data)| json!({ "id": id, "data": data }));
    let entries: Vec<Value> = rest.by_ref().take(usize::try_from(limit).unwrap()).collect();
    let mut page = json!({ "rev": row.rev, "count": row.count, "members": entries });
    if rest.next().is_some() {
        page["next"] = page["members"].as_array().unwrap().last().unwrap()["id"].clone();
    }
    page
}

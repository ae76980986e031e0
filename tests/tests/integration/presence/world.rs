//! Rooms whose presence is kept, their connections, the queues, and the time: everything but the functions'
//! environments.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use ingest::presence::config::{EventKinds, PresenceSettings};
use ingest::presence::rooms::PresenceRooms;
use serde_json::{Value, json};
use shared::ConnectionId;
use shared::clock::Clock;
use shared::queue::Record;
use shared::room_pattern::RoomPatterns;
use testkit::clock::TestClock;
use testkit::delayed_queue::DelayedQueue;
use testkit::dynamodb::{DynamoDb, Lagging};
use testkit::presence_view::PresenceView;

use super::bus::Witness;

/// The lease, in milliseconds.
pub(super) const LEASE: u64 = 60_000;

/// The delay of ticks, in milliseconds.
pub(super) const DELAY: u64 = 3_000;

/// The time for which a received tick is hidden, in milliseconds.
pub(super) const VISIBILITY: u64 = 90_000;

/// The time between a client's beats, in milliseconds.
pub(super) const BEAT: u64 = 25_000;

/// The most by which a clock is ahead or behind, in milliseconds.
pub(super) const SKEW: i64 = 200;

/// The probabilities of faults.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    /// Ticks that are not sent.
    pub(super) ticks_lost: f64,
    /// Ends of connections that nobody reports.
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
    pub(super) data: Value,
    pub(super) joined_at: u64,
    pub(super) present_until: u64,
    pub(super) is_listed: bool,
    /// Whether its row exists.
    pub(super) has_row: bool,
    pub(super) next_beat: u64,
    pub(super) view: PresenceView,
    /// Frames and answers under way, each with the time of its arrival.
    pub(super) inbox: Vec<(u64, Value)>,
}

/// The published list of a room.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) rev: u64,
    pub(super) count: u64,
    pub(super) everybody: u64,
    pub(super) read_at: u64,
    pub(super) members: Option<BTreeMap<String, Value>>,
    /// Whether events name everybody who comes or goes.
    pub(super) names_everybody: bool,
}

pub(super) struct World {
    pub(super) lagging: Lagging,
    pub(super) clock: TestClock,
    /// The clock of the session's functions.
    pub(super) session_clock: TestClock,
    pub(super) ticks: DelayedQueue,
    pub(super) broadcasts: DelayedQueue,
    pub(super) bus: Witness,
    pub(super) settings: PresenceSettings,
    pub(super) members: RefCell<BTreeMap<String, Member>>,
    pub(super) faults: Cell<Faults>,
    pub(super) random: RefCell<Rng>,
    /// The number of connections so far.
    pub(super) connected: Cell<u64>,
}

/// Seconds for which the queue of ticks keeps them, by the template.
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
            rooms: PresenceRooms {
                listed: patterns("p*,b*"),
                lifecycle: patterns("e*,b*"),
                lease_seconds: LEASE / 1_000,
            },
            events: EventKinds { room: true, member: true },
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

    pub(super) fn chance(&self, share: f64) -> bool {
        self.random.borrow_mut().f64() < share
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().u64(..bound)
    }

    /// The connections in a room.
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

    pub(super) fn put(&self, connection: &str, member: &Member) {
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

    /// Deletes a room's published list if it has expired, sooner than the table's TTL ever does.
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

    /// The published list of a room.
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

    /// The members that should be in a room, by the rows of present connections: each with the data of its newest
    /// connection.
    pub(super) fn present(&self, room: &str) -> BTreeMap<String, Value> {
        let members = self.members.borrow();
        let mut newest: BTreeMap<&str, &Member> = BTreeMap::new();
        for member in members.values().filter(|member| member.room == room && member.has_row) {
            let known = newest.entry(&member.subject).or_insert(member);
            // Of two connections of the same millisecond the one with the greater id counts, which comes later here.
            if known.joined_at <= member.joined_at {
                *known = member;
            }
        }
        newest.into_iter().map(|(subject, member)| (subject.to_owned(), member.data.clone())).collect()
    }

    /// Asserts that a room's published list has exactly the present members.
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
}

/// The name of a connection, by its number.
pub(super) fn connection(number: u64) -> String {
    format!("connection-{number}=")
}

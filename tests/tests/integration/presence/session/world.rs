//! Environments of the session function in a stack whose rooms `chat:*` have presence, `shop:*` lifecycle events, and
//! `both:*` both; and the queue of their ticks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join;
use ingest::beat::Beat;
use ingest::config::SessionLimits;
use ingest::presence::rooms::PresenceRooms;
use ingest::session::SessionFunction;
use ingest::tables::Tables;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::limits::MAX_MESSAGE_BYTES;
use shared::metrics::Metrics;
use shared::metrics::names::{TICKS_LOST, TICKS_SENT};
use shared::queue::{Queue, QueueError, Record};
use shared::room_pattern::RoomPatterns;
use shared::store::{connections::ConnectionTable, log::LogTable, presence::PresenceTable, subjects::SubjectTable};
use testkit::aws_endpoint::{Fault, Hold, Rule};
use testkit::clock::TestClock;
use testkit::dynamodb::{CONNECTIONS_TABLE, DynamoDb, MESSAGES_TABLE};
use testkit::events;

use crate::log::{client, event, nobody_expires};

pub(super) const LEASE: u64 = 1_200;

/// The time in which SQS takes a deduplication id of a group only once, in microseconds.
const DEDUPLICATED: u64 = 5 * 60 * 1_000_000;

/// The tables, the time, the queue and one environment.
pub(super) struct World {
    pub(super) dynamodb: DynamoDb,
    pub(super) clock: TestClock,
    pub(super) queue: TickQueue,
    pub(super) session: Environment,
}

/// An environment of the session function.
pub(super) struct Environment(SessionFunction<TestClock, TickQueue>);

/// The answer to an event.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reply: Value,
    /// Ticks sent, and ticks lost.
    pub(super) ticks: (u64, u64),
}

/// The queue of ticks, which takes each once in five minutes; clones are the same queue.
#[derive(Clone)]
pub(super) struct TickQueue {
    clock: TestClock,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    is_down: Cell<bool>,
    calls: Cell<usize>,
    taken: RefCell<Vec<(u64, Record)>>,
    known: RefCell<HashMap<(String, String), u64>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_lease(LEASE)
    }

    pub(super) fn with_lease(lease_seconds: u64) -> Self {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let queue = TickQueue { clock: clock.clone(), state: Rc::default() };
        let session = Environment::of(&dynamodb, &clock, &queue, lease_seconds);
        Self { dynamodb, clock, queue, session }
    }

    /// Makes a request, and does something while its next call of an operation waits to be carried out.
    pub(super) async fn while_held<T>(
        &self,
        operation: &str,
        request: impl Future<Output = T>,
        something: impl FnOnce(),
    ) -> T {
        let (hold, before, is_over) = (Hold::default(), self.dynamodb.count(operation), Cell::new(false));
        self.dynamodb.fault(Rule::on(operation, Fault::Held(hold.clone())).times(1));
        let request = async {
            let answer = request.await;
            is_over.set(true);
            answer
        };
        let meanwhile = async {
            while self.dynamodb.count(operation) == before {
                assert!(!is_over.get(), "there was no {operation}");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            something();
            hold.release();
        };
        join(request, meanwhile).await.0
    }

    /// Lets time pass to the beginning of the second that is so many seconds after this one.
    pub(super) fn pass(&self, seconds: u64) {
        let into_second = self.clock.unix_micros() % 1_000_000;
        self.clock.advance(Duration::from_micros(seconds * 1_000_000 - into_second));
    }

    pub(super) async fn ask(&self, connection: &str, frame: Value) -> Answer {
        self.session.ask(connection, frame).await
    }

    pub(super) async fn join(&self, connection: &str, room: &str) -> Answer {
        self.ask(connection, json!({ "action": "joinRoom", "roomId": room })).await
    }

    /// Joins to be listed with these data.
    pub(super) async fn enter(&self, connection: &str, room: &str, data: Value) -> Answer {
        self.session.enter(connection, room, data).await
    }

    pub(super) async fn leave(&self, connection: &str, room: &str) -> Answer {
        self.ask(connection, json!({ "action": "leaveRoom", "roomId": room })).await
    }

    pub(super) async fn sync(&self, connection: &str, rooms: &[&str]) -> Answer {
        self.ask(connection, sync_of(rooms)).await
    }

    pub(super) fn row(&self, connection: &str, room: &str) -> Value {
        self.dynamodb.raw_row(connection, room).unwrap_or_default()
    }

    /// Writes a room's published list: a JSON text with the members by name, or their count.
    pub(super) fn publish(&self, room: &str, rev: u64, count: u64, members: Option<&Value>) {
        let mut row = json!({
            "connectionId": format!("presence/{room}"), "roomId": room, "rev": rev, "count": count, "everybody": count,
            "last": "{}", "by": "", "nextAt": 0, "readAt": self.clock.unix_millis(), "connections": count,
            "expiresAt": self.clock.unix_seconds() + 10_800,
        });
        if let Some(members) = members {
            row["members"] = json!(members.to_string());
        }
        self.dynamodb.seed_raw_row(&row);
    }

    /// Writes a log of one message that takes about as many bytes in a frame as a message may take.
    pub(super) fn seed_largest_message(&self, room: &str) {
        let (now, expires_at) = (self.clock.unix_millis(), self.clock.unix_seconds() + 3_600);
        // The entry's names and numbers take some hundred bytes.
        let data = json!("x".repeat(MAX_MESSAGE_BYTES - 120)).to_string();
        self.dynamodb.seed_log([json!({
            "roomId": room, "seq": 1, "id": "m", "from": "bob", "sentAt": now, "data": data, "appendedAt": now,
            "expiresAt": expires_at,
        })]);
        self.dynamodb.seed_head(room, 1, now, expires_at);
    }

    /// The rooms of the ticks that the queue has taken since it was last asked, in order.
    pub(super) fn ticked(&self) -> Vec<String> {
        self.queue.state.taken.borrow_mut().drain(..).map(|(_, record)| record.group_id).collect()
    }
}

impl Environment {
    pub(super) fn of(dynamodb: &DynamoDb, clock: &TestClock, queue: &TickQueue, lease_seconds: u64) -> Self {
        let limits = SessionLimits { rooms: 100, connections: None, requests: 0, room_joins: 0 };
        Self::with_limits(limits, dynamodb, clock, (queue, lease_seconds))
    }

    pub(super) fn with_limits(
        limits: SessionLimits,
        dynamodb: &DynamoDb,
        clock: &TestClock,
        (queue, lease_seconds): (&TickQueue, u64),
    ) -> Self {
        let client = client(dynamodb);
        let tables = Tables {
            connections: ConnectionTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
            subjects: SubjectTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
            presence: PresenceTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
            log: LogTable::new(client, MESSAGES_TABLE, clock.clone()),
        };
        let beat = Beat::new(30_000..=540_000, Rng::with_seed(1));
        let function =
            SessionFunction::new(tables, nobody_expires(), limits, clock.clone(), 3_600, beat, Rng::with_seed(2));
        let rooms = PresenceRooms {
            listed: RoomPatterns::parse("chat:*,both:*").unwrap(),
            lifecycle: RoomPatterns::parse("shop:*,both:*").unwrap(),
            lease_seconds,
        };
        Self(function.with_presence(rooms, Some(queue.clone())))
    }

    pub(super) async fn handle(&self, socket_event: Value) -> Answer {
        let metrics = Metrics::default();
        let response = self.0.handle(event(socket_event), &metrics).await.unwrap();
        let reply = response.body.map(|body| serde_json::from_str(&body).unwrap()).unwrap_or_default();
        let ticks = (metrics.count(TICKS_SENT), metrics.count(TICKS_LOST));
        Answer { status: response.status_code, reply, ticks }
    }

    /// Sends a frame of a connection, whose subject is the beginning of its name: `ann-1=` is one of Ann's.
    pub(super) async fn ask(&self, connection: &str, frame: Value) -> Answer {
        self.handle(events::frame(connection, subject(connection), &frame.to_string())).await
    }

    /// Like [`Self::ask`], but returns the reply as text.
    pub(super) async fn text_of(&self, connection: &str, frame: Value) -> String {
        let asked = event(events::frame(connection, subject(connection), &frame.to_string()));
        self.0.handle(asked, &Metrics::default()).await.unwrap().body.unwrap()
    }

    pub(super) async fn enter(&self, connection: &str, room: &str, data: Value) -> Answer {
        let frame = json!({ "action": "joinRoom", "roomId": room, "presence": true, "presenceData": data });
        self.ask(connection, frame).await
    }

    pub(super) async fn connect(&self, connection: &str, room: &str) -> Answer {
        self.handle(events::connect(connection, subject(connection), Some(room))).await
    }

    pub(super) async fn disconnect(&self, connection: &str) -> Answer {
        self.handle(events::disconnect(connection, subject(connection))).await
    }
}

fn subject(connection: &str) -> &str {
    connection.split('-').next().unwrap()
}

pub(super) fn sync_of(rooms: &[&str]) -> Value {
    let rooms: serde_json::Map<_, _> = rooms.iter().map(|room| ((*room).to_owned(), json!(0))).collect();
    json!({ "action": "sync", "rooms": rooms })
}

impl TickQueue {
    /// Sets whether the queue refuses everything.
    pub(super) fn set_down(&self, is_down: bool) {
        self.state.is_down.set(is_down);
    }

    pub(super) fn calls(&self) -> usize {
        self.state.calls.get()
    }

    /// The ticks that the queue has taken, each with its time in microseconds since the Unix epoch.
    pub(super) fn taken(&self) -> Vec<(u64, Record)> {
        self.state.taken.borrow().clone()
    }
}

impl Queue for TickQueue {
    async fn send(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
        let State { is_down, calls, taken, known } = &*self.state;
        calls.set(calls.get() + records.len().div_ceil(10));
        if is_down.get() {
            let error = QueueError::Unavailable { operation: "SendMessageBatch", reason: "down".to_owned() };
            return vec![Err(error); records.len()];
        }
        for record in records {
            let (now, id) = (self.clock.unix_micros(), (record.group_id.clone(), record.deduplication_id.clone()));
            let is_known = known.borrow().get(&id).is_some_and(|at| at + DEDUPLICATED > now);
            if !is_known {
                known.borrow_mut().insert(id, now);
                taken.borrow_mut().push((now, record.clone()));
            }
        }
        vec![Ok(()); records.len()]
    }

    async fn postpone(&self, _: &[String], _: u32) -> Vec<Result<(), QueueError>> {
        unreachable!("who sends ticks does not receive them")
    }

    async fn delete(&self, _: &[String]) -> Vec<Result<(), QueueError>> {
        unreachable!("who sends ticks does not receive them")
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        unreachable!("nobody asks for the depth of the queue of ticks")
    }
}

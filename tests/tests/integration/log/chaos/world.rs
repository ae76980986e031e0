//! Everything that is not a client: tables, queue, functions, the network, the time, and the faults.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use ingest::admission::Admission;
use ingest::congestion::TableAndQueue;
use ingest::message::MessageFunction;
use ingest::routes::send_message::SendMessage;
use ingest::shares::MessageRates;
use serde_json::{Value, json};
use shared::ConnectionId;
use shared::clock::Clock;
use shared::metrics::Metrics;
use shared::order::Rank;
use shared::queue::ephemeral::EphemeralQueue;
use shared::room_pattern::RoomPatterns;
use shared::store::congestion::CongestionTable;
use testkit::clock::TestClock;
use testkit::connections_server::{ConnectionsServer, Script, Scripted};
use testkit::dynamodb::{CONGESTION_TABLE, DynamoDb};
use testkit::events;
use testkit::fifo_queue::FifoQueue;

use crate::log::session::{Session, event, nobody_expires};
use crate::log::writer::client;

pub(super) const ROOMS: [&str; 2] = ["a", "b"];

/// The time for which messages are kept, in seconds.
pub(super) const RETENTION: u64 = 900;

/// The share of posts that go wrong while there are faults.
const BAD_POSTS: f64 = 0.2;

/// The share of jobs that the shard queue does not take, each time that they are sent, while there are faults.
const REFUSED_JOBS: f64 = 0.2;

pub(super) struct World {
    pub(super) dynamodb: DynamoDb,
    pub(super) dynamodb_client: aws_sdk_dynamodb::Client,
    pub(super) clock: TestClock,
    pub(super) connections: ConnectionsServer,
    pub(super) queue: FifoQueue,
    pub(super) shard_queue: FifoQueue,
    pub(super) dead_letters: FifoQueue,
    pub(super) session: Session,
    message: MessageFunction<FifoQueue, EphemeralQueue, TableAndQueue<FifoQueue>, TestClock>,
    /// Whether rooms are cut into shards now and then.
    pub(super) has_shards: bool,
    /// Whether a batch's visibility may expire while a consumer is still at work on it. Deployed, it outlasts the
    /// invocation; with two consumers of one group nobody can keep the order.
    pub(super) batches_expire: bool,
    logs: RefCell<BTreeMap<&'static str, BTreeMap<u64, Row>>>,
    accepted: RefCell<BTreeSet<(String, String)>>,
    /// The frames posted to each connection, in the order in which the posts were made.
    pub(super) posts: RefCell<BTreeMap<ConnectionId, Vec<Bytes>>>,
    /// Held by each consumer that has a batch.
    working: Rc<()>,
    faulty: Cell<bool>,
    closed: Cell<bool>,
    connected: Cell<u32>,
}

/// A row of a log, which is kept when the table has deleted it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) key: Option<String>,
    pub(super) version: Option<u64>,
    pub(super) expires_at: u64,
}

impl World {
    pub(super) fn new(random: &mut Rng) -> Self {
        let (dynamodb, clock, queue) = (DynamoDb::start(), TestClock::start(), FifoQueue::default());
        dynamodb.any_in_part(random.fork());
        let dynamodb_client = client(&dynamodb);
        let table = CongestionTable::new(dynamodb_client.clone(), CONGESTION_TABLE);
        let source = TableAndQueue { table, queue: queue.clone() };
        let rates = MessageRates { subject_messages: 0, subject_bytes: 0, room_messages: 0, room_bytes: 0 };
        let admission = Admission::new(source, rates, 0, random.fork());
        let state_rooms = RoomPatterns::default();
        let send_message = SendMessage { sink: queue.clone(), admission, state_rooms, ephemerals: None };
        Self {
            session: Session::with_state("*", dynamodb_client.clone(), &clock),
            message: MessageFunction::new(send_message, nobody_expires(), clock.clone()),
            connections: ConnectionsServer::start(),
            has_shards: random.bool(),
            batches_expire: random.u32(..5) == 0,
            shard_queue: FifoQueue::refusing(REFUSED_JOBS, random.fork()),
            logs: RefCell::default(),
            accepted: RefCell::default(),
            posts: RefCell::default(),
            working: Rc::default(),
            faulty: Cell::new(true),
            closed: Cell::new(false),
            connected: Cell::new(0),
            dynamodb,
            dynamodb_client,
            clock,
            queue,
            dead_letters: FifoQueue::default(),
        }
    }

    pub(super) fn is_faulty(&self) -> bool {
        self.faulty.get()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Lets the consumers end: no more work comes.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// A new connection, whose posts go wrong now and then.
    pub(super) fn connect(&self, random: &mut Rng) -> String {
        self.connected.set(self.connected.get() + 1);
        let connection = format!("connection-{}=", self.connected.get());
        let script = if self.is_faulty() { bad_network(random) } else { Script::always(Scripted::ok()) };
        self.connections.script(&connection, script);
        connection
    }

    /// Answers 410 to all later posts to a connection.
    pub(super) fn cut(&self, connection: &str) {
        self.connections.script(connection, Script::always(Scripted::gone()));
    }

    /// Stops all faults but those of the open connections, which last until [`Self::mend`].
    pub(super) fn stop_faults(&self) {
        self.faulty.set(false);
        self.dynamodb.none_in_part();
        self.shard_queue.refuse_nothing();
    }

    pub(super) fn mend(&self, connection: &str) {
        self.connections.script(connection, Script::always(Scripted::ok()));
    }

    /// Sends a message through the `message` function, which may refuse it for now.
    pub(super) async fn send(&self, connection: &str, subject: &str, frame: &Value) {
        let frame = event(events::frame(connection, subject, &frame.to_string()));
        let response = self.message.handle(frame, &Metrics::default()).await.unwrap();
        let reply: Value = serde_json::from_str(&response.body.unwrap()).unwrap();
        if reply["code"] == "rate_limited" {
            // The message's room falls behind: time jumps here, and hardly anything is drained while there are faults.
            assert!(reply["retryAfterMs"].is_u64(), "{reply}");
            return;
        }
        assert_eq!(reply["type"], "accepted", "{reply}");
        let text = |name: &str| reply[name].as_str().unwrap().to_owned();
        self.accepted.borrow_mut().insert((text("roomId"), text("id")));
    }

    /// Room and id of every message that was accepted.
    pub(super) fn accepted(&self) -> BTreeSet<(String, String)> {
        self.accepted.borrow().clone()
    }

    /// Until it is dropped, a consumer counts as at work.
    pub(super) fn at_work(&self) -> Rc<()> {
        Rc::clone(&self.working)
    }

    /// Waits until nothing is left to be done, nor being done: a consumer may be at work on a batch that has expired
    /// and that another one has finished.
    pub(super) async fn wait_until_silent(&self) {
        let silent = async {
            while !self.queue.is_empty() || !self.shard_queue.is_empty() || Rc::strong_count(&self.working) > 1 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(300), silent).await.expect("the queue is drained within minutes");
        // The calls of consumers that were killed come to their end before time is made to pass.
        self.dynamodb.endpoint().settled().await;
        self.observe();
    }

    /// Lets some time pass, unless the table shows an append in part: that is a matter of moments.
    pub(super) fn advance(&self, time: Duration) {
        if self.dynamodb.is_whole() {
            self.clock.advance(time);
        }
    }

    /// Lets time pass in which nothing is sent, often so much that the logs end.
    pub(super) fn stay_silent(&self, random: &mut Rng) {
        let seconds = match random.u32(..3) {
            0 => random.u64(1..RETENTION),
            1 => random.u64(RETENTION - 5..=RETENTION + 5),
            _ => random.u64(RETENTION..2 * RETENTION),
        };
        self.clock.advance(Duration::from_secs(seconds));
        let share = random.f64();
        for room in ROOMS {
            self.dynamodb.delete_expired(room, self.clock.unix_seconds(), share, random);
        }
    }

    /// Notes what is in the logs.
    pub(super) fn observe(&self) {
        let mut logs = self.logs.borrow_mut();
        for room in ROOMS {
            let log = logs.entry(room).or_default();
            for row in self.dynamodb.log(room) {
                let text = |name: &str| row[name].as_str().map(str::to_owned);
                let noted = Row {
                    id: text("id").unwrap(),
                    key: text("key"),
                    version: row["version"].as_u64(),
                    expires_at: row["expiresAt"].as_u64().unwrap(),
                };
                log.insert(row["seq"].as_u64().unwrap(), noted);
            }
        }
    }

    /// Asserts that a room's state has, for each key, the greatest message up to the number that is told with it, or a
    /// greater one.
    pub(super) async fn check_state(&self, room: &str, subject: &str) {
        let frame = json!({ "action": "getState", "roomId": room });
        let reply = self.session.request("reader=", subject, &frame).await;
        assert_eq!(reply["type"], "state", "{reply}");
        self.observe();
        let (log, head) = (self.log(room), reply["seq"].as_u64().unwrap());
        let told = reply["entries"].as_array().unwrap().iter();
        let told: BTreeMap<_, _> =
            told.map(|entry| (entry["key"].as_str().unwrap(), entry["seq"].as_u64().unwrap())).collect();
        let rank = |seq: u64| Rank::of(log[&seq].version, seq);
        for (seq, row) in log.range(..=head) {
            let Some(key) = row.key.as_deref() else { continue };
            let entry = told.get(key).unwrap_or_else(|| panic!("{room} lacks {key}, {seq} as of {head}"));
            assert_eq!(log[entry].key.as_deref(), Some(key), "{entry} of {room} is of another key");
            assert!(rank(*entry) >= rank(*seq), "{room} has {entry} of {key}, and {seq} is greater, as of {head}");
        }
        assert!(reply.get("next").is_none() && told.values().all(|seq| log[seq].key.is_some()), "{reply}");
    }

    /// Everything that ever was in a room's log, as far as it has been noted.
    pub(super) fn log(&self, room: &str) -> BTreeMap<u64, Row> {
        self.logs.borrow().get(room).cloned().unwrap_or_default()
    }

    /// The time at which an entry expires, in seconds, if it was ever noted.
    pub(super) fn expiry(&self, room: &str, seq: u64) -> Option<u64> {
        self.logs.borrow().get(room)?.get(&seq).map(|row| row.expires_at)
    }
}

fn bad_network(random: &mut Rng) -> Script {
    let outcome = |random: &mut Rng| match random.u32(..6) {
        _ if random.f64() >= BAD_POSTS => Scripted::ok().after(Duration::from_millis(random.u64(..4))),
        0 => Scripted::hang(),
        1 => Scripted::reset(),
        2 => Scripted::throttled(),
        3 => Scripted::unavailable(),
        _ => Scripted::internal_error(),
    };
    Script::queue((0..100).map(|_| outcome(random)).collect::<Vec<_>>())
}

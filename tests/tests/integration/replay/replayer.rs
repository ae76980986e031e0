//! Takes the steps of a path in the model and with the real function, side by side, and compares after each.

use std::time::Duration;

use fanout::connections_api::Outcome;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::store::log::{LogTable, ProgressOf};
use shared::{ConnectionId, RoomId};
use stateright::Model;
use testkit::application::RoomView;
use testkit::clock::TestClock;
use testkit::dynamodb::{ConnectionRow, DynamoDb, MESSAGES_TABLE};
use testkit::events::QueueRecord;

use super::broadcast::world::{Age, Content, Phase, Place, Progress, Record, World};
use super::broadcast::{Action, Scenario, Set};
use super::environment::Environment;
use super::gate::Call;
use crate::log::{Session, client};

const ROOM: &str = "room";

/// An age beyond the queue's deduplication window, in milliseconds.
const OLD: u64 = 10 * 60 * 1_000;

/// The real time after which an environment that makes no call counts as stuck.
const STUCK: Duration = Duration::from_secs(120);

pub(super) struct Replayer {
    scenario: Scenario,
    world: World,
    dynamodb: DynamoDb,
    clock: TestClock,
    session: Session,
    log: LogTable<TestClock>,
    /// The connections, in the order of their slots.
    connections: Vec<ConnectionId>,
    clients: Vec<Client>,
    /// The consumers at work, in the model's order.
    at_work: Vec<Environment>,
}

/// A client, and the messages that it has got.
struct Client {
    view: RoomView,
    /// Numbers of the model.
    has: Set,
}

impl Replayer {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let tables = client(&dynamodb);
        let world = scenario.init_states().remove(0);
        let mut connections: Vec<_> =
            (0..scenario.connections.len()).map(|number| ConnectionId::new(&format!("c{number}="))).collect();
        connections.sort_by_key(ConnectionId::slot);
        let members = connections.iter().zip(&scenario.connections).filter(|(_, is_in)| **is_in);
        dynamodb.seed(members.map(|(connection, _)| ConnectionRow::new(connection.as_str(), ROOM)));
        let new_client = |is_in: &bool| {
            let mut view = RoomView::new(ROOM);
            if *is_in {
                // The client joined when the log was empty.
                view.page(None, &json!({ "seq": 0, "messages": [], "more": false, "truncated": false }));
            }
            Client { view, has: Set::NONE }
        };
        Self {
            clients: scenario.connections.iter().map(new_client).collect(),
            session: Session::with_state("none", tables.clone(), &clock),
            log: LogTable::new(tables, MESSAGES_TABLE, clock.clone()),
            scenario: scenario.clone(),
            world,
            dynamodb,
            clock,
            connections,
            at_work: Vec::new(),
        }
    }

    /// Takes a step in the model and with the real function, and compares the two.
    pub(super) async fn step(&mut self, action: Action) {
        let before = self.world.clone();
        let mut after = before.clone();
        self.scenario.act(&mut after, action);
        self.take(action, &before, &after).await;
        if after.consumers.len() < self.at_work.len() {
            // The consumer was killed, has answered, or was stopped after its hold had ended.
            self.at_work.remove(consumer_of(action).expect("a consumer is gone"));
        }
        // The consumers at work are kept in the model's order.
        let mut pairs: Vec<_> = after.consumers.drain(..).zip(self.at_work.drain(..)).collect();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        (after.consumers, self.at_work) = pairs.into_iter().unzip();
        self.world = after;
        self.compare(action).await;
    }

    async fn take(&mut self, action: Action, before: &World, after: &World) {
        match action {
            Action::Receive { queue, from, records } => {
                let batch: Vec<_> =
                    before.queues[queue][from..from + records].iter().map(|record| self.record(*record)).collect();
                self.at_work.push(Environment::start(&self.dynamodb, &self.clock, &batch));
                self.settle(self.at_work.len() - 1).await;
            }
            Action::Append { consumer, .. } => {
                if self.at_work[consumer].waiting() == Some(Call::Append) {
                    self.at_work[consumer].pass(Outcome::Delivered);
                    if after.log == before.log {
                        self.sit_out_the_conflict(consumer).await;
                    }
                    self.settle(consumer).await;
                } else {
                    assert_eq!(after.log, before.log, "nothing is appended");
                }
            }
            Action::Post { consumer, delivery } => self.post(before, (consumer, delivery), Fate::Arrives).await,
            Action::Miss { consumer, delivery } => self.post(before, (consumer, delivery), Fate::Fails).await,
            Action::FalseGone { consumer, delivery } => self.post(before, (consumer, delivery), Fate::Gone).await,
            Action::TimeIsUp { consumer } => {
                while matches!(self.at_work[consumer].waiting(), Some(Call::Post(..))) {
                    tokio::time::advance(Duration::from_millis(20)).await;
                }
                self.settle(consumer).await;
            }
            Action::Save { consumer } => {
                assert_eq!(self.at_work[consumer].waiting(), Some(Call::Save));
                self.at_work[consumer].pass(Outcome::Delivered);
                self.settle(consumer).await;
            }
            Action::Return { consumer } => {
                assert!(self.at_work[consumer].has_answered(), "waits for {:?}", self.at_work[consumer].waiting());
                let failed = self.at_work[consumer].answer().await;
                let deleted = before.queues[0].len() - after.queues[0].len();
                let left: Vec<_> =
                    before.consumers[consumer].batch[deleted..].iter().map(|record| id(*record)).collect();
                assert_eq!(failed, left, "what comes back");
            }
            Action::Joined { connection } => self.join(before, connection).await,
            Action::Sync { connection } => self.sync(connection).await,
            Action::Leave { connection } => {
                self.dynamodb.delete_row(self.connections[connection].as_str(), ROOM);
            }
            Action::Join { .. }
            | Action::Cut { .. }
            | Action::Crash { .. }
            | Action::Expire { .. }
            | Action::DeadLetter { .. }
            | Action::Redrive { .. } => {}
            other => panic!("is not replayed: {other:?}"),
        }
    }

    fn record(&self, record: Record) -> QueueRecord {
        let queued_at = self.clock.unix_millis() - if record.age == Age::Old { OLD } else { 0 };
        let id = id(record);
        let body = json!({ "v": 1, "roomId": ROOM, "id": id, "from": "alice", "sentAt": queued_at, "data": 1 });
        let receives = if record.age == Age::Again { 2 } else { 1 };
        QueueRecord::new(&id, ROOM, body).queued_at(queued_at).received(receives)
    }

    /// Lets an environment go on to its next call, or to its answer.
    async fn settle(&self, consumer: usize) {
        let at_work = &self.at_work[consumer];
        self.until(|| at_work.waiting().is_some() || at_work.has_answered()).await;
    }

    /// Waits in real time; the clock of the functions stands still.
    async fn until(&self, is_so: impl Fn() -> bool) {
        let begun = std::time::Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < STUCK, "an environment is stuck in {:?}", self.world);
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
        }
    }

    /// Waits while an append whose numbers were taken pauses and reads what others have appended.
    async fn sit_out_the_conflict(&self, consumer: usize) {
        let at_work = &self.at_work[consumer];
        let is_answered = || at_work.endpoint.calls().iter().rev().any(|call| call.status == Some(400));
        self.until(is_answered).await;
        // The answer may take a while on a busy machine, so the real time between checks grows; little of the
        // functions' time may pass, or the invocation's time would be up.
        let mut pause = Duration::from_millis(2);
        while at_work.waiting().is_none() && !at_work.has_answered() {
            assert!(pause < STUCK, "an environment is stuck after a conflict in {:?}", self.world);
            tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await.unwrap();
            tokio::time::advance(Duration::from_millis(15)).await;
            pause = pause * 9 / 8;
        }
    }

    async fn post(&mut self, before: &World, (consumer, delivery): (usize, usize), fate: Fate) {
        let Phase::Post(step) = &before.consumers[consumer].phase else { panic!("posts nothing") };
        let delivery = step.open[delivery];
        let slot = usize::from(delivery.slot);
        let Some(Call::Post(connection, body)) = self.at_work[consumer].waiting() else {
            panic!("{:?} instead of a post", self.at_work[consumer].waiting())
        };
        assert_eq!(connection, self.connections[slot], "whose turn it is");
        let frame: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(self.numbers(&frame), delivery.left, "what is posted");
        let fate = if before.connections[slot].place == Place::Cut { Fate::Gone } else { fate };
        match fate {
            Fate::Arrives => {
                self.at_work[consumer].pass(Outcome::Delivered);
                let numbers = self.numbers(&frame);
                let client = &mut self.clients[slot];
                client.has = client.has.with(numbers);
                client.view.broadcast(&frame);
            }
            Fate::Fails => self.at_work[consumer].pass(Outcome::Rejected),
            Fate::Gone => {
                self.at_work[consumer].pass(Outcome::Gone);
                // The connection is posted to once more, after a second.
                let at_work = &self.at_work[consumer];
                while at_work.waiting().is_none() {
                    tokio::task::yield_now().await;
                    tokio::time::advance(Duration::from_millis(20)).await;
                }
                assert!(matches!(at_work.waiting(), Some(Call::Post(again, _)) if again == connection));
                at_work.pass(Outcome::Gone);
                // The function deletes the row when its invocation ends.
                self.dynamodb.delete_row(connection.as_str(), ROOM);
            }
        }
        self.settle(consumer).await;
    }

    /// The model's numbers of a frame's or a page's messages.
    fn numbers(&self, frame: &Value) -> Set {
        let messages = frame["messages"].as_array().unwrap().iter();
        messages.map(|message| self.number(message["seq"].as_u64().unwrap())).collect()
    }

    /// The model's number of a real one, which begins with the time: the log's first entry is 1, and all below it is 0.
    fn number(&self, seq: u64) -> u8 {
        let first = self.dynamodb.log(ROOM).first().and_then(|row| row["seq"].as_u64()).unwrap_or(u64::MAX);
        (seq + 1).saturating_sub(first).try_into().unwrap_or(u8::MAX)
    }

    async fn join(&mut self, before: &World, connection: usize) {
        let is_first = before.connections[connection].place == Place::Joining { first: true };
        let after = if is_first { None } else { self.clients[connection].view.ask() };
        let mut frame = json!({ "action": "joinRoom", "roomId": ROOM });
        if let Some(after) = after {
            frame["after"] = json!(after);
        }
        let id = self.connections[connection].as_str().to_owned();
        let page = self.session.request(&id, "alice", &frame).await;
        assert_eq!(page["type"], "joined", "{page}");
        self.take_page(connection, after, &page);
    }

    async fn sync(&mut self, connection: usize) {
        // A session's environment remembers a head for a short time only.
        self.clock.advance(Duration::from_secs(1));
        let after = self.clients[connection].view.ask().expect("it has joined");
        let frame = json!({ "action": "sync", "rooms": { ROOM: after } });
        let id = self.connections[connection].as_str().to_owned();
        let reply = self.session.request(&id, "alice", &frame).await;
        assert_eq!(reply["type"], "synced", "{reply}");
        let page = reply["rooms"][ROOM].clone();
        self.take_page(connection, Some(after), &page);
    }

    fn take_page(&mut self, connection: usize, after: Option<u64>, page: &Value) {
        assert_eq!(page["more"], false, "{page}");
        let numbers = self.numbers(page);
        let client = &mut self.clients[connection];
        client.has = client.has.with(numbers);
        client.view.page(after, page);
    }

    /// Asserts that the log, the row of progress, and what the clients have are those of the model.
    async fn compare(&self, action: Action) {
        let rows = self.dynamodb.log(ROOM);
        let first = rows.first().and_then(|row| row["seq"].as_u64()).unwrap_or_default();
        assert!((first..).zip(&rows).all(|(seq, row)| row["seq"] == seq), "numbers are consecutive: {rows:?}");
        let entry =
            |row: &Value| (row["id"].as_str().unwrap().to_owned(), self.number(row["floor"].as_u64().unwrap_or(0)));
        let real: Vec<_> = rows.iter().map(entry).collect();
        let model: Vec<_> = self.world.log.iter().map(|entry| (format!("m{}", entry.message), entry.floor)).collect();
        assert_eq!(real, model, "the log after {action:?}");
        assert_eq!(self.progress().await, self.world.rows[0], "progress after {action:?}");
        for (slot, (client, model)) in self.clients.iter().zip(&self.world.connections).enumerate() {
            assert_eq!(client.has, model.seen, "what connection {slot} has after {action:?}");
        }
    }

    async fn progress(&self) -> Progress {
        let room = RoomId::parse(ROOM).unwrap();
        let Some(row) = self.log.progress(&room, ProgressOf::Room).await.unwrap() else { return Progress::default() };
        let slot_of = |slot: u16| self.connections.iter().filter(|connection| connection.slot() < slot).count();
        let slot = |slot: u16| u8::try_from(slot_of(slot)).unwrap();
        Progress {
            done: self.number(row.done),
            up_to: self.number(row.up_to),
            slot: slot(row.slot),
            missing: row.missing.iter().map(|missing| slot(*missing)).collect(),
        }
    }

    /// Ends the path: after one more `sync` every client in the room has everything, in order and once.
    pub(super) async fn converge(mut self) {
        assert!(self.world.is_quiet(), "{:?}", self.world);
        for connection in 0..self.clients.len() {
            if self.world.connections[connection].place != Place::In {
                continue;
            }
            self.sync(connection).await;
            let Client { view, has } = &self.clients[connection];
            assert!(!view.is_incomplete() && view.gives_up().is_empty(), "{view:?}");
            let seen: Vec<u64> = view.seen().iter().map(|seen| seen.seq).collect();
            assert!(seen.windows(2).all(|two| two[0] + 1 == two[1]), "{seen:?}");
            let owed = self.world.connections[connection].lacks(self.world.head());
            assert_eq!(owed.without(*has), Set::NONE, "what connection {connection} lacks");
        }
    }

    pub(super) fn world(&self) -> &World {
        &self.world
    }
}

/// The fate of a post.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    Fails,
    Gone,
}

fn id(record: Record) -> String {
    match record.content {
        Content::Message(message) => format!("m{message}"),
        Content::Job { .. } => panic!("no jobs here"),
    }
}

fn consumer_of(action: Action) -> Option<usize> {
    match action {
        Action::Append { consumer, .. }
        | Action::Post { consumer, .. }
        | Action::Miss { consumer, .. }
        | Action::FalseGone { consumer, .. }
        | Action::TimeIsUp { consumer }
        | Action::Save { consumer }
        | Action::Return { consumer }
        | Action::Crash { consumer }
        | Action::Expire { consumer, .. } => Some(consumer),
        _ => None,
    }
}

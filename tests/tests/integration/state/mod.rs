//! The rooms' state: written after the log, read with it, on an embedded DynamoDB through the real SDK.

mod cost_model;
mod costs;
mod failures;
mod log_tells;
mod order;
mod pages;
mod properties;
mod view;

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use fanout::log::{AppendError, Batch, StateWork};
use fanout::state::StateWriter;
use serde_json::value::RawValue;
use shared::clock::Clock;
use shared::metrics::Metrics;
use shared::room_pattern::RoomPatterns;
use shared::store::log::Layout;
use shared::store::state::StateTable;
use shared::{LoggedMessage, Message, RoomId};
use testkit::clock::TestClock;
use testkit::dynamodb::{DynamoDb, STATE_TABLE};

use crate::log::{Session, Writer, batch_of as batch, client, redelivered, writer_over};

/// The room that has state, and how long its log keeps messages, in seconds.
const ROOM: &str = "fx";
const RETENTION: u64 = 3_600;

/// The tables, with the time.
struct Tables {
    dynamodb: DynamoDb,
    client: Client,
    clock: TestClock,
}

impl Tables {
    fn new() -> Self {
        let dynamodb = DynamoDb::start();
        Self { client: client(&dynamodb), dynamodb, clock: TestClock::start() }
    }

    fn state(&self) -> StateTable<TestClock> {
        StateTable::new(self.client.clone(), STATE_TABLE, self.clock.clone())
    }

    /// An environment of `fanout`, cold.
    fn environment(&self) -> Environment {
        self.environment_of("*", None)
    }

    fn environment_of(&self, rooms: &str, ttl_seconds: Option<u64>) -> Environment {
        let rooms = RoomPatterns::parse(rooms).unwrap();
        let log = writer_over(self.client.clone(), &self.clock, RETENTION).with_state_rooms(rooms.clone());
        let retention = Duration::from_secs(RETENTION);
        Environment { log, state: StateWriter::new(self.state(), rooms, ttl_seconds, retention) }
    }

    /// An environment of `session`, which has read nothing yet.
    fn session(&self) -> Session {
        Session::with_state("*", self.client.clone(), &self.clock)
    }

    fn message(&self, id: &str, key: &str) -> Message {
        Message { key: Some(key.to_owned()), ..self.plain(id) }
    }

    fn versioned(&self, id: &str, key: &str, version: u64) -> Message {
        Message { version: Some(version), ..self.message(id, key) }
    }

    fn removal(&self, id: &str, key: &str, version: Option<u64>) -> Message {
        Message { version, remove: true, data: data("null"), ..self.message(id, key) }
    }

    /// A message without a key. Its data is its id.
    fn plain(&self, id: &str) -> Message {
        Message::new(room(), id, "eu", self.clock.unix_millis(), data(&format!("{id:?}")))
    }
}

fn room() -> RoomId {
    RoomId::parse(ROOM).unwrap()
}

fn data(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// The work of `fanout` on a batch, without the posts.
struct Environment {
    log: Writer,
    state: StateWriter<TestClock>,
}

/// A batch that is in the log, and that may not be in state yet.
struct Appended {
    room: RoomId,
    messages: Vec<LoggedMessage>,
    work: Option<StateWork>,
}

impl Environment {
    async fn append(&self, batch: &Batch) -> Result<Appended, AppendError> {
        let mut batch = batch.clone();
        self.state.complete(&mut batch);
        let room = batch.messages[0].room.clone();
        let tail = self.log.tail(&room, &batch).await?;
        let logged = self.log.append(&room, &batch, tail, |_| Layout::Direct).await?;
        Ok(Appended { room, messages: logged.messages, work: logged.state })
    }

    async fn apply(&self, appended: Appended) -> Result<(), AppendError> {
        let Appended { room, messages, work } = appended;
        Ok(self.state.apply(&self.log, &room, work, &messages, &Metrics::default()).await?)
    }

    /// Brings a batch into log and state; returns its numbers.
    async fn bring(&self, batch: &Batch) -> Result<Vec<u64>, AppendError> {
        let appended = self.append(batch).await?;
        let numbers = appended.messages.iter().map(|logged| logged.seq).collect();
        self.apply(appended).await?;
        Ok(numbers)
    }
}

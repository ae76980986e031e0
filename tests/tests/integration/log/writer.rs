//! Writers of the log as different Lambda environments have them, and messages for them.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::{RetryConfig, RetryPartition};
use fanout::log::{AppendError, Batch, LogWriter};
use serde_json::value::RawValue;
use shared::clock::Clock;
use shared::store::log::{Layout, LogTable};
use shared::{LoggedMessage, Message, RoomId};
use testkit::aws_sdk;
use testkit::clock::TestClock;
use testkit::dynamodb::{DynamoDb, MESSAGES_TABLE};

/// A writer of logs, with a cache of its own: a Lambda environment.
pub(crate) type Writer = LogWriter<TestClock>;

pub(super) const ROOM: &str = "room";

/// A client as the functions have it, except that it waits less before it tries again. Its budget of retries is its
/// own: by default the SDK keeps one for each service and region of a process, which other tests' failing calls would
/// use up.
pub(crate) fn client(dynamodb: &DynamoDb) -> Client {
    let retries = RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(5));
    Client::from_conf(
        aws_sdk_dynamodb::Config::from(&aws_sdk::sdk_config(&dynamodb.url()))
            .to_builder()
            .retry_config(retries)
            .retry_partition(RetryPartition::new(dynamodb.url()))
            .build(),
    )
}

pub(super) fn writer(dynamodb: &DynamoDb, clock: &TestClock, retention_seconds: u64) -> Writer {
    writer_over(client(dynamodb), clock, retention_seconds)
}

/// A writer over a client that others use too: making a client takes longer than most tests' calls.
pub(crate) fn writer_over(client: Client, clock: &TestClock, retention_seconds: u64) -> Writer {
    let store = LogTable::new(client, MESSAGES_TABLE, clock.clone());
    LogWriter::new(store, clock.clone(), Duration::from_secs(retention_seconds))
}

/// The log table, with its surroundings.
pub(super) struct Log {
    pub(super) dynamodb: DynamoDb,
    pub(super) clock: TestClock,
    pub(super) table: LogTable<TestClock>,
}

impl Log {
    pub(super) fn new() -> Self {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let table = LogTable::new(client(&dynamodb), MESSAGES_TABLE, clock.clone());
        Self { dynamodb, clock, table }
    }
}

pub(super) fn room() -> RoomId {
    RoomId::parse(ROOM).unwrap()
}

/// A message that is accepted now.
pub(super) fn message(id: &str, clock: &TestClock) -> Message {
    Message::new(room(), id, "alice", clock.unix_millis(), RawValue::from_string("1".to_owned()).unwrap())
}

pub(super) fn batch(ids: &[&str], clock: &TestClock) -> Batch {
    batch_of(ids.iter().map(|id| message(id, clock)).collect())
}

/// A batch that the queue delivers for the first time.
pub(crate) fn batch_of(messages: Vec<Message>) -> Batch {
    let oldest = messages.iter().map(|message| message.sent_at).min().unwrap_or_default();
    Batch { messages, redelivered: false, oldest }
}

pub(crate) fn redelivered(batch: &Batch) -> Batch {
    Batch { redelivered: true, ..batch.clone() }
}

pub(super) async fn append(writer: &Writer, batch: &Batch) -> Result<Vec<LoggedMessage>, AppendError> {
    let tail = writer.tail(&room(), batch).await?;
    let logged = writer.append(&room(), batch, tail, |_| Layout::Direct).await?;
    Ok(logged.messages)
}

/// Appends as `fanout` does, which notes the head as well. Returns the numbers, in the order of the log.
pub(super) async fn append_with_head(writer: &Writer, batch: &Batch) -> Vec<u64> {
    let tail = writer.tail(&room(), batch).await.unwrap();
    let logged = writer.append(&room(), batch, tail, |_| Layout::Direct).await.unwrap();
    writer.table().save_head(&room(), logged.head.expect("a head")).await.unwrap();
    logged.messages.iter().map(|message| message.seq).collect()
}

/// Appends and returns the numbers, in the order of the log.
pub(super) async fn numbers(writer: &Writer, batch: &Batch) -> Vec<u64> {
    append(writer, batch).await.unwrap().iter().map(|logged| logged.seq).collect()
}

/// The numbers and ids of the table's rows, expired or not.
pub(super) fn rows(dynamodb: &DynamoDb) -> Vec<(u64, String)> {
    let row = |row: &serde_json::Value| (row["seq"].as_u64().unwrap(), row["id"].as_str().unwrap().to_owned());
    dynamodb.log(ROOM).iter().map(row).collect()
}

pub(super) fn ids(dynamodb: &DynamoDb) -> Vec<String> {
    rows(dynamodb).into_iter().map(|row| row.1).collect()
}

//! The real bootstrap of `fanout`, from a queue's batch to posts, deletes and dead letters.

mod batch;
mod broadcast;
mod congestion;
mod deadline;
mod failures;
mod frames;
mod hot_rooms;
mod metrics;
mod outcomes;
mod pacing;
mod progress;
mod shards;
mod stalls;
mod unreachable;

use std::time::Duration;

use aws_credential_types::Credentials;
use serde_json::{Value, json};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::aws_server::{AwsServer, QueuedMessage};
use testkit::connections_server::{ConnectionsServer, Script, Scripted};
use testkit::dynamodb::{
    CONGESTION_TABLE, CONNECTIONS_TABLE, ConnectionRow, DynamoDb, MESSAGES_TABLE, ROOM_INDEX, STATE_TABLE,
};
use testkit::events::{QueueRecord, batch_item_failures, queue_batch};
use testkit::runtime_api::{Environment, Function};
use testkit::sigv4::Expected;

/// The services around the function.
pub(crate) struct World {
    pub(crate) dynamodb: DynamoDb,
    pub(crate) queues: AwsServer,
    pub(crate) connections: ConnectionsServer,
}

impl World {
    pub(crate) fn start() -> Self {
        let connections = ConnectionsServer::start();
        connections.verify_signatures(Expected {
            credentials: Credentials::new("AKIDTEST", "test-secret", Some("test-session".to_owned()), None, "test"),
            region: "us-east-1".to_owned(),
            service: "execute-api".to_owned(),
            now: None,
        });
        Self { dynamodb: DynamoDb::start(), queues: AwsServer::start(), connections }
    }

    /// The function, with more time for an answer and for an invocation than a busy machine needs.
    pub(crate) fn fanout(&self) -> Function {
        Function::of_workspace("fanout")
            .env("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.url())
            .env("AWS_ENDPOINT_URL_SQS", self.queues.url())
            .env("CONNECTIONS_TABLE", CONNECTIONS_TABLE)
            .env("ROOM_INDEX", ROOM_INDEX)
            .env("MESSAGES_TABLE", MESSAGES_TABLE)
            .env("CONGESTION_TABLE", CONGESTION_TABLE)
            .env("QUEUE_URL", self.queues.queue_url("broadcasts.fifo"))
            .env("SHARD_QUEUE_URL", self.queues.queue_url("shards.fifo"))
            .env("DLQ_URL", self.queues.queue_url("dead.fifo"))
            .env("CONNECTIONS_ENDPOINT", self.connections.endpoint())
            .env("FANOUT_POST_TIMEOUT_MS", 20_000)
            .timeout(Duration::from_secs(120))
    }

    /// The function in a stack that keeps the state of all rooms.
    pub(crate) fn fanout_with_state(&self) -> Function {
        self.fanout().env("STATE_TABLE", STATE_TABLE).env("STATE_ROOMS", "*")
    }

    /// Waits until the function has deleted so many records itself.
    pub(crate) async fn until_deleted(&self, records: usize) {
        let deleted = async {
            while self.queues.deleted().len() < records {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), deleted).await.expect("records are deleted");
    }

    /// Seeds connections `{prefix}0`, `{prefix}1`, ... of a room.
    pub(crate) fn seed(&self, room: &str, prefix: &str, count: usize) {
        self.dynamodb.seed(ConnectionRow::many(prefix, count, room));
    }

    /// Scripts the outcome of posts to connections whose ids start with `prefix`; all others are answered 200.
    pub(crate) fn script_prefix(&self, prefix: &'static str, outcome: Scripted) {
        self.connections.script_others(move |id| {
            Script::always(if id.starts_with(prefix) { outcome.clone() } else { Scripted::ok() })
        });
    }

    /// Has every append take longer than the function trusts a page of members that it read beforehand: it reads the
    /// first page anew each time then, where it does so otherwise only on a machine that is busy.
    pub(crate) fn slow_down_appends(&self) {
        for operation in ["PutItem", "TransactWriteItems"] {
            self.dynamodb.fault(Rule::on(operation, Fault::Delay(Duration::from_millis(150))));
        }
    }

    /// The frames delivered to a connection.
    pub(crate) fn frames(&self, connection: &str) -> Vec<Value> {
        self.connections.delivered(connection).iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    /// The ids of the messages delivered to a connection, in order.
    pub(crate) fn received(&self, connection: &str) -> Vec<String> {
        self.frames(connection).iter().flat_map(ids).collect()
    }

    pub(crate) fn dead_letters(&self) -> Vec<QueuedMessage> {
        self.queues.messages("dead.fifo")
    }

    /// The jobs that the shard queue has taken.
    pub(crate) fn jobs(&self) -> Vec<QueuedMessage> {
        self.queues.messages("shards.fifo")
    }

    /// The jobs of the shard queue as records that are received for the first time.
    pub(crate) fn job_records(&self) -> Vec<QueueRecord> {
        let record =
            |job: QueuedMessage| QueueRecord::new(&job.message_id, job.group_id.as_deref().unwrap(), &job.body);
        self.jobs().into_iter().map(record).collect()
    }
}

/// The ids of a frame's messages.
pub(crate) fn ids(frame: &Value) -> Vec<String> {
    let messages = frame["messages"].as_array().unwrap();
    messages.iter().map(|message| message["id"].as_str().unwrap().to_owned()).collect()
}

/// A message for a room, with its id for data.
pub(crate) fn message(room: &str, id: &str) -> QueueRecord {
    QueueRecord::message(room, id, &json!(id))
}

/// Hands the function a batch; returns the ids that it reports as failed.
pub(crate) async fn invoke(fanout: &Environment, records: &[QueueRecord]) -> Vec<String> {
    batch_item_failures(fanout.invoke(&queue_batch(records)).await.response())
}

/// The counts that the function logged of its only broadcast to the room `room`.
pub(crate) async fn tally(fanout: &Environment) -> Value {
    let broadcasts = fanout.logged(1, |line| line["message"] == "broadcast" && line["room"] == "room").await;
    assert_eq!(broadcasts.len(), 1);
    broadcasts[0].clone()
}

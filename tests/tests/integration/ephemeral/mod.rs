//! Ephemeral messages: the way in, and the `ephemeral` function between a batch of their queue and posts.

mod budget;
mod metrics;
mod posts;
mod send;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::dynamodb::{CONNECTIONS_TABLE, ROOM_INDEX};
use testkit::events::{QueueRecord, queue_batch};
use testkit::runtime_api::{Environment, Function};

use crate::fanout::World;

/// The function, with more time for an answer and for an invocation than a busy machine needs.
fn ephemeral(world: &World) -> Function {
    Function::of_workspace("ephemeral")
        .env("AWS_ENDPOINT_URL_DYNAMODB", world.dynamodb.url())
        .env("CONNECTIONS_TABLE", CONNECTIONS_TABLE)
        .env("ROOM_INDEX", ROOM_INDEX)
        .env("CONNECTIONS_ENDPOINT", world.connections.endpoint())
        .env("FANOUT_POST_TIMEOUT_MS", 20_000)
        .env("FUNCTION", "ephemeral")
        .timeout(Duration::from_secs(120))
}

/// The time in an hour: messages that were sent then do not grow too old, however busy the machine is.
fn later() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap() + 3_600_000
}

/// The record of a message, sent at a time, as the message route puts it.
fn record(room: &str, from: &str, key: Option<&str>, sent_at: u64, data: &Value) -> QueueRecord {
    let mut body = json!({ "v": 1, "roomId": room, "from": from, "sentAt": sent_at, "data": data });
    if let Some(key) = key {
        body["key"] = json!(key);
    }
    QueueRecord::new(&format!("{from}-{sent_at}"), room, body).queued_at(sent_at)
}

/// A message that says that somebody is typing.
fn typing(room: &str, from: &str) -> QueueRecord {
    record(room, from, Some("typing"), later(), &json!(true))
}

/// Hands the function a batch, of which nothing may come back.
async fn invoke(function: &Environment, records: &[QueueRecord]) {
    let invocation = function.invoke(&queue_batch(records)).await;
    assert_eq!(invocation.response(), &json!({ "batchItemFailures": [] }));
}

//! `fanout`, from a batch of the queue to posts and deletes.

use std::time::Duration;

use serde_json::{Value, json};
use tests::aws_server::AwsServer;
use tests::connections_server::{ConnectionsServer, Outcome, Script};
use tests::dynamodb::{CONNECTIONS_TABLE, ConnectionRow, DynamoDb, MESSAGES_TABLE, ROOM_INDEX};
use tests::events::{QueueRecord, batch_item_failures, queue_batch};
use tests::runtime_api::Function;
use tests::sigv4::{Credentials, Expected};

fn fanout(dynamodb: &DynamoDb, queues: &AwsServer, connections: &ConnectionsServer) -> Function {
    Function::of_workspace("fanout")
        .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb.url())
        .env("AWS_ENDPOINT_URL_SQS", queues.url())
        .env("CONNECTIONS_TABLE", CONNECTIONS_TABLE)
        .env("ROOM_INDEX", ROOM_INDEX)
        .env("MESSAGES_TABLE", MESSAGES_TABLE)
        .env("QUEUE_URL", queues.queue_url("broadcasts.fifo"))
        .env("DLQ_URL", queues.queue_url("dead.fifo"))
        .env("CONNECTIONS_ENDPOINT", connections.endpoint())
}

#[tokio::test]
async fn a_batch_reaches_every_live_connection_once_and_removes_the_gone() {
    let (dynamodb, queues, connections) = (DynamoDb::start(), AwsServer::start(), ConnectionsServer::start());
    dynamodb.seed(ConnectionRow::many("live", 200, "room"));
    dynamodb.seed(ConnectionRow::many("gone", 60, "room"));
    connections
        .script_others(|id| Script::always(if id.starts_with("gone") { Outcome::gone() } else { Outcome::ok() }));
    // Long enough for posts to meet in flight.
    connections.set_latency(Duration::from_millis(5));
    connections.verify_signatures(Expected {
        credentials: Credentials::temporary("AKIDTEST", "test-secret", "test-session"),
        region: "us-east-1".to_owned(),
        service: "execute-api".to_owned(),
        now: None,
    });

    let fanout = fanout(&dynamodb, &queues, &connections).env("FANOUT_CONCURRENCY", 16).start().await.unwrap();
    let records = ["a", "b", "c"].map(|id| QueueRecord::message("room", id, &json!({ "text": id })));
    let invocation = fanout.invoke(&queue_batch(&records)).await;
    assert_eq!(batch_item_failures(invocation.response()), Vec::<String>::new());

    let record = connections.record();
    assert_eq!(record.signature_errors, []);
    assert_eq!((record.posts, record.delivered(), record.status(410)), (260, 200, 60));
    assert!((2..=16).contains(&record.max_in_flight), "{}", record.max_in_flight);
    assert_eq!(record.overlapped(), Vec::<&str>::new());
    let frame: Value = serde_json::from_str(&connections.delivered("live0")[0]).unwrap();
    let ids: Vec<_> = frame["messages"].as_array().unwrap().iter().map(|message| message["id"].clone()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(dynamodb.connections_of_room("room").len(), 200);
    assert!(dynamodb.connections_of_room("room").iter().all(|id| id.starts_with("live")));
    assert_eq!(dynamodb.count("BatchWriteItem"), 3, "60 rows in batches of 25");
    assert_eq!(dynamodb.log("room").len(), 3);
    assert!(queues.operations().is_empty());
}

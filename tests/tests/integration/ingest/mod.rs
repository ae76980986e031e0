//! The functions behind the routes, the authorizer and the relay: their real bootstraps.

mod authorizer;
mod history;
mod issuer;
mod message;
mod metrics;
mod relay;
mod rights;
mod rooms;
mod secrets;
mod start;

use serde_json::Value;
use testkit::aws_server::AwsServer;
use testkit::dynamodb::{CONGESTION_TABLE, CONNECTIONS_TABLE, DynamoDb, MESSAGES_TABLE};
use testkit::events;
use testkit::runtime_api::{Environment, Function};

/// An address at which nobody answers.
const NOWHERE: &str = "http://127.0.0.1:9/production";

/// The function `message` or `relay`, which sends to the rooms' queue.
pub(crate) fn to_queue(name: &str, aws: &AwsServer) -> Function {
    Function::of_workspace(name)
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("CONGESTION_TABLE", CONGESTION_TABLE)
        .env("QUEUE_URL", aws.queue_url("broadcasts.fifo"))
        .env("DLQ_URL", aws.queue_url("dead.fifo"))
        .env("CONNECTIONS_ENDPOINT", NOWHERE)
}

/// The `session` function over both tables.
fn session(dynamodb: &DynamoDb) -> Function {
    Function::of_workspace("session")
        .env("AWS_ENDPOINT_URL", dynamodb.url())
        .env("CONNECTIONS_TABLE", CONNECTIONS_TABLE)
        .env("MESSAGES_TABLE", MESSAGES_TABLE)
        .env("SUBJECT_REQUESTS_PER_SECOND", 0)
        .env("CONNECTIONS_ENDPOINT", NOWHERE)
}

/// The calls that put messages; those that look at congestion are left out.
fn puts(aws: &AwsServer) -> Vec<String> {
    let mut operations = aws.operations();
    operations.retain(|operation| !["GetQueueAttributes", "Query"].contains(&operation.as_str()));
    operations
}

/// Sends a frame from `alice` on the connection `c=`; returns the reply.
async fn send(function: &Environment, frame: &Value) -> Value {
    send_text(function, &frame.to_string()).await
}

/// Like [`send`], for a frame that may be no JSON.
async fn send_text(function: &Environment, text: &str) -> Value {
    let invocation = function.invoke(&events::frame("c=", "alice", text)).await;
    reply(invocation.response())
}

/// The frame of a route response.
fn reply(response: &Value) -> Value {
    assert_eq!(response["statusCode"], 200, "{response}");
    serde_json::from_str(response["body"].as_str().unwrap()).unwrap()
}

/// Asserts that a reply is an error of this code, and that its text has all these parts.
fn assert_error(reply: &Value, code: &str, parts: &[&str]) {
    assert_eq!((&reply["type"], &reply["code"]), (&"error".into(), &code.into()), "{reply}");
    let text = reply["message"].as_str().unwrap();
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text}");
}

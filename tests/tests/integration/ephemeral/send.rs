//! The way in: the ephemeral messages that the message route takes, the rights for them, and the queue for them.

use serde_json::{Value, json};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::aws_server::AwsServer;
use testkit::connections_server::ConnectionsServer;
use testkit::dynamodb::DynamoDb;
use testkit::events::{self, granted};
use testkit::runtime_api::{Environment, Function};

use crate::ingest::to_queue;

/// The message function, with a queue for ephemeral messages.
fn message(aws: &AwsServer) -> Function {
    without_ephemerals(aws).env("EPHEMERAL_QUEUE_URL", aws.queue_url("ephemeral"))
}

fn without_ephemerals(aws: &AwsServer) -> Function {
    to_queue("message", aws)
}

/// Sends a frame of alice's under some rights; returns the reply.
async fn send_with(function: &Environment, rights: &Value, frame: &Value) -> Value {
    let mut event = events::frame("c=", "alice", &frame.to_string());
    event["requestContext"]["authorizer"] = granted("alice", rights, u64::MAX);
    let invocation = function.invoke(&event).await;
    serde_json::from_str(invocation.response()["body"].as_str().unwrap()).unwrap()
}

async fn send(function: &Environment, frame: &Value) -> Value {
    send_with(function, &json!({ "*": ["send"] }), frame).await
}

fn typing() -> Value {
    json!({ "action": "sendMessage", "roomId": "room", "ephemeral": true, "key": "typing", "data": true })
}

fn with(name: &str, value: Value) -> Value {
    let mut frame = typing();
    frame[name] = value;
    frame
}

#[tokio::test]
async fn an_ephemeral_message_costs_one_call_to_its_own_queue_whatever_the_sink() {
    for sink in ["sqs", "eventbridge"] {
        let (aws, tables, connections) = (AwsServer::start(), DynamoDb::start(), ConnectionsServer::start());
        let function = message(&aws)
            .env("AWS_ENDPOINT_URL_DYNAMODB", tables.url())
            .env("CONNECTIONS_ENDPOINT", connections.endpoint())
            .env("INGEST_SINK", sink)
            .env("EVENT_BUS_NAME", "bus");
        let function = function.start().await.unwrap();
        let mut frame = with("requestId", json!("q"));
        frame["id"] = json!("i");
        let accepted = json!({ "type": "accepted", "requestId": "q", "roomId": "room", "id": "i" });
        assert_eq!(send(&function, &frame).await, accepted);
        assert_eq!(aws.operations(), ["SendMessage"]);
        assert!(tables.endpoint().operations().is_empty(), "nor a look at congestion");
        assert_eq!(connections.tcp_connections(), 0);
        let [queued] = &aws.messages("ephemeral")[..] else { panic!("one message") };
        assert_eq!((queued.group_id.as_deref(), queued.deduplication_id.as_deref()), (Some("room"), None));
        let mut body = queued.json();
        assert!(body["sentAt"].take().as_u64().unwrap() > 1_700_000_000_000);
        let expected =
            json!({ "v": 1, "roomId": "room", "from": "alice", "sentAt": null, "key": "typing", "data": true });
        assert_eq!(body, expected);

        // Without an id the reply has the server's, and a message whose `ephemeral` is false is like any other.
        assert!(send(&function, &typing()).await["id"].is_string());
        assert_eq!(send(&function, &with("ephemeral", json!(false))).await["type"], "accepted");
        assert_eq!(aws.messages("ephemeral").len(), 2);
        let lines = function.metrics(1).await;
        assert_eq!((lines.len(), lines[0].count("Accepted")), (1, 1), "what is not logged is not counted as accepted");
    }
}

#[tokio::test]
async fn every_refusal_names_the_field_and_costs_no_call() {
    let aws = AwsServer::start();
    let function = message(&aws).start().await.unwrap();
    let mut without_data = typing();
    without_data.as_object_mut().unwrap().remove("data");
    for (frame, parts) in [
        (with("version", json!(1)), &["`version`", "ephemeral"][..]),
        (with("remove", json!(true)), &["`remove`", "ephemeral"]),
        (with("ttlSeconds", json!(5)), &["`ttlSeconds`", "ephemeral"]),
        (with("data", json!("x".repeat(4_095))), &["`data`", "4096", "4097"]),
        (with("ephemeral", json!("yes")), &["`ephemeral`", "boolean"]),
        (with("key", json!("k".repeat(65))), &["`key`", "1 to 64"]),
        (without_data, &["`data`", "missing"]),
    ] {
        let reply = send(&function, &frame).await;
        assert_eq!(reply["code"], "bad_request", "{reply}");
        assert!(parts.iter().all(|part| reply["message"].as_str().unwrap().contains(part)), "{reply}");
    }
    assert_eq!(send(&function, &with("data", json!("x".repeat(4_094)))).await["type"], "accepted");
    assert_eq!(aws.operations().len(), 1);

    let off = without_ephemerals(&aws).start().await.unwrap();
    let reply = send(&off, &typing()).await;
    assert_eq!(
        (&reply["code"], reply["message"].as_str().unwrap().contains("`ephemeral`")),
        (&json!("bad_request"), true)
    );
    assert_eq!(aws.operations().len(), 1);
}

#[tokio::test]
async fn what_the_queue_does_not_take_is_told_apart() {
    for (fault, code) in [(Fault::throttling(), "rate_limited"), (Fault::access_denied(), "unavailable")] {
        let aws = AwsServer::start();
        aws.fault(Rule::on("SendMessage", fault));
        let function = message(&aws).start().await.unwrap();
        let reply = send(&function, &with("id", json!("i"))).await;
        assert_eq!((&reply["code"], &reply["id"]), (&json!(code), &json!("i")));
        assert_eq!(aws.operations(), ["SendMessage"]);
    }
}

/// The right that a message with a key needs in a room of `STATE_ROOMS` and elsewhere.
#[tokio::test]
async fn a_key_takes_the_right_to_state_where_state_is_kept() {
    let aws = AwsServer::start();
    let function = message(&aws).env("STATE_ROOMS", "fx:*,user:*").start().await.unwrap();
    let (plain, keyed) = (json!({ "data": 1 }), json!({ "data": 1, "key": "k" }));
    let ephemeral = json!({ "data": 1, "key": "k", "ephemeral": true });
    let removal = json!({ "key": "k", "remove": true });
    let send_only = json!({ "*": ["send", "join", "history"] });
    let both = json!({ "*": ["send"], "fx:1": ["state"], "user:bob": ["state"] });
    let state_only = json!({ "*": ["state"] });
    for (rights, room, message, right) in [
        (&send_only, "fx:1", &plain, None),
        (&send_only, "fx:1", &keyed, Some("state")),
        (&send_only, "fx:1", &removal, Some("state")),
        (&send_only, "fx:1", &ephemeral, None),
        (&send_only, "chat", &keyed, None),
        (&send_only, "user:bob", &plain, None),
        (&send_only, "user:bob", &keyed, Some("state")),
        (&send_only, "user:bob", &ephemeral, None),
        (&send_only, "user:alice", &keyed, None),
        (&both, "fx:1", &keyed, None),
        (&both, "fx:1", &removal, None),
        (&both, "fx:2", &keyed, Some("state")),
        (&both, "user:bob", &keyed, None),
        (&state_only, "fx:1", &keyed, Some("send")),
        (&state_only, "fx:1", &ephemeral, Some("send")),
        (&json!({}), "user:alice", &ephemeral, None),
    ] {
        let mut frame = message.clone();
        frame["action"] = json!("sendMessage");
        frame["roomId"] = json!(room);
        let reply = send_with(&function, rights, &frame).await;
        let Some(right) = right else {
            assert_eq!(reply["type"], "accepted", "{frame} with {rights}: {reply}");
            continue;
        };
        assert_eq!(reply["code"], "forbidden", "{frame} with {rights}: {reply}");
        assert!(reply["message"].as_str().unwrap().contains(&format!("no right to `{right}`")), "{reply}");
    }
    let off = message(&aws).start().await.unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "fx:1", "key": "k", "data": 1 });
    assert_eq!(send_with(&off, &send_only, &frame).await["type"], "accepted", "nobody keeps state there");
}

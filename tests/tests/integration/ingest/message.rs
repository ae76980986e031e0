//! `sendMessage`, and everything else that a client may send to its function.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use shared::limits::MAX_MESSAGE_BYTES;
use testkit::aws_endpoint::{Fault, Rule, error_reply};
use testkit::aws_server::{AwsServer, QueuedMessage};
use testkit::connections_server::ConnectionsServer;
use testkit::dynamodb::{CONGESTION_TABLE, DynamoDb};
use testkit::events;
use testkit::runtime_api::{Environment, Function};

use super::{assert_error, puts, reply, send, send_text};

fn to_queue(aws: &AwsServer) -> Function {
    super::to_queue("message", aws).env("INGEST_SINK", "sqs")
}

fn to_bus(aws: &AwsServer) -> Function {
    super::to_queue("message", aws).env("INGEST_SINK", "eventbridge").env("EVENT_BUS_NAME", "room-bus")
}

fn queued(aws: &AwsServer) -> Vec<QueuedMessage> {
    aws.messages("broadcasts.fifo")
}

/// Sends a frame of a subject; returns the reply.
async fn send_as(function: &Environment, subject: &str, frame: &Value) -> Value {
    reply(function.invoke(&events::frame("c=", subject, &frame.to_string())).await.response())
}

#[tokio::test]
async fn a_sent_message_costs_one_call_and_nothing_else() {
    let aws = AwsServer::start();
    // The function must make no call that could be slower in a large room: to no connection, nor to a room's rows.
    let (tables, connections) = (DynamoDb::start(), ConnectionsServer::start());
    connections.hold();
    let message = to_queue(&aws)
        .env("AWS_ENDPOINT_URL_DYNAMODB", tables.url())
        .env("CONNECTIONS_ENDPOINT", connections.endpoint())
        .start()
        .await
        .unwrap();
    let before = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": [1, 2], "requestId": "q", "id": "m1", "key": "k", "version": 7 });
    let accepted = send(&message, &frame).await;
    assert_eq!(accepted, json!({ "type": "accepted", "requestId": "q", "roomId": "room", "id": "m1" }));

    assert_eq!(puts(&aws), ["SendMessage"]);
    let looks = tables.calls_of("Query");
    assert_eq!(looks.len(), tables.endpoint().operations().len());
    assert!(looks.iter().all(|look| look.body["TableName"] == CONGESTION_TABLE), "{looks:?}");
    assert!(looks.len() <= 1, "at most one look, beside the put");
    assert_eq!(connections.tcp_connections(), 0);
    let [queued] = &queued(&aws)[..] else { panic!("one message") };
    assert_eq!(queued.group_id.as_deref(), Some("room"));
    let mut body = queued.json();
    let sent_at = body["sentAt"].take().as_u64().unwrap();
    assert!((before..before + 60_000).contains(&sent_at));
    assert_eq!(
        body,
        json!({ "v": 1, "roomId": "room", "id": "m1", "from": "alice", "sentAt": null, "data": [1, 2], "key": "k", "version": 7 })
    );
}

#[tokio::test]
async fn an_event_costs_one_call_and_nothing_else() {
    let aws = AwsServer::start();
    let message = to_bus(&aws).start().await.unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": { "a": 1 }, "id": "m1" });
    assert_eq!(send(&message, &frame).await["type"], "accepted");

    assert_eq!(puts(&aws), ["PutEvents"]);
    let [event] = &aws.events()[..] else { panic!("one event") };
    assert_eq!((&event["EventBusName"], &event["DetailType"]), (&json!("room-bus"), &json!("roomcast.message")));
    let detail: Value = serde_json::from_str(event["Detail"].as_str().unwrap()).unwrap();
    assert_eq!((&detail["roomId"], &detail["id"], &detail["from"]), (&json!("room"), &json!("m1"), &json!("alice")));
}

#[tokio::test]
async fn the_same_sender_and_id_are_the_same_message_and_no_others_are() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    let frame = |room: &str, id: &str| json!({ "action": "sendMessage", "roomId": room, "data": 1, "id": id });
    for (subject, room, id) in
        [("alice", "a", "m"), ("alice", "a", "m"), ("bob", "a", "m"), ("alice", "a", "n"), ("alice", "b", "m")]
    {
        assert_eq!(send_as(&message, subject, &frame(room, id)).await["id"], id);
    }
    let mut calls = aws.calls();
    calls.retain(|call| call.operation == "SendMessage");
    let id = |call: usize| calls[call].body["MessageDeduplicationId"].as_str().unwrap();
    assert_eq!(id(0), id(1));
    assert_ne!(id(0), id(2), "another's message with the same id");
    assert_ne!(id(0), id(3));
    assert!(calls.iter().all(|call| call.body["MessageDeduplicationId"].as_str().unwrap().len() <= 128));
    let groups: Vec<_> = queued(&aws).into_iter().filter_map(|message| message.group_id).collect();
    assert_eq!(groups, ["a", "a", "a", "b"], "the queue dropped the repetition, in its own group only");
}

#[tokio::test]
async fn without_an_id_every_frame_is_a_message_of_its_own() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1 });
    let ids = [send(&message, &frame).await["id"].clone(), send(&message, &frame).await["id"].clone()];
    assert!(ids[0].is_string() && ids[0] != ids[1]);
    let stored: Vec<_> = queued(&aws).iter().map(|message| message.json()["id"].clone()).collect();
    assert_eq!(stored, ids);
}

#[tokio::test]
async fn a_client_cannot_say_who_it_is_or_when() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1, "from": "mallory", "sentAt": 5, "v": 9, "seq": 1 });
    assert_eq!(send(&message, &frame).await["type"], "accepted");
    let body = queued(&aws)[0].json();
    assert_eq!((&body["from"], &body["v"], body.get("seq")), (&json!("alice"), &json!(1), None));
    assert!(body["sentAt"].as_u64().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn anybody_may_send_to_anybodys_personal_room() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "user:bob", "data": "hello" });
    assert_eq!(send(&message, &frame).await["roomId"], "user:bob");
}

#[tokio::test]
async fn every_refusal_names_the_field_and_the_limit_and_costs_no_call() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    let good = json!({ "action": "sendMessage", "roomId": "room", "data": 1, "requestId": "q", "id": "m" });
    let with = |name: &str, value: Value| {
        let mut frame = good.clone();
        frame[name] = value;
        frame
    };
    let without = |name: &str| {
        let mut frame = good.clone();
        frame.as_object_mut().unwrap().remove(name);
        frame
    };
    let refused = [
        (without("roomId"), "bad_request", vec!["`roomId`", "missing"]),
        (with("roomId", json!("")), "bad_request", vec!["`roomId`", "1 to 100"]),
        (with("roomId", json!("r".repeat(101))), "bad_request", vec!["`roomId`", "1 to 100", "101"]),
        (with("roomId", json!("a b")), "bad_request", vec!["`roomId`", "A-Z a-z 0-9 _ - . :"]),
        (with("roomId", json!(5)), "bad_request", vec!["`roomId`", "string"]),
        (without("data"), "bad_request", vec!["`data`", "missing"]),
        (with("id", json!("i".repeat(65))), "bad_request", vec!["`id`", "1 to 64", "65"]),
        (with("id", json!("")), "bad_request", vec!["`id`", "1 to 64"]),
        (with("key", json!("k".repeat(65))), "bad_request", vec!["`key`", "1 to 64"]),
        (with("key", json!({})), "bad_request", vec!["`key`", "string"]),
        (with("version", json!(-1)), "bad_request", vec!["`version`", "0 to 9007199254740991"]),
        (with("version", json!(1_u64 << 53)), "bad_request", vec!["`version`", "0 to 9007199254740991"]),
        (with("version", json!("1")), "bad_request", vec!["`version`", "integer"]),
        (with("data", json!("x".repeat(MAX_MESSAGE_BYTES))), "too_large", vec!["`data`", "too large", "120832"]),
        (without("action"), "bad_request", vec!["`action`", "missing"]),
        (with("action", json!("dance")), "unknown_action", vec!["dance", "sendMessage", "joinRoom"]),
        (with("action", json!("$connect")), "unknown_action", vec!["$connect"]),
    ];
    for (frame, code, parts) in refused {
        let reply = send(&message, &frame).await;
        assert_error(&reply, code, &parts);
        assert_eq!(reply["requestId"], "q", "{reply}");
        let is_a_message = frame["action"] == "sendMessage" && frame["id"] == "m";
        assert_eq!(reply["id"] == "m", is_a_message, "a sender is told which message is refused: {reply}");
    }
    assert_error(
        &send(&message, &with("requestId", json!("q".repeat(65)))).await,
        "bad_request",
        &["`requestId`", "64"],
    );
    for text in ["", "{", "[]", "\"sendMessage\"", "null"] {
        assert_error(&send_text(&message, text).await, "bad_request", &["not a JSON object"]);
    }
    let reply = send_text(&message, &format!("\"{}\"", "x".repeat(30_000))).await;
    assert_error(&reply, "bad_request", &["not a JSON object"]);
    assert!(reply.to_string().len() < 400, "a refusal does not send the frame back");
    assert!(aws.operations().is_empty());
}

#[tokio::test]
async fn a_binary_frame_is_refused_and_the_connection_stays_usable() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    let mut event = events::frame("c=", "alice", "eyJhY3Rpb24iOiJzZW5kTWVzc2FnZSJ9");
    event["isBase64Encoded"] = json!(true);
    assert_error(&reply(message.invoke(&event).await.response()), "bad_request", &["binary"]);
    assert!(aws.operations().is_empty());
}

#[tokio::test]
async fn the_longest_of_everything_is_accepted() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    let frame = json!({
        "action": "sendMessage", "roomId": "r".repeat(100), "id": "i".repeat(64), "key": "k".repeat(64),
        "version": (1_u64 << 53) - 1, "data": null, "requestId": "\u{e9}".repeat(64),
    });
    assert_eq!(send(&message, &frame).await["type"], "accepted");
    assert_eq!(queued(&aws)[0].json()["data"], Value::Null);
}

#[tokio::test]
async fn what_the_queue_does_not_take_is_told_apart() {
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1, "requestId": "q" });
    // A throttle or a refusal is told at once; an internal error, which may be over in a moment, is tried again.
    let faults = [
        (Fault::access_denied(), "unavailable", 1),
        (Fault::internal_error(), "unavailable", 3),
        (Fault::throttling(), "rate_limited", 1),
        (Fault::Reply(error_reply(400, "com.amazonaws.sqs#RequestThrottled", "slow down")), "rate_limited", 1),
    ];
    for (fault, code, calls) in faults {
        let aws = AwsServer::start();
        aws.fault(Rule::on("SendMessage", fault));
        let message = to_queue(&aws).start().await.unwrap();
        let reply = send(&message, &frame).await;
        assert_error(&reply, code, &["try again with the same id"]);
        assert_eq!(reply["requestId"], "q");
        assert!(reply["id"].is_string(), "the server's id, to try again with: {reply}");
        assert_eq!(reply.get("retryAfterMs").is_some(), code == "rate_limited", "{reply}");
        assert_eq!(puts(&aws).len(), calls, "{code}");
        assert!(
            !reply["message"].as_str().unwrap().contains("SendMessage"),
            "what is behind a route is no client's business"
        );
    }
}

#[tokio::test]
async fn what_the_queue_will_never_take_is_the_senders_fault() {
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1, "requestId": "q", "id": "m" });
    let refused = Fault::Reply(error_reply(400, "com.amazonaws.sqs#InvalidMessageContents", "invalid characters"));
    let aws = AwsServer::start();
    aws.fault(Rule::on("SendMessage", refused));
    let reply = send(&to_queue(&aws).start().await.unwrap(), &frame).await;
    assert_error(&reply, "bad_request", &["never"]);
    assert_eq!((&reply["requestId"], &reply["id"]), (&json!("q"), &json!("m")));
    assert_eq!(puts(&aws).len(), 1, "no second attempt");

    let aws = AwsServer::start();
    aws.fault(Rule::on("PutEvents", Fault::failed_entries(&[0], "MalformedDetail")));
    let reply = send(&to_bus(&aws).start().await.unwrap(), &frame).await;
    assert_error(&reply, "bad_request", &["never"]);
}

#[tokio::test]
async fn an_error_about_a_message_has_its_id() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    let mut frame =
        json!({ "action": "sendMessage", "roomId": "room", "data": "x".repeat(MAX_MESSAGE_BYTES), "id": "m" });
    assert_eq!(send(&message, &frame).await["id"], "m");
    frame["action"] = json!("joinRoom");
    assert_eq!(send(&message, &frame).await.get("id"), None);
}

#[tokio::test]
async fn a_moments_failure_of_the_queue_is_not_the_clients() {
    let aws = AwsServer::start();
    aws.fault(Rule::on("SendMessage", Fault::DropBefore).times(1));
    let message = to_queue(&aws).start().await.unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1, "id": "m" });
    assert_eq!(send(&message, &frame).await["type"], "accepted");
    assert_eq!(queued(&aws).len(), 1);
}

#[tokio::test]
async fn a_throttled_bus_is_told_at_once() {
    let aws = AwsServer::start();
    aws.fault(Rule::on("PutEvents", Fault::throttling()));
    let message = to_bus(&aws).start().await.unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1 });
    assert_error(&send(&message, &frame).await, "rate_limited", &["try again"]);
    assert_eq!(puts(&aws), ["PutEvents"]);
}

#[tokio::test]
async fn an_entry_that_the_bus_does_not_take_is_not_accepted() {
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1 });
    for (failed, code) in [("InternalFailure", "unavailable"), ("ThrottlingException", "rate_limited")] {
        let aws = AwsServer::start();
        aws.fault(Rule::on("PutEvents", Fault::failed_entries(&[0], failed)));
        let message = to_bus(&aws).start().await.unwrap();
        assert_error(&send(&message, &frame).await, code, &["try again"]);
        assert!(aws.events().is_empty());
    }
}

#[tokio::test]
async fn an_event_of_another_kind_is_an_error_of_the_wiring() {
    let aws = AwsServer::start();
    let message = to_queue(&aws).start().await.unwrap();
    for event in [events::connect("c=", "alice", None), events::disconnect("c=", "alice"), json!({})] {
        assert!(message.invoke(&event).await.result.is_err(), "{event}");
    }
    let mut nobody = events::frame("c=", "alice", r#"{"action":"sendMessage","roomId":"room","data":1}"#);
    nobody["requestContext"]["authorizer"] = json!({});
    assert!(message.invoke(&nobody).await.result.is_err(), "nobody sends without being somebody");
    assert!(aws.operations().is_empty());
}

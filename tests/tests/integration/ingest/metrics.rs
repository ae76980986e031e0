//! The metrics of the functions around the broadcast, each produced by the event that it counts.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::aws_server::AwsServer;
use testkit::connections_server::ConnectionsServer;
use testkit::dynamodb::DynamoDb;
use testkit::emf::Line;
use testkit::events::{self, authorizer_request, bus_event, event_batch};
use testkit::runtime_api::{Environment, Function};
use testkit::secrets_manager::{SECRET_ARN, SecretsManager};

use super::{reply, send, session, to_queue};

/// The newest of a function's lines, of which there must be this many.
async fn last_of(function: &Environment, lines: usize) -> Line {
    let written = function.metrics(lines).await;
    assert_eq!(written.len(), lines, "{written:?}");
    written.last().unwrap().clone()
}

fn counted<const N: usize>(line: &Line, names: [&str; N]) -> [u64; N] {
    assert_eq!(line.names().len(), names.len(), "{line:?}");
    names.map(|name| line.count(name))
}

fn message(data: &Value) -> Value {
    json!({ "action": "sendMessage", "roomId": "room", "data": data })
}

#[tokio::test]
async fn messages_are_counted_as_accepted_or_refused_by_code() {
    let aws = AwsServer::start();
    let function = to_queue("message", &aws).start().await.unwrap();
    assert_eq!(send(&function, &message(&json!(1))).await["type"], "accepted");
    let line = last_of(&function, 1).await;
    assert_eq!(counted(&line, ["Accepted"]), [1]);
    assert_eq!(line.dimensions("Accepted"), [["test", "message"]]);

    let large = message(&json!("x".repeat(130_000)));
    let frames = [
        ("bad_request", "{".to_owned()),
        ("unknown_action", json!({ "action": "fly" }).to_string()),
        ("too_large", large.to_string()),
        ("forbidden", message(&json!(1)).to_string()),
    ];
    let mut lines = 1;
    for (code, frame) in frames {
        let mut event = events::frame("c=", "alice", &frame);
        event["requestContext"]["authorizer"] = events::granted("alice", &json!({ "room": ["join"] }), u64::MAX);
        assert_eq!(reply(function.invoke(&event).await.response())["code"], code);
        lines += 1;
        let line = last_of(&function, lines).await;
        assert_eq!(counted(&line, ["Refused"]), [1]);
        assert_eq!(line.dimensions("Refused"), [vec!["test", "message"], vec!["test", "message", code]]);
    }
    for (code, fault) in [("rate_limited", Fault::throttling()), ("unavailable", Fault::internal_error())] {
        aws.endpoint().clear_faults();
        aws.fault(Rule::on("SendMessage", fault));
        assert_eq!(send(&function, &message(&json!(1))).await["code"], code);
        lines += 1;
        assert_eq!(last_of(&function, lines).await.dimensions("Refused")[1], ["test", "message", code]);
    }
}

#[tokio::test]
async fn events_are_counted_by_what_becomes_of_them() {
    let aws = AwsServer::start();
    let relay = to_queue("relay", &aws).start().await.unwrap();
    let event = |id: &str, room: &str| bus_event(id, "prices.eu", &json!({ "roomId": room, "data": 1 }));
    let is_of_room = |call: &testkit::aws_endpoint::Call| call.body.to_string().contains("down");
    aws.fault(Rule::on("SendMessageBatch", Fault::internal_error()).when(is_of_room));
    relay.invoke(&event_batch([event("a", "room"), event("b", "room"), json!("poison")])).await.response();
    let line = last_of(&relay, 1).await;
    assert_eq!((line.names().len(), line.count("Returned")), (3, 0), "{line:?}");
    assert_eq!((line.count("Accepted"), line.count("DeadLetters"), line.samples("QueueAge")), (2, 1, 3));

    relay.invoke(&event_batch([event("c", "down")])).await.response();
    let line = last_of(&relay, 2).await;
    assert_eq!((line.count("Accepted"), line.count("Returned"), line.samples("QueueAge")), (0, 1, 1));
}

#[tokio::test]
async fn what_connections_do_is_counted() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    session.invoke(&events::connect("c=", "alice", Some("room"))).await.response();
    assert_eq!(counted(&last_of(&session, 1).await, ["Connects", "Joins"]), [1, 1]);
    session.invoke(&events::connect("d=", "alice", None)).await.response();
    assert_eq!(counted(&last_of(&session, 2).await, ["Connects"]), [1]);
    send(&session, &json!({ "action": "joinRoom", "roomId": "other" })).await;
    assert_eq!(counted(&last_of(&session, 3).await, ["Joins"]), [1]);

    let sync = json!({ "action": "sync", "rooms": { "room": 0, "other": 0 } });
    send(&session, &sync).await;
    assert_eq!(counted(&last_of(&session, 4).await, ["Syncs"]), [1]);
    dynamodb.delete_row("c=", "other");
    send(&session, &sync).await;
    assert_eq!(counted(&last_of(&session, 5).await, ["Heals", "Syncs"]), [1, 1]);

    session.invoke(&events::connect("e=", "alice", Some("a b"))).await.response();
    let line = last_of(&session, 6).await;
    assert_eq!(counted(&line, ["Refused"]), [1]);
    assert_eq!(line.dimensions("Refused")[1], ["test", "session", "bad_request"]);
    session.invoke(&events::disconnect("c=", "alice")).await.response();
    assert_eq!(counted(&last_of(&session, 7).await, ["Disconnects"]), [1]);
}

#[tokio::test]
async fn ticks_are_counted_as_sent_or_lost() {
    let (dynamodb, aws) = (DynamoDb::start(), AwsServer::start());
    let function = session(&dynamodb)
        .env("PRESENCE_ROOMS", "chat:*")
        .env("AWS_ENDPOINT_URL_SQS", aws.url())
        .env("PRESENCE_QUEUE_URL", aws.queue_url("presence.fifo"));
    let session = function.start().await.unwrap();
    let join = |room: &str| json!({ "action": "joinRoom", "roomId": room, "presence": true });
    assert_eq!(send(&session, &join("chat:1")).await["type"], "joined");
    assert_eq!(counted(&last_of(&session, 1).await, ["Joins", "TicksSent"]), [1, 1]);
    aws.fault(Rule::on("SendMessageBatch", Fault::internal_error()));
    assert_eq!(send(&session, &join("chat:2")).await["type"], "joined");
    assert_eq!(counted(&last_of(&session, 2).await, ["Joins", "TicksLost"]), [1, 1]);
    let taken = aws.messages("presence.fifo");
    assert_eq!((taken.len(), taken[0].group_id.as_deref()), (1, Some("chat:1")));
}

#[tokio::test]
async fn a_request_that_counts_for_nothing_writes_no_line() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    send(&session, &json!({ "action": "getHistory", "roomId": "room" })).await;
    send(&session, &json!({ "action": "joinRoom", "roomId": "room" })).await;
    assert_eq!(counted(&last_of(&session, 1).await, ["Joins"]), [1]);
}

#[tokio::test]
async fn a_connection_that_outlived_its_token_is_counted_as_closed() {
    let (dynamodb, connections) = (DynamoDb::start(), ConnectionsServer::start());
    let function = session(&dynamodb).env("AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI", connections.endpoint());
    let session = function.env("CONNECTIONS_ENDPOINT", connections.endpoint()).start().await.unwrap();
    let mut frame = events::frame("c=", "alice", r#"{"action":"joinRoom","roomId":"room"}"#);
    frame["requestContext"]["authorizer"] = events::granted("alice", &events::everywhere(), 1);
    session.invoke(&frame).await.response();
    let line = last_of(&session, 1).await;
    assert_eq!(counted(&line, ["Closed", "Refused"]), [1, 1]);
    assert_eq!((line.dimensions("Refused")[1][2], connections.record().deletes()), ("forbidden", 1));
}

#[tokio::test]
async fn handshakes_are_counted_and_those_that_are_refused() {
    const SECRET: &str = "a secret of at least 32 bytes, for tests";
    let secrets = SecretsManager::start(SECRET);
    let function = Function::of_workspace("authorizer").env("AWS_ENDPOINT_URL", secrets.url());
    let authorizer = function.env("AUTH_SECRET_ARN", SECRET_ARN).start().await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({ "sub": "alice", "exp": now + 600 });
    let good = encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap();
    authorizer.invoke(&authorizer_request(&json!({ "token": good }), &json!({}))).await.response();
    assert_eq!(counted(&last_of(&authorizer, 1).await, ["Handshakes"]), [1]);
    authorizer.invoke(&authorizer_request(&json!({ "token": "bad" }), &json!({}))).await.response();
    assert_eq!(counted(&last_of(&authorizer, 2).await, ["Handshakes", "Unauthorized"]), [1, 1]);
}

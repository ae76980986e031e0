//! Connections come and go, join and leave.

use serde_json::json;
use shared::limits::MAX_INTEGER;
use testkit::aws_endpoint::{Fault, Rule};
use testkit::dynamodb::{ConnectionRow, DynamoDb};
use testkit::events;
use testkit::runtime_api::Environment;

use super::{assert_error, reply, send, session};

async fn status_of_connect(session: &Environment, room: Option<&str>) -> u64 {
    let invocation = session.invoke(&events::connect("c=", "alice", room)).await;
    invocation.response()["statusCode"].as_u64().unwrap()
}

#[tokio::test]
async fn connecting_counts_the_connection_with_two_calls() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    assert_eq!(status_of_connect(&session, None).await, 200);
    assert_eq!(dynamodb.endpoint().operations(), ["PutItem", "Query"]);
    assert_eq!((dynamodb.subject_connections("alice"), dynamodb.rows().len()), (vec!["c=".to_owned()], 0));
}

#[tokio::test]
async fn connecting_with_a_room_joins_it_with_one_more_call() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    assert_eq!(status_of_connect(&session, Some("room")).await, 200);
    assert_eq!(dynamodb.endpoint().operations(), ["PutItem", "Query", "PutItem"]);
    let rows = dynamodb.rows();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    // The harness has the hash of the slot and the times by its own means.
    let expected = ConnectionRow::new("c=", "room").young();
    assert_eq!(
        (&row.connection_id, &row.room_id, row.user_id.as_str()),
        (&"c=".to_owned(), &"room".to_owned(), "alice")
    );
    assert_eq!(row.slot, expected.slot);
    assert!(row.joined_at.abs_diff(expected.joined_at) < 60_000);
    let lifetime = row.expires_at - row.joined_at / 1_000;
    assert!((7_200..=8_400).contains(&lifetime), "two hours and slack: {lifetime} s");
}

#[tokio::test]
async fn a_bad_or_foreign_room_refuses_the_handshake() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    assert_eq!(status_of_connect(&session, Some("a b")).await, 400);
    assert_eq!(status_of_connect(&session, Some("")).await, 400);
    assert_eq!(status_of_connect(&session, Some("user:bob")).await, 403);
    assert!(dynamodb.rows().is_empty());
    assert_eq!(status_of_connect(&session, Some("user:alice")).await, 200);
}

#[tokio::test]
async fn a_table_that_does_not_answer_refuses_the_handshake() {
    let dynamodb = DynamoDb::start();
    dynamodb.fault(Rule::on("PutItem", Fault::access_denied()));
    let session = session(&dynamodb).start().await.unwrap();
    assert_eq!(status_of_connect(&session, Some("room")).await, 503);
}

#[tokio::test]
async fn joining_and_leaving_write_and_delete_one_row() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    for room in ["a", "b", "a"] {
        let joined = send(&session, &json!({ "action": "joinRoom", "roomId": room, "requestId": "q" })).await;
        assert_eq!(
            joined,
            json!({
                "type": "joined", "requestId": "q", "roomId": room, "seq": 0, "messages": [], "more": false,
                "truncated": false, "retentionSeconds": 86_400, "syncAfterMs": joined["syncAfterMs"],
                "expiresInMs": MAX_INTEGER,
            })
        );
        assert!((513_000..=540_000).contains(&joined["syncAfterMs"].as_u64().unwrap()), "nothing was ever said");
    }
    assert_eq!(dynamodb.rooms_of_connection("c="), ["a", "b"]);
    for _ in 0..2 {
        let left = send(&session, &json!({ "action": "leaveRoom", "roomId": "a", "requestId": "q" })).await;
        assert_eq!(left, json!({ "type": "left", "requestId": "q", "roomId": "a" }), "again is fine");
    }
    assert_eq!(dynamodb.rooms_of_connection("c="), ["b"]);
}

#[tokio::test]
async fn only_its_owner_joins_a_personal_room() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    let join = |room: &str| json!({ "action": "joinRoom", "roomId": room });
    assert_error(&send(&session, &join("user:bob")).await, "forbidden", &["`roomId`", "user:bob"]);
    assert_error(&send(&session, &join("user:")).await, "forbidden", &["no right to `join`"]);
    assert_eq!(send(&session, &join("user:alice")).await["type"], "joined");
    assert_eq!(dynamodb.rooms_of_connection("c="), ["user:alice"]);
}

#[tokio::test]
async fn disconnecting_removes_every_row_of_the_connection_and_no_other() {
    let dynamodb = DynamoDb::start();
    dynamodb.seed((0..60).map(|number| ConnectionRow::new("c=", &format!("room-{number}"))));
    dynamodb.seed([ConnectionRow::new("other", "room-0")]);
    dynamodb.fault(Rule::on("BatchWriteItem", Fault::unprocessed_after(5)).times(1));
    let session = session(&dynamodb).start().await.unwrap();
    for _ in 0..2 {
        let invocation = session.invoke(&events::disconnect("c=", "alice")).await;
        assert_eq!(invocation.response()["statusCode"], 200);
    }
    let left: Vec<_> = dynamodb.rows().into_iter().map(|row| row.connection_id).collect();
    assert_eq!(left, ["other"]);
    assert_eq!(dynamodb.count("BatchWriteItem"), 4, "60 rows in batches of 25, and what one of them left");
}

#[tokio::test]
async fn a_frame_that_claims_to_be_a_disconnect_changes_nothing() {
    let dynamodb = DynamoDb::start();
    dynamodb.seed([ConnectionRow::new("c=", "room")]);
    let session = session(&dynamodb).start().await.unwrap();
    for action in ["$connect", "$disconnect"] {
        // API Gateway takes the route that the frame names, and says that the event is a MESSAGE.
        let text = json!({ "action": action, "roomId": "user:bob", "requestId": "q" }).to_string();
        let mut event = events::frame("c=", "mallory", &text);
        event["requestContext"]["routeKey"] = json!(action);
        event["queryStringParameters"] = json!({ "roomId": "user:bob" });
        let reply = reply(session.invoke(&event).await.response());
        assert_error(&reply, "unknown_action", &[action]);
        assert_eq!(reply["requestId"], "q");
    }
    assert_eq!(dynamodb.rows().len(), 1);
    assert!(dynamodb.endpoint().operations().is_empty());
}

#[tokio::test]
async fn a_frame_of_another_route_is_refused() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    let frame = json!({ "action": "sendMessage", "roomId": "room", "data": 1, "requestId": "q" });
    assert_eq!(send(&session, &frame).await["code"], "unknown_action");
    let mut binary = events::frame("c=", "alice", "AAAA");
    binary["isBase64Encoded"] = json!(true);
    assert_error(&reply(session.invoke(&binary).await.response()), "bad_request", &["binary"]);
    assert!(dynamodb.endpoint().operations().is_empty());
}

#[tokio::test]
async fn a_table_that_does_not_answer_is_unavailable() {
    let dynamodb = DynamoDb::start();
    for operation in ["PutItem", "DeleteItem", "Query", "BatchGetItem"] {
        dynamodb.fault(Rule::on(operation, Fault::access_denied()));
    }
    let session = session(&dynamodb).start().await.unwrap();
    let frames = [
        json!({ "action": "joinRoom", "roomId": "room" }),
        json!({ "action": "leaveRoom", "roomId": "room" }),
        json!({ "action": "sync", "rooms": { "room": 0 } }),
        json!({ "action": "getHistory", "roomId": "room" }),
    ];
    for mut frame in frames {
        frame["requestId"] = json!("q");
        let reply = send(&session, &frame).await;
        assert_error(&reply, "unavailable", &["try again later"]);
        assert_eq!(reply["requestId"], "q");
    }
    let disconnected = session.invoke(&events::disconnect("c=", "alice")).await;
    assert_eq!(disconnected.response()["statusCode"], 503);
}

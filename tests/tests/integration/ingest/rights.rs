//! The rights of tokens and what they permit, the limits of rooms and connections, and the end of a token.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use testkit::aws_endpoint::{Call, Fault, Rule, json_reply};
use testkit::aws_server::AwsServer;
use testkit::connections_server::ConnectionsServer;
use testkit::dynamodb::{ConnectionRow, DynamoDb, MESSAGES_TABLE, STATE_TABLE};
use testkit::events::{self, granted};
use testkit::runtime_api::{Environment, Function};

use super::{assert_error, reply, session, to_queue};

const FOREVER: u64 = u64::MAX;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A frame of alice's, under these rights.
fn frame(rights: &Value, expires_at: u64, frame: &Value) -> Value {
    let mut event = events::frame("c=", "alice", &frame.to_string());
    event["requestContext"]["authorizer"] = granted("alice", rights, expires_at);
    event
}

async fn request(function: &Environment, rights: &Value, request: &Value) -> Value {
    reply(function.invoke(&frame(rights, FOREVER, request)).await.response())
}

fn connect(rights: &Value, connection: &str, room: Option<&str>) -> Value {
    let mut event = events::connect(connection, "alice", room);
    event["requestContext"]["authorizer"] = granted("alice", rights, FOREVER);
    event
}

async fn status(function: &Environment, event: &Value) -> u64 {
    function.invoke(event).await.response()["statusCode"].as_u64().unwrap()
}

/// A log with the numbers 1 to 3, appended at a time in seconds.
fn seed(dynamodb: &DynamoDb, room: &str, appended_at: u64) {
    seed_messages(dynamodb, room, &[appended_at; 3]);
}

/// Seeds a room with the connection and a message for each time.
fn seed_messages(dynamodb: &DynamoDb, room: &str, appended_at: &[u64]) {
    dynamodb.seed_log((1_u64..).zip(appended_at).map(|(seq, appended_at)| {
        json!({
            "roomId": room, "seq": seq, "id": format!("m{seq}"), "from": "bob", "sentAt": appended_at * 1_000,
            "data": "1", "appendedAt": appended_at * 1_000, "expiresAt": now() + 3_600,
        })
    }));
    let newest = appended_at.last().unwrap();
    dynamodb.seed_head(room, appended_at.len() as u64, newest * 1_000, now() + 3_600);
    dynamodb.seed([ConnectionRow::new("c=", room)]);
}

fn message(aws: &AwsServer, connections: &ConnectionsServer) -> Function {
    to_queue("message", aws).env("CONNECTIONS_ENDPOINT", connections.endpoint())
}

/// Each request with the right that it needs, with and without that right.
#[tokio::test]
async fn each_request_needs_its_right_in_that_room() {
    let (dynamodb, aws, connections) = (DynamoDb::start(), AwsServer::start(), ConnectionsServer::start());
    seed(&dynamodb, "chat:1", now());
    let session = session(&dynamodb).start().await.unwrap();
    let message = message(&aws, &connections).start().await.unwrap();
    let requests = [
        (&["join"][..], json!({ "action": "joinRoom", "roomId": "chat:1" }), "joined"),
        (&["join", "history"], json!({ "action": "joinRoom", "roomId": "chat:1", "after": 1 }), "joined"),
        (&["history"], json!({ "action": "getHistory", "roomId": "chat:1" }), "history"),
        (&["send"], json!({ "action": "sendMessage", "roomId": "chat:1", "data": 1 }), "accepted"),
        (&[], json!({ "action": "leaveRoom", "roomId": "chat:1" }), "left"),
    ];
    for (needed, asked, answer) in requests {
        let function = if asked["action"] == "sendMessage" { &message } else { &session };
        for pattern in ["chat:*", "chat:1", "*"] {
            let given = json!({ pattern: needed, "other": ["join", "send", "history", "state"] });
            assert_eq!(request(function, &given, &asked).await["type"], answer, "{asked} with {given}");
        }
        for missing in needed {
            let rest: Vec<_> =
                ["join", "send", "history", "state"].into_iter().filter(|right| right != missing).collect();
            for given in [
                json!({ "chat:*": rest }),
                json!({ "chat": ["join", "send", "history"], "chat:2": [missing] }),
                json!({}),
            ] {
                let refused = request(function, &given, &asked).await;
                // If two rights are missing, either may be named.
                assert_error(&refused, "forbidden", &["chat:1", "no right to"]);
            }
        }
    }
    let sent = aws.messages("broadcasts.fifo").len();
    assert_eq!(sent, 3, "nothing but what was accepted");
}

#[tokio::test]
async fn a_handshake_joins_only_what_the_token_gives() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    let rights = json!({ "chat:*": ["join"], "prices": ["send", "history"] });
    assert_eq!(status(&session, &connect(&rights, "c=", Some("chat:1"))).await, 200);
    assert_eq!(status(&session, &connect(&rights, "d=", Some("prices"))).await, 403);
    assert_eq!(status(&session, &connect(&json!({}), "d=", Some("user:alice"))).await, 200);
    assert_eq!(status(&session, &connect(&json!({ "*": ["join"] }), "e=", Some("user:bob"))).await, 403);
    assert_eq!(dynamodb.rooms_of_connection("c="), ["chat:1"]);
    assert_eq!(dynamodb.rooms_of_connection("d="), ["user:alice"]);
    assert!(dynamodb.subject_connections("alice").contains(&"d=".to_owned()));
}

#[tokio::test]
async fn a_sync_serves_the_rooms_that_may_be_joined_and_names_the_others() {
    let dynamodb = DynamoDb::start();
    seed(&dynamodb, "chat:1", now());
    let session = session(&dynamodb).start().await.unwrap();
    let rooms = json!({ "chat:1": 2, "prices": 0, "user:bob": 0, "user:alice": 0 });
    let synced = request(
        &session,
        &json!({ "chat:*": ["join", "history"], "user:*": ["join", "send"] }),
        &json!({ "action": "sync", "rooms": rooms }),
    )
    .await;
    assert_eq!(synced["forbidden"], json!(["prices", "user:bob"]));
    assert_eq!(synced["rooms"].as_object().unwrap().keys().collect::<Vec<_>>(), ["chat:1", "user:alice"]);
    assert_eq!(synced["rooms"]["chat:1"]["messages"][0]["seq"], 3);
    assert_eq!(dynamodb.rooms_of_connection("c="), ["chat:1", "user:alice"]);
    let nothing = request(&session, &json!({}), &json!({ "action": "sync", "rooms": { "prices": 0 } })).await;
    assert_eq!((&nothing["forbidden"], &nothing["rooms"]), (&json!(["prices"]), &json!({})));
}

/// Without the right to history, a `sync` must not give access to it.
#[tokio::test]
async fn who_may_only_join_syncs_what_came_since_the_connection_was_opened() {
    let dynamodb = DynamoDb::start();
    seed(&dynamodb, "old", now() - 60);
    seed(&dynamodb, "new", now() + 60);
    let session = session(&dynamodb).start().await.unwrap();
    let sync = json!({ "action": "sync", "rooms": { "old": 1, "new": 1 } });
    let join = request(&session, &json!({ "*": ["join"] }), &sync).await;
    assert_eq!(join["rooms"]["old"], json!({ "seq": 3, "messages": [], "more": false, "truncated": true }));
    assert_eq!(join["rooms"]["new"]["messages"].as_array().unwrap().len(), 2);
    let both = request(&session, &json!({ "*": ["join", "history"] }), &sync).await;
    assert_eq!(both["rooms"]["old"]["messages"].as_array().unwrap().len(), 2);
    let up_to_date = json!({ "action": "sync", "rooms": { "old": 3 } });
    let current = request(&session, &json!({ "*": ["join"] }), &up_to_date).await;
    assert_eq!(current["rooms"]["old"], json!({ "seq": 3, "messages": [], "more": false, "truncated": false }));
}

#[tokio::test]
async fn who_may_only_join_syncs_what_is_new_behind_what_is_old() {
    let dynamodb = DynamoDb::start();
    let (old, new) = (now() - 60, now() + 60);
    seed_messages(&dynamodb, "few", &[old, old, new, old, new, new]);
    seed_messages(&dynamodb, "many", &[[old; 300].as_slice(), &[new; 5]].concat());
    seed_messages(&dynamodb, "flood", &[[old; 300].as_slice(), &[new; 150]].concat());
    let session = session(&dynamodb).start().await.unwrap();
    let sync = |after: u64| json!({ "action": "sync", "rooms": { "few": after, "many": after, "flood": after } });
    for (after, few) in [(1, vec![5, 6]), (0, vec![5, 6]), (5, vec![6])] {
        let synced = request(&session, &json!({ "*": ["join"] }), &sync(after)).await;
        let seqs = |room: &str| -> Vec<u64> {
            let messages = synced["rooms"][room]["messages"].as_array().unwrap();
            messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
        };
        let facts = |room: &str| {
            let room = &synced["rooms"][room];
            (room["seq"].as_u64().unwrap(), room["more"] == true, room["truncated"] == true)
        };
        assert_eq!((seqs("few"), facts("few")), (few, (6, false, after < 4)), "{after}");
        assert_eq!((seqs("many"), facts("many")), ((301..=305).collect(), (305, false, true)), "{after}");
        let flood = seqs("flood");
        assert!(flood[0] > 300 && flood.windows(2).all(|two| two[0] + 1 == two[1]), "{flood:?}");
        assert!(facts("flood").2 && (flood.ends_with(&[450]) || facts("flood").1), "{flood:?}");
    }
}

#[tokio::test]
async fn a_frame_after_the_tokens_end_is_forbidden_and_its_connection_closed() {
    let (dynamodb, aws, connections) = (DynamoDb::start(), AwsServer::start(), ConnectionsServer::start());
    let session = session(&dynamodb).env("CONNECTIONS_ENDPOINT", connections.endpoint()).start().await.unwrap();
    let message = message(&aws, &connections).start().await.unwrap();
    let rights = json!({ "*": ["join", "send", "history"] });
    let requests = [
        json!({ "action": "joinRoom", "roomId": "r", "requestId": "q" }),
        json!({ "action": "leaveRoom", "roomId": "r", "requestId": "q" }),
        json!({ "action": "sync", "rooms": { "r": 0 }, "requestId": "q" }),
        json!({ "action": "getHistory", "roomId": "r", "requestId": "q" }),
        json!({ "action": "sendMessage", "roomId": "r", "data": 1, "requestId": "q", "id": "m" }),
        json!({ "action": "sendMessage", "data": 1, "requestId": "q", "id": "m" }),
        json!({ "action": "nonsense", "requestId": "q" }),
    ];
    for (number, asked) in requests.into_iter().enumerate() {
        let connection = format!("{number}=");
        let is_message = matches!(asked["action"].as_str(), Some("sendMessage" | "nonsense"));
        let function = if is_message { &message } else { &session };
        let mut event = frame(&rights, now() - 6, &asked);
        event["requestContext"]["connectionId"] = json!(connection);
        let invocation = function.invoke(&event).await;
        assert_eq!(*invocation.response(), json!({ "statusCode": 200 }), "the reply goes over @connections");
        let told: Value = serde_json::from_str(&connections.delivered(&connection)[0]).unwrap();
        assert_error(&told, "forbidden", &["expired"]);
        assert_eq!((&told["requestId"], &told["reason"]), (&json!("q"), &json!("token_expired")));
        assert_eq!(told["id"], asked["id"], "a sender is told which message is refused");
        assert_eq!(connections.connection(&connection).deletes, 1, "{asked}");
    }
    assert!(dynamodb.rows().is_empty() && dynamodb.endpoint().operations().is_empty());
    assert!(aws.operations().is_empty());
    // A token within its leeway is still good. One of a version that did not tell its end counts as ended.
    let join = json!({ "action": "joinRoom", "roomId": "r" });
    assert_eq!(reply(session.invoke(&frame(&rights, now() - 1, &join)).await.response())["type"], "joined");
    let mut older = events::frame("c=", "alice", &join.to_string());
    older["requestContext"]["authorizer"] = json!({ "principalId": "alice", "sub": "alice" });
    assert_eq!(*session.invoke(&older).await.response(), json!({ "statusCode": 200 }));
}

#[tokio::test]
async fn a_connection_that_is_gone_by_then_is_no_error() {
    let (dynamodb, connections) = (DynamoDb::start(), ConnectionsServer::start());
    connections.close("c=");
    let session = session(&dynamodb).env("CONNECTIONS_ENDPOINT", connections.endpoint()).start().await.unwrap();
    let asked = json!({ "action": "joinRoom", "roomId": "r" });
    let invocation = session.invoke(&frame(&json!({}), 1, &asked)).await;
    assert_eq!(*invocation.response(), json!({ "statusCode": 200 }));
    assert_eq!(connections.connection("c=").deletes, 0);
}

#[tokio::test]
async fn no_row_outlives_the_token() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    let (rights, expires_at) = (json!({ "*": ["join"] }), now() + 60);
    let join = frame(&rights, expires_at, &json!({ "action": "joinRoom", "roomId": "joined" }));
    let joined = reply(session.invoke(&join).await.response());
    let left = joined["expiresInMs"].as_u64().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    for _ in 0..2 {
        let sync = json!({ "action": "sync", "rooms": { "joined": 0, "synced": 0 } });
        reply(session.invoke(&frame(&rights, expires_at, &sync)).await.response());
    }
    let ends: Vec<_> = dynamodb.rows().into_iter().map(|row| row.expires_at).collect();
    assert_eq!(ends, [expires_at + 5; 2]);
    assert_eq!(dynamodb.count("PutItem"), 2, "a row that ends with the token is not put at each beat");
}

#[tokio::test]
async fn a_connection_is_in_as_many_rooms_as_it_may_be() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).env("CONNECTION_ROOMS", "3").start().await.unwrap();
    let all = events::everywhere();
    let join = |room: &str| json!({ "action": "joinRoom", "roomId": room });
    for room in ["a", "b", "c", "a"] {
        assert_eq!(request(&session, &all, &join(room)).await["type"], "joined", "{room}");
    }
    assert_error(&request(&session, &all, &join("d")).await, "forbidden", &["`roomId` d", "3 rooms"]);
    let sync = json!({ "action": "sync", "rooms": { "a": 0, "e": 0, "f": 0 } });
    let synced = request(&session, &all, &sync).await;
    assert_eq!(synced["forbidden"], json!(["f", "e"]));
    assert_eq!(synced["rooms"].as_object().unwrap().len(), 1);
    assert_eq!(dynamodb.rooms_of_connection("c="), ["a", "b", "c"]);
    request(&session, &all, &json!({ "action": "leaveRoom", "roomId": "a" })).await;
    assert_eq!(request(&session, &all, &join("d")).await["type"], "joined");
}

/// A page of rows ends at a megabyte, whatever was asked for.
#[tokio::test]
async fn rooms_are_counted_over_pages() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).env("CONNECTION_ROOMS", "2").start().await.unwrap();
    let all = events::everywhere();
    let join = |room: &str| json!({ "action": "joinRoom", "roomId": room });
    for room in ["a", "b"] {
        assert_eq!(request(&session, &all, &join(room)).await["type"], "joined", "{room}");
    }
    let last = json!({ "connectionId": { "S": "c=" }, "roomId": { "S": "a" } });
    let page = json!({ "Count": 1, "ScannedCount": 1, "LastEvaluatedKey": last });
    let is_count = |call: &Call| call.body["Select"] == "COUNT";
    dynamodb.endpoint().fault(Rule::on("Query", Fault::Reply(json_reply(200, &page))).when(is_count).times(1));
    assert_error(&request(&session, &all, &join("c")).await, "forbidden", &["2 rooms"]);
}

/// A join whose log cannot be read must not get round the limit.
#[tokio::test]
async fn a_join_whose_log_cannot_be_read_is_counted_all_the_same() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).env("CONNECTION_ROOMS", "1").start().await.unwrap();
    let all = events::everywhere();
    let join = |room: &str| json!({ "action": "joinRoom", "roomId": room });
    assert_eq!(request(&session, &all, &join("a")).await["type"], "joined");
    let is_of_log = |call: &Call| call.body["TableName"] == MESSAGES_TABLE;
    dynamodb.endpoint().fault(Rule::on("Query", Fault::throughput_exceeded()).when(is_of_log));
    assert_error(&request(&session, &all, &join("b")).await, "forbidden", &["1 rooms"]);
    assert_eq!(dynamodb.rooms_of_connection("c="), ["a"]);
}

/// A `session` function that allows each subject two connections.
async fn two_connections_a_subject() -> (DynamoDb, ConnectionsServer, Environment) {
    let (dynamodb, connections) = (DynamoDb::start(), ConnectionsServer::start());
    let session =
        session(&dynamodb).env("CONNECTIONS_ENDPOINT", connections.endpoint()).env("SUBJECT_CONNECTIONS", "2");
    let session = session.start().await.unwrap();
    (dynamodb, connections, session)
}

#[tokio::test]
async fn a_subject_has_as_many_connections_as_it_may_have() {
    let (dynamodb, connections, session) = two_connections_a_subject().await;
    let open = async |connection: &str| status(&session, &connect(&json!({}), connection, Some("user:alice"))).await;
    assert_eq!((open("1=").await, open("2=").await), (200, 200));
    assert_eq!(open("3=").await, 429);
    assert_eq!(dynamodb.connections_of_room("user:alice"), ["1=", "2="], "who is refused is in no room");
    // Another subject has connections of its own.
    assert_eq!(status(&session, &events::connect("4=", "bob", None)).await, 200);
    // API Gateway has reported the end of one connection, and not that of the other.
    session.invoke(&events::disconnect("1=", "alice")).await;
    assert_eq!((open("5=").await, open("6=").await), (200, 429));
    connections.close("2=");
    let later = ConnectionRow::new("subject/alice", "2=").joined_at + 24 * 60 * 60 * 1_000;
    dynamodb.seed([ConnectionRow { joined_at: later, ..ConnectionRow::new("subject/alice", "2=") }]);
    assert_eq!(open("6=").await, 429, "its handshake may be under way, of which the API says the same");
    dynamodb.seed([ConnectionRow::new("subject/alice", "2=")]);
    assert_eq!(open("6=").await, 200);
    assert_eq!(dynamodb.subject_connections("alice"), ["5=", "6="]);
}

/// Handshakes at the same moment, or a limit that was lowered, may leave more connections than the limit: of four, one
/// is gone, and three are still more than two.
#[tokio::test]
async fn a_connection_that_is_gone_does_not_make_room_beyond_the_limit() {
    let (dynamodb, connections, session) = two_connections_a_subject().await;
    dynamodb.seed(["1=", "2=", "3=", "4="].map(|open| ConnectionRow::new("subject/alice", open)));
    connections.close("1=");
    assert_eq!(status(&session, &connect(&json!({}), "5=", None)).await, 429);
    assert_eq!(dynamodb.subject_connections("alice"), ["2=", "3=", "4="]);
}

/// DynamoDB deletes a row hours after it has expired.
#[tokio::test]
async fn connections_whose_token_has_ended_do_not_hide_others() {
    let (dynamodb, _connections, session) = two_connections_a_subject().await;
    let expired = |number| ConnectionRow { expires_at: now() - 1, ..ConnectionRow::new("subject/alice", number) };
    // By their names, the expired connections come before the open ones.
    dynamodb.seed(["0=", "1=", "2=", "3="].map(expired));
    let open = async |connection: &str| status(&session, &connect(&json!({}), connection, None)).await;
    assert_eq!((open("5=").await, open("6=").await, open("7=").await), (200, 200, 429));
}

#[tokio::test]
async fn connections_that_nobody_counts_cost_nothing() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).env("SUBJECT_CONNECTIONS", "0").start().await.unwrap();
    assert_eq!(status(&session, &connect(&json!({}), "c=", None)).await, 200);
    assert!(dynamodb.endpoint().operations().is_empty());
    session.invoke(&events::disconnect("c=", "alice")).await;
    assert_eq!(dynamodb.endpoint().operations(), ["Query"], "it looks for rooms, and for nothing else");
}

#[tokio::test]
async fn whoever_may_join_a_room_may_read_its_state() {
    let dynamodb = DynamoDb::start();
    dynamodb.seed_state([json!({
        "roomId": "fx", "key": "k", "version": 0, "seq": 1, "from": "eu", "sentAt": 1, "data": "1",
    })]);
    let function = session(&dynamodb).env("STATE_TABLE", STATE_TABLE).env("STATE_ROOMS", "fx*").start().await.unwrap();
    let get = json!({"action": "getState", "roomId": "fx"});
    let reply = request(&function, &json!({"*": ["send", "history"]}), &get).await;
    assert_error(&reply, "forbidden", &["fx"]);
    let reply = request(&function, &json!({"*": ["join"]}), &get).await;
    assert_eq!(reply["entries"][0]["key"], "k", "{reply}");
    let reply = request(&function, &json!({"*": ["join"]}), &json!({"action": "getState", "roomId": "chat"})).await;
    assert_error(&reply, "bad_request", &["roomId", "no state is kept"]);
    let joined = json!({"action": "joinRoom", "roomId": "fx", "state": true});
    assert_eq!(request(&function, &json!({"*": ["join"]}), &joined).await["state"][0]["key"], "k");
}

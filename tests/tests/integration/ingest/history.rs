//! Reading the log: `joinRoom` with `after`, `sync`, `getHistory`.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use shared::limits::{FRAME_BYTES, MAX_CLIENT_FRAME_BYTES, MAX_MESSAGE_BYTES, MAX_POST_BYTES};
use testkit::dynamodb::{ConnectionRow, DynamoDb};
use testkit::events;
use testkit::runtime_api::Environment;

use super::{assert_error, send, session};

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A row of a log, as `fanout` writes it.
fn row(room: &str, seq: u64, data: &Value) -> Value {
    let now = unix_seconds();
    json!({
        "roomId": room, "seq": seq, "id": format!("m{seq}"), "from": "bob", "sentAt": now * 1_000, "data": data.to_string(),
        "appendedAt": now * 1_000, "expiresAt": now + 3_600,
    })
}

/// A log with these numbers, in a room with the member `c=`.
fn seed(dynamodb: &DynamoDb, room: &str, numbers: impl IntoIterator<Item = u64>) {
    seed_rows(dynamodb, room, numbers.into_iter().map(|seq| row(room, seq, &json!(seq))));
}

fn seed_rows(dynamodb: &DynamoDb, room: &str, rows: impl IntoIterator<Item = Value>) {
    let rows: Vec<_> = rows.into_iter().collect();
    let newest = rows.last().and_then(|row| row["seq"].as_u64()).expect("a row");
    dynamodb.seed_log(rows);
    dynamodb.seed_head(room, newest, unix_seconds() * 1_000, unix_seconds() + 3_600);
    dynamodb.seed([ConnectionRow::new("c=", room)]);
}

fn numbers(reply: &Value) -> Vec<u64> {
    reply["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

async fn join(session: &Environment, room: &str, after: Option<u64>) -> Value {
    let mut frame = json!({ "action": "joinRoom", "roomId": room });
    if let Some(after) = after {
        frame["after"] = json!(after);
    }
    send(session, &frame).await
}

async fn sync(session: &Environment, rooms: Value) -> Value {
    let synced = send(session, &json!({ "action": "sync", "rooms": rooms })).await;
    assert_eq!(synced["type"], "synced", "{synced}");
    synced["rooms"].clone()
}

/// The fields of a reply besides its messages.
fn state(reply: &Value) -> (u64, bool, bool) {
    (reply["seq"].as_u64().unwrap(), reply["more"].as_bool().unwrap(), reply["truncated"].as_bool().unwrap())
}

#[tokio::test]
async fn joining_says_where_the_log_stands_and_with_after_what_was_missed() {
    let dynamodb = DynamoDb::start();
    seed(&dynamodb, "room", 100..=110);
    let session = session(&dynamodb).start().await.unwrap();

    let joined = join(&session, "room", None).await;
    assert_eq!((numbers(&joined), state(&joined)), (vec![], (110, false, false)));
    let joined = join(&session, "room", Some(107)).await;
    assert_eq!((numbers(&joined), state(&joined)), (vec![108, 109, 110], (110, false, false)));
    let first = &joined["messages"][0];
    assert_eq!((&first["id"], &first["from"], &first["data"]), (&json!("m108"), &json!("bob"), &json!(108)));
    let joined = join(&session, "room", Some(110)).await;
    assert_eq!((numbers(&joined), state(&joined)), (vec![], (110, false, false)), "nothing was missed");
    let joined = join(&session, "room", Some(0)).await;
    assert_eq!(
        (numbers(&joined), state(&joined)),
        ((100..=110).collect(), (110, false, false)),
        "all that is retained"
    );
}

#[tokio::test]
async fn what_retention_dropped_after_after_is_said() {
    let dynamodb = DynamoDb::start();
    seed(&dynamodb, "room", 100..=110);
    dynamodb.expire_log("room", 104);
    let session = session(&dynamodb).start().await.unwrap();
    for (after, truncated) in [(99, true), (103, true), (104, false), (105, false), (110, false), (0, false)] {
        let joined = join(&session, "room", Some(after)).await;
        assert_eq!(state(&joined), (110, false, truncated), "after {after}");
        assert_eq!(numbers(&joined), ((after + 1).max(105)..=110).collect::<Vec<_>>());
    }
    // The whole log is gone.
    dynamodb.expire_log("room", 110);
    let joined = join(&session, "room", Some(107)).await;
    assert_eq!((numbers(&joined), state(&joined)), (vec![], (110, false, true)));
    let joined = join(&session, "room", Some(110)).await;
    assert_eq!((numbers(&joined), state(&joined)), (vec![], (110, false, false)));
    // The log has started anew, at far greater numbers.
    seed(&dynamodb, "room", [5_000, 5_001]);
    let joined = join(&session, "room", Some(107)).await;
    assert_eq!((numbers(&joined), state(&joined)), (vec![5_000, 5_001], (5_001, false, true)));
}

#[tokio::test]
async fn rows_that_have_expired_and_are_not_deleted_yet_are_not_shown() {
    let dynamodb = DynamoDb::start();
    let expired = (100..104).map(|seq| {
        let mut row = row("room", seq, &json!(seq));
        row["expiresAt"] = json!(unix_seconds() - 5);
        row
    });
    dynamodb.seed_log(expired);
    seed(&dynamodb, "room", 104..=106);
    let session = session(&dynamodb).start().await.unwrap();
    let joined = join(&session, "room", Some(101)).await;
    assert_eq!((numbers(&joined), state(&joined)), (vec![104, 105, 106], (106, false, true)));
    let history = send(&session, &json!({ "action": "getHistory", "roomId": "room" })).await;
    assert_eq!((numbers(&history), &history["more"]), (vec![104, 105, 106], &json!(false)));
}

#[tokio::test]
async fn sync_catches_up_page_by_page_and_repeats_nothing() {
    let dynamodb = DynamoDb::start();
    seed(&dynamodb, "room", 1_000..1_250);
    let session = session(&dynamodb).start().await.unwrap();
    let (mut after, mut received, mut replies) = (0, Vec::<u64>::new(), 0);
    loop {
        let reply = sync(&session, json!({ "room": after })).await["room"].clone();
        let page = numbers(&reply);
        replies += 1;
        received.extend(&page);
        after = *page.last().unwrap();
        assert_eq!(reply["seq"], 1_249);
        if reply["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(received, (1_000..1_250).collect::<Vec<_>>());
    assert_eq!(replies, 3, "a hundred at a time");
}

#[tokio::test]
async fn sync_serves_every_room_that_it_is_asked_for() {
    let dynamodb = DynamoDb::start();
    seed(&dynamodb, "a", 10..=12);
    seed(&dynamodb, "b", 20..=22);
    let session = session(&dynamodb).start().await.unwrap();
    let rooms = sync(&session, json!({ "a": 11, "b": 22, "empty": 0, "unknown": 7, "user:alice": 0 })).await;
    assert_eq!((numbers(&rooms["a"]), state(&rooms["a"])), (vec![12], (12, false, false)));
    assert_eq!((numbers(&rooms["b"]), state(&rooms["b"])), (vec![], (22, false, false)));
    assert_eq!((numbers(&rooms["empty"]), state(&rooms["empty"])), (vec![], (0, false, false)));
    assert_eq!((numbers(&rooms["unknown"]), state(&rooms["unknown"])), (vec![], (0, false, true)));
    assert_eq!(rooms.as_object().unwrap().len(), 5);
}

#[tokio::test]
async fn sync_without_rooms_is_a_heartbeat_that_costs_nothing() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    let synced = send(&session, &json!({ "action": "sync", "rooms": {}, "requestId": "q" })).await;
    let mut expected = json!({ "type": "synced", "requestId": "q", "rooms": {}, "renewed": [] });
    expected["syncAfterMs"] = synced["syncAfterMs"].clone();
    assert_eq!(synced, expected);
    assert!((513_000..=540_000).contains(&synced["syncAfterMs"].as_u64().unwrap()));
    assert!(dynamodb.endpoint().operations().is_empty());
}

#[tokio::test]
async fn history_pages_back_to_the_beginning() {
    let dynamodb = DynamoDb::start();
    seed(&dynamodb, "room", 1_000..1_120);
    let session = session(&dynamodb).start().await.unwrap();
    let mut frame = json!({ "action": "getHistory", "roomId": "room" });
    let (mut received, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let history = send(&session, &frame).await;
        assert_eq!((&history["type"], &history["roomId"]), (&json!("history"), &json!("room")));
        let page = numbers(&history);
        assert!(page.is_sorted(), "ascending inside");
        sizes.push(page.len());
        frame["before"] = json!(page[0]);
        received.splice(0..0, page);
        if history["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(received, (1_000..1_120).collect::<Vec<_>>());
    assert_eq!(sizes, [50, 50, 20]);

    frame["limit"] = json!(100);
    frame["before"] = json!(1_100);
    let history = send(&session, &frame).await;
    assert_eq!(
        (numbers(&history), &history["more"]),
        ((1_000..1_100).collect(), &json!(false)),
        "exactly all there is"
    );
    frame["before"] = json!(1_000);
    let history = send(&session, &frame).await;
    assert_eq!((numbers(&history), &history["more"]), (vec![], &json!(false)));
}

#[tokio::test]
async fn replies_are_packed_up_to_32_kib_and_a_large_message_comes_alone() {
    let dynamodb = DynamoDb::start();
    // The largest message there can be, between small ones and middling ones.
    let around = r#"{"seq":9007199254740991,"id":"m1004","from":"bob","sentAt":1700000000000,"data":""}"#.len();
    let sizes = [10, 10, 9_000, 9_000, MAX_MESSAGE_BYTES - around, 9_000, 9_000, 9_000, 9_000, 10];
    seed_rows(&dynamodb, "room", (1_000..).zip(sizes).map(|(seq, bytes)| row("room", seq, &json!("x".repeat(bytes)))));
    let session = session(&dynamodb).start().await.unwrap();

    let (mut after, mut pages) = (0, Vec::new());
    loop {
        let text = json!({ "action": "sync", "rooms": { "room": after } }).to_string();
        let response = session.invoke(&events::frame("c=", "alice", &text)).await.response().clone();
        let body = response["body"].as_str().unwrap();
        let reply = serde_json::from_str::<Value>(body).unwrap()["rooms"]["room"].clone();
        let page = numbers(&reply);
        assert!(body.len() <= if page.len() > 1 { FRAME_BYTES } else { MAX_POST_BYTES }, "{} bytes", body.len());
        after = *page.last().unwrap();
        pages.push(page);
        if reply["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(pages, [vec![1_000, 1_001, 1_002, 1_003], vec![1_004], vec![1_005, 1_006, 1_007], vec![1_008, 1_009]]);

    let history = send(&session, &json!({ "action": "getHistory", "roomId": "room", "before": 1_005 })).await;
    assert_eq!((numbers(&history), &history["more"]), (vec![1_004], &json!(true)));
    let history = send(&session, &json!({ "action": "getHistory", "roomId": "room", "before": 1_004 })).await;
    assert_eq!((numbers(&history), &history["more"]), (vec![1_000, 1_001, 1_002, 1_003], &json!(false)));
}

#[tokio::test]
async fn fifty_rooms_of_the_longest_names_and_largest_messages_fit_a_reply_and_catch_up() {
    let dynamodb = DynamoDb::start();
    let room = |number: u32| format!("{number:0>100}");
    let around = r#"{"seq":9007199254740991,"id":"m1000","from":"bob","sentAt":1700000000000,"data":""}"#.len();
    for number in 0..50 {
        // The first room's message is as large as can be; a few of the others fill a reply.
        let bytes = if number == 0 { MAX_MESSAGE_BYTES - around } else { 6_000 };
        seed_rows(&dynamodb, &room(number), [row(&room(number), 1_000, &json!("x".repeat(bytes)))]);
    }
    let session = session(&dynamodb).start().await.unwrap();
    let mut after: Vec<u64> = vec![0; 50];
    let mut received = BTreeSet::new();
    let mut replies = 0;
    while received.len() < 50 {
        let rooms: Value = (0..50)
            .map(|number| (room(number), json!(after[number as usize])))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let frame = json!({ "action": "sync", "rooms": rooms, "requestId": "q".repeat(64) }).to_string();
        assert!(frame.len() <= MAX_CLIENT_FRAME_BYTES);
        let response = session.invoke(&events::frame("c=", "alice", &frame)).await.response().clone();
        let body = response["body"].as_str().unwrap();
        assert!(body.len() <= MAX_POST_BYTES, "{} bytes", body.len());
        let reply: Value = serde_json::from_str(body).unwrap();
        for number in 0..50 {
            let state = &reply["rooms"][room(number)];
            let page = numbers(state);
            let missing = page.is_empty() && after[number as usize] == 0;
            assert_eq!((&state["seq"], &state["more"]), (&json!(1_000), &json!(missing)));
            if !page.is_empty() {
                assert!(received.insert(number), "{number} came twice");
                after[number as usize] = 1_000;
            }
        }
        replies += 1;
        assert!(replies <= 50, "every reply brings something");
    }
}

#[tokio::test]
async fn every_refusal_names_the_field_and_the_limit() {
    let dynamodb = DynamoDb::start();
    let session = session(&dynamodb).start().await.unwrap();
    let rooms =
        |count: usize| (0..count).map(|number| (format!("r{number}"), json!(0))).collect::<serde_json::Map<_, _>>();
    let refused = [
        (json!({ "action": "joinRoom" }), "bad_request", vec!["`roomId`", "missing"]),
        (
            json!({ "action": "joinRoom", "roomId": "room", "after": -1 }),
            "bad_request",
            vec!["`after`", "0 to 9007199254740991"],
        ),
        (json!({ "action": "joinRoom", "roomId": "room", "after": 1.5 }), "bad_request", vec!["`after`", "integer"]),
        (json!({ "action": "leaveRoom", "roomId": "a/b" }), "bad_request", vec!["`roomId`", "A-Z"]),
        (json!({ "action": "sync" }), "bad_request", vec!["`rooms`", "missing"]),
        (json!({ "action": "sync", "rooms": ["room"] }), "bad_request", vec!["`rooms`", "object"]),
        (json!({ "action": "sync", "rooms": { "room": "1" } }), "bad_request", vec!["`rooms`", "integers"]),
        (json!({ "action": "sync", "rooms": { "a b": 1 } }), "bad_request", vec!["`rooms`", "A-Z"]),
        (json!({ "action": "sync", "rooms": rooms(51) }), "bad_request", vec!["`rooms`", "50", "51"]),
        (json!({ "action": "getHistory", "roomId": "room", "limit": 101 }), "bad_request", vec!["`limit`", "1 to 100"]),
        (json!({ "action": "getHistory", "roomId": "room", "limit": 0 }), "bad_request", vec!["`limit`", "1 to 100"]),
        (json!({ "action": "getHistory", "roomId": "room", "before": 0 }), "bad_request", vec!["`before`", "1 to"]),
        (json!({ "action": "getHistory", "roomId": "user:bob" }), "forbidden", vec!["user:bob"]),
    ];
    for (mut frame, code, parts) in refused {
        frame["requestId"] = json!("q");
        let reply = send(&session, &frame).await;
        assert_error(&reply, code, &parts);
        assert_eq!(reply["requestId"], "q");
    }
    assert!(dynamodb.endpoint().operations().is_empty(), "nothing that is refused costs a call");
}

/// An eventually consistent read may lack messages that were appended a moment ago, and a page without them would leave
/// a hole. The entry that the page should end before is looked at first.
#[tokio::test]
async fn a_page_that_does_not_end_just_before_where_it_should_is_read_again_consistently() {
    let dynamodb = DynamoDb::start();
    seed(&dynamodb, "room", 100..=110);
    let session = session(&dynamodb).start().await.unwrap();
    for (before, consistent) in
        [(json!(111), vec![false]), (json!(null), vec![false]), (json!(115), vec![false, true, true])]
    {
        let asked = dynamodb.calls_of("Query").len();
        let frame = json!({ "action": "getHistory", "roomId": "room", "limit": 1, "before": before });
        assert_eq!(numbers(&send(&session, &frame).await), [110]);
        let reads: Vec<bool> =
            dynamodb.calls_of("Query")[asked..].iter().map(|call| call.body["ConsistentRead"] == true).collect();
        assert_eq!(reads, consistent, "before {before}");
    }
}

//! The content of frames: packing, order, conflation, numbers.

use std::time::Duration;

use serde_json::{Value, json};
use shared::limits::{FRAME_BYTES, MAX_MESSAGE_BYTES, MAX_POST_BYTES};
use testkit::events::{QueueRecord, queued_message};

use super::{World, ids, invoke, message};

/// A message whose data is a text of this many bytes.
fn sized(id: &str, bytes: usize) -> QueueRecord {
    QueueRecord::message("room", id, &json!("x".repeat(bytes)))
}

/// A message with a key, which may have a version.
fn about(id: &str, key: &str, version: Option<u64>) -> QueueRecord {
    let mut body = queued_message("room", id, "alice", &json!(id));
    body["key"] = json!(key);
    if let Some(version) = version {
        body["version"] = json!(version);
    }
    QueueRecord::new(id, "room", body)
}

/// The range of numbers that a frame covers: above the first, up to and including the second.
fn coverage(frame: &Value) -> (u64, u64) {
    let messages = frame["messages"].as_array().unwrap();
    let number = |message: Option<&Value>| message.unwrap()["seq"].as_u64().unwrap();
    let after = frame["after"].as_u64().unwrap_or_else(|| number(messages.first()) - 1);
    (after, frame["seq"].as_u64().unwrap_or_else(|| number(messages.last())))
}

#[tokio::test]
async fn nine_messages_cost_one_post_for_each_connection() {
    let world = World::start();
    world.seed("room", "c", 20);
    let records: Vec<_> = (0..9).map(|number| message("room", &format!("m{number}"))).collect();

    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());

    assert_eq!(world.connections.record().posts, 20);
    let log = world.dynamodb.log("room");
    for connection in 0..20 {
        let frames = world.frames(&format!("c{connection}"));
        let [frame] = &frames[..] else { panic!("{} frames", frames.len()) };
        assert_eq!(ids(frame), ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"]);
        assert_eq!((&frame["type"], &frame["roomId"]), (&json!("messages"), &json!("room")));
        assert_eq!((frame.get("after"), frame.get("seq")), (None, None), "implied by the messages");
        let numbers: Vec<_> = frame["messages"].as_array().unwrap().iter().map(|message| &message["seq"]).collect();
        assert_eq!(numbers, log.iter().map(|row| &row["seq"]).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_message_stands_in_its_frame_as_the_protocol_says() {
    let world = World::start();
    world.seed("room", "c", 1);
    let data = json!({ "text": "Grüße \u{1f600}", "numbers": [1, 2.5, null] });
    let mut body = queued_message("room", "m", "alice", &data);
    body["sentAt"] = json!(1_700_000_000_123_u64);
    body["key"] = json!("k");
    body["version"] = json!(3);

    let fanout = world.fanout().start().await.unwrap();
    invoke(&fanout, &[QueueRecord::new("record", "room", body)]).await;

    let frame = &world.frames("c0")[0];
    let seq = world.dynamodb.log("room")[0]["seq"].clone();
    let message = json!({ "seq": seq, "id": "m", "from": "alice", "sentAt": 1_700_000_000_123_u64, "data": data, "key": "k", "version": 3 });
    assert_eq!(*frame, json!({ "type": "messages", "roomId": "room", "messages": [message] }));
}

#[tokio::test]
async fn large_messages_are_cut_into_frames_of_32_kib() {
    let world = World::start();
    world.seed("room", "c", 3);
    let records = [
        sized("a", 15_000),
        sized("b", 15_000),
        sized("c", 15_000),
        sized("alone", 100_000),
        sized("d", 10),
        sized("e", 10),
    ];
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());

    for connection in ["c0", "c1", "c2"] {
        let bodies = world.connections.delivered(connection);
        let packed: Vec<_> = bodies.iter().map(|body| ids(&serde_json::from_str(body).unwrap())).collect();
        assert_eq!(packed, [vec!["a", "b"], vec!["c"], vec!["alone"], vec!["d", "e"]]);
        let too_large: Vec<_> = bodies.iter().map(String::len).filter(|bytes| *bytes > FRAME_BYTES).collect();
        assert!(matches!(too_large[..], [bytes] if bytes <= MAX_POST_BYTES), "{too_large:?}");
    }
}

#[tokio::test]
async fn the_largest_message_fits_a_frame_and_a_larger_one_is_a_dead_letter() {
    let world = World::start();
    world.seed("room", "c", 1);
    // The bytes that a message takes besides its data, under the longest number.
    let around = r#"{"seq":9007199254740991,"id":"fits","from":"alice","sentAt":1700000000000,"data":""}"#.len();
    let fanout = world.fanout().start().await.unwrap();
    let records = [sized("fits", MAX_MESSAGE_BYTES - around), sized("less", MAX_MESSAGE_BYTES - around + 1)];
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());

    assert_eq!(world.received("c0"), ["fits"]);
    assert!(world.connections.delivered("c0")[0].len() <= MAX_POST_BYTES);
    let letters = world.dead_letters();
    assert_eq!(letters.len(), 1);
    let reason = letters[0].attribute("reason").unwrap();
    assert!(reason.contains("too large") && reason.contains(&MAX_MESSAGE_BYTES.to_string()), "{reason}");
}

#[tokio::test]
async fn frames_reach_each_connection_in_order_and_never_two_at_once() {
    let world = World::start();
    world.seed("room", "c", 12);
    world.connections.set_latency(Duration::from_millis(50));
    let first: Vec<_> = (0..4).map(|number| sized(&format!("a{number}"), 20_000)).collect();
    let second: Vec<_> = (0..4).map(|number| sized(&format!("b{number}"), 20_000)).collect();

    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &first).await, Vec::<String>::new());
    assert_eq!(invoke(&fanout, &second).await, Vec::<String>::new());

    let record = world.connections.record();
    assert_eq!(record.overlapped(), Vec::<&str>::new());
    assert!(record.max_in_flight > 1, "different connections are posted to side by side");
    for connection in 0..12 {
        let frames = world.frames(&format!("c{connection}"));
        let received: Vec<_> = frames.iter().flat_map(ids).collect();
        assert_eq!(received, ["a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"]);
        let covered: Vec<_> = frames.iter().map(coverage).collect();
        assert!(covered.windows(2).all(|pair| pair[0].1 == pair[1].0), "{covered:?}");
    }
}

#[tokio::test]
async fn of_one_key_only_the_newest_version_is_broadcast_and_the_frame_covers_the_others() {
    let world = World::start();
    world.seed("room", "c", 1);
    let records = [
        about("eur-1", "eur", Some(1)),
        message("room", "plain"),
        about("eur-3", "eur", Some(3)),
        about("eur-2", "eur", Some(2)),
    ];
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());

    let log = world.dynamodb.log("room");
    let logged: Vec<_> = log.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(logged, ["eur-1", "plain", "eur-3", "eur-2"], "all are logged");
    let frame = &world.frames("c0")[0];
    assert_eq!(ids(frame), ["plain", "eur-3"]);
    let first = log[0]["seq"].as_u64().unwrap();
    assert_eq!((&frame["after"], &frame["seq"]), (&json!(first - 1), &json!(first + 3)));
}

#[tokio::test]
async fn without_versions_the_later_message_of_a_key_is_the_newer() {
    let world = World::start();
    world.seed("room", "c", 1);
    let fanout = world.fanout().start().await.unwrap();
    invoke(&fanout, &[about("one", "k", None), about("two", "k", None), about("other", "l", None)]).await;
    assert_eq!(world.received("c0"), ["two", "other"]);
}

#[tokio::test]
async fn conflation_over_several_frames_leaves_no_gap_between_them() {
    let world = World::start();
    world.seed("room", "c", 1);
    let large = |id: &str| sized(id, 25_000);
    let records = [about("k1", "k", None), large("a"), about("k2", "k", None), large("b"), about("k3", "k", None)];
    let fanout = world.fanout().start().await.unwrap();
    invoke(&fanout, &records).await;

    let frames = world.frames("c0");
    assert_eq!(frames.iter().map(ids).collect::<Vec<_>>(), [vec!["a"], vec!["b", "k3"]]);
    let log = world.dynamodb.log("room");
    let (first, last) = (log[0]["seq"].as_u64().unwrap(), log[4]["seq"].as_u64().unwrap());
    assert_eq!((coverage(&frames[0]).0, coverage(&frames[1]).1), (first - 1, last));
    assert_eq!(coverage(&frames[0]).1, coverage(&frames[1]).0);
}

#[tokio::test]
async fn a_redelivered_batch_keeps_its_numbers() {
    let world = World::start();
    world.seed("room", "c", 1);
    let records = [message("room", "a"), message("room", "b")];
    let again = records.clone().map(|record| record.received(2));
    let fanout = world.fanout().start().await.unwrap();
    invoke(&fanout, &records).await;
    invoke(&fanout, &again).await;
    // The last redelivery goes to an environment that knows nothing.
    invoke(&world.fanout().start().await.unwrap(), &again).await;

    assert_eq!(world.dynamodb.log("room").len(), 2);
    let bodies = world.connections.delivered("c0");
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
}

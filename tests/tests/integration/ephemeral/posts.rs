//! The posts of a batch, and what the batch leaves behind.

use std::time::Duration;

use serde_json::json;
use testkit::aws_endpoint::{Fault, Rule};
use testkit::connections_server::{Script, Scripted};
use testkit::dynamodb::ConnectionRow;
use testkit::events::{QueueRecord, queue_batch};

use super::{ephemeral, invoke, later, record, typing};
use crate::fanout::World;

/// Posts a second at which all rooms of a batch are paid for, also by an environment that has just started.
const PLENTY: u32 = 1_000_000;

#[tokio::test]
async fn each_connection_of_a_room_gets_one_frame_of_the_newest_messages() {
    let world = World::start();
    world.seed("chat", "c", 3);
    world.seed("user:bob", "d", 1);
    world.seed("silent", "e", 1);
    let now = later();
    let records = [
        record("chat", "ann", Some("typing"), now - 30, &json!(1)),
        record("chat", "ann", Some("typing"), now - 10, &json!(2)),
        record("chat", "ann", Some("cursor"), now - 20, &json!({ "x": 1 })),
        record("chat", "bob", None, now, &json!(null)),
        record("user:bob", "ann", None, now, &json!("hello")),
        record("nobody", "ann", None, now, &json!("hello")),
        QueueRecord::new("producer", "chat", json!({ "roomId": "chat", "data": 4 })).queued_at(now - 40),
        QueueRecord::new("broken", "chat", "{"),
    ];
    let function = ephemeral(&world).env("EPHEMERAL_POSTS_PER_SECOND", PLENTY).start().await.unwrap();
    invoke(&function, &records).await;

    let entries = json!([
        { "from": "bob", "sentAt": now, "data": null },
        { "from": "ann", "sentAt": now - 10, "key": "typing", "data": 2 },
        { "from": "ann", "sentAt": now - 20, "key": "cursor", "data": { "x": 1 } },
        { "from": "producer", "sentAt": now - 40, "data": 4 },
    ]);
    for connection in ["c0", "c1", "c2"] {
        let frame = json!({ "type": "ephemeral", "roomId": "chat", "ephemeral": entries });
        assert_eq!(world.frames(connection), [frame]);
    }
    let entry = json!({ "from": "ann", "sentAt": now, "data": "hello" });
    assert_eq!(world.frames("d0"), [json!({ "type": "ephemeral", "roomId": "user:bob", "ephemeral": [entry] })]);
    assert_eq!((world.connections.record().posts, world.connections.record().signature_errors.len()), (4, 0));
    assert_eq!(world.dynamodb.endpoint().operations(), ["Query"; 3], "a page of each room");
}

/// An expired row may be that of a connection whose token has ended, and which nobody has closed.
#[tokio::test]
async fn a_connection_whose_row_has_expired_gets_nothing() {
    let world = World::start();
    let expired = ConnectionRow { expires_at: 1_700_000_000, ..ConnectionRow::new("expired", "chat") };
    world.dynamodb.seed([expired, ConnectionRow::new("live", "chat")]);
    let function = ephemeral(&world).env("EPHEMERAL_POSTS_PER_SECOND", PLENTY).start().await.unwrap();
    invoke(&function, &[typing("chat", "ann")]).await;
    assert_eq!((world.frames("live").len(), world.connections.connection("expired").posts), (1, 0));
}

/// All rows of connections.
fn rows(world: &World) -> Vec<ConnectionRow> {
    let mut rows = world.dynamodb.rows();
    rows.sort_by(|one, other| one.connection_id.cmp(&other.connection_id));
    rows
}

#[tokio::test]
async fn whatever_posts_meet_it_is_tried_once_and_leaves_no_trace() {
    let world = World::start();
    let outcomes = [
        ("ok", Scripted::ok()),
        ("gone", Scripted::gone()),
        ("throttled", Scripted::throttled()),
        ("forbidden", Scripted::forbidden()),
        ("notFound", Scripted::not_found()),
        ("tooLarge", Scripted::payload_too_large()),
        ("badRequest", Scripted::bad_request()),
        ("failed", Scripted::internal_error()),
        ("unavailable", Scripted::unavailable()),
        ("reset", Scripted::reset()),
        ("closed", Scripted::close()),
        ("hanging", Scripted::hang()),
    ];
    for (prefix, _) in &outcomes {
        world.seed(prefix, prefix, 3);
    }
    let scripted = outcomes.clone();
    world.connections.script_others(move |id| {
        let outcome = scripted.iter().find(|(prefix, _)| id.trim_end_matches(char::is_numeric) == *prefix);
        Script::always(outcome.expect("a connection of a room").1.clone())
    });
    let before = rows(&world);
    for (room, _) in &outcomes {
        // A refused post silences its environment, so each room has a new one.
        let function = ephemeral(&world).env("FANOUT_POST_TIMEOUT_MS", 6_000).start().await.unwrap();
        invoke(&function, &[typing(room, "ann")]).await;
        let record = world.connections.record();
        let posts: Vec<_> =
            (0..3).map(|n| record.connections.get(&format!("{room}{n}")).map_or(0, |c| c.posts)).collect();
        assert!(posts.contains(&1) && posts.iter().all(|posts| *posts <= 1), "{room}: {posts:?}");
    }
    assert_eq!(rows(&world), before);
    assert_eq!(world.connections.record().deletes(), 0, "nobody is closed");
    let operations = world.dynamodb.endpoint().operations();
    assert!(operations.iter().all(|operation| operation == "Query"), "nothing is written: {operations:?}");
    assert!(world.queues.operations().is_empty());
}

#[tokio::test]
async fn a_frame_has_32_kib_of_the_newest_messages() {
    let world = World::start();
    world.seed("room", "c", 1);
    let now = later();
    // 4 KiB with their quotes each.
    let data = |letter: &str| json!(letter.repeat(4_094));
    let mut records: Vec<_> =
        (0..9).map(|n| record("room", &format!("s{n}"), None, now - n, &data(&n.to_string()))).collect();
    records.push(record("room", "small", None, now - 99, &json!("fits")));
    let function = ephemeral(&world).start().await.unwrap();
    invoke(&function, &records).await;
    let [body] = &world.connections.delivered("c0")[..] else { panic!("one frame") };
    assert!((28_000..=32 * 1024).contains(&body.len()), "{} bytes", body.len());
    let frame = &world.frames("c0")[0];
    let senders: Vec<_> =
        frame["ephemeral"].as_array().unwrap().iter().map(|entry| entry["from"].as_str().unwrap()).collect();
    assert_eq!(senders, ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "small"]);
    let lines = function.metrics(1).await;
    assert_eq!((lines[0].count("EphemeralsPosted"), lines[0].count("EphemeralsDroppedFull")), (8, 2));
}

#[tokio::test]
async fn rooms_above_the_limit_are_left_out_as_their_first_page_tells() {
    let world = World::start();
    world.seed("large", "l", 2_000);
    world.seed("two-pages", "t", 600);
    world.seed("few", "f", 2);
    let function = ephemeral(&world).env("EPHEMERAL_MAX_MEMBERS", 1_000).start().await.unwrap();
    // Each room has a batch of its own: in one, the other room's posts might use up the allowance, and the large room
    // would not be read.
    for room in ["large", "two-pages"] {
        invoke(&function, &[typing(room, "ann")]).await;
    }
    let record = world.connections.record();
    assert_eq!(record.posts, 600, "each of the other room once");
    assert!(record.connections.iter().all(|(id, connection)| id.starts_with('t') && connection.posts == 1));
    assert_eq!(world.dynamodb.count("Query"), 1 + 2, "of a large room a page");
    let lines = function.metrics(2).await;
    assert_eq!((lines[0].count("EphemeralsDroppedLarge"), lines[1].count("EphemeralsPosted")), (1, 1));

    let exactly = ephemeral(&world).env("EPHEMERAL_MAX_MEMBERS", 1).start().await.unwrap();
    invoke(&exactly, &[typing("few", "ann")]).await;
    assert_eq!(exactly.metrics(1).await[0].count("EphemeralsDroppedLarge"), 1);
}

#[tokio::test]
async fn posts_in_flight_are_bounded_over_all_rooms() {
    let world = World::start();
    for room in ["a", "b", "c", "d"] {
        world.seed(room, room, 10);
    }
    world.connections.set_latency(Duration::from_millis(20));
    let function = ephemeral(&world).env("FANOUT_CONCURRENCY", 4).env("EPHEMERAL_POSTS_PER_SECOND", PLENTY);
    let function = function.start().await.unwrap();
    invoke(&function, &["a", "b", "c", "d"].map(|room| typing(room, "ann"))).await;
    let record = world.connections.record();
    assert!((1..=4).contains(&record.max_in_flight), "{}", record.max_in_flight);
}

#[tokio::test]
async fn a_table_that_is_down_costs_its_messages_and_no_invocation() {
    let world = World::start();
    world.seed("room", "c", 1);
    world.dynamodb.fault(Rule::on("Query", Fault::access_denied()).times(1));
    let function = ephemeral(&world).start().await.unwrap();
    invoke(&function, &[typing("room", "ann")]).await;
    assert_eq!(function.metrics(1).await[0].count("EphemeralsDroppedFailed"), 1);
    invoke(&function, &[typing("room", "ann")]).await;
    assert_eq!(world.connections.record().posts, 1, "the next ones are posted");
}

#[tokio::test]
async fn connections_that_hang_end_with_the_invocation() {
    let world = World::start();
    world.seed("room", "c", 5);
    let data = json!("x".repeat(4_000));
    let records: Vec<_> = (0..10).map(|n| record("room", &format!("s{n}"), None, later(), &data)).collect();
    world.connections.script_others(|_| Script::always(Scripted::hang()));
    let function = ephemeral(&world).env("FANOUT_CONCURRENCY", 2).env("FANOUT_DEADLINE_RESERVE_MS", 4_000);
    let function = function.start().await.unwrap();
    let batch = queue_batch(&records);
    let invocation = function.invoke_within(&batch, Duration::from_secs(8)).await;
    assert_eq!(invocation.response(), &json!({ "batchItemFailures": [] }));
    let line = &function.metrics(1).await[0];
    let counted = ["EphemeralsDroppedFull", "EphemeralsDroppedOld", "EphemeralsPosted"].map(|name| line.count(name));
    assert_eq!(counted, [2, 8, 0], "each once");
}

#[tokio::test]
async fn an_event_without_records_is_served() {
    let world = World::start();
    let function = ephemeral(&world).start().await.unwrap();
    invoke(&function, &[]).await;
    assert!(world.dynamodb.endpoint().operations().is_empty());
}

//! A batch's rooms side by side, and its records that can never be broadcast.

use serde_json::json;
use testkit::aws_endpoint::{Fault, Rule};
use testkit::events::{QueueRecord, queued_message};

use super::{World, invoke, message};

/// A record that is no message.
fn poison(room: &str, id: &str) -> QueueRecord {
    QueueRecord::new(id, room, "no JSON")
}

#[tokio::test]
async fn every_room_of_a_batch_gets_its_own_messages_only() {
    let world = World::start();
    for room in ["a", "b", "c"] {
        world.seed(room, room, 4);
    }
    let records = [("a", "a1"), ("b", "b1"), ("a", "a2"), ("c", "c1"), ("b", "b2")].map(|(room, id)| message(room, id));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());

    assert_eq!(world.connections.record().posts, 12);
    for connection in 0..4 {
        assert_eq!(world.received(&format!("a{connection}")), ["a1", "a2"]);
        assert_eq!(world.received(&format!("b{connection}")), ["b1", "b2"]);
        assert_eq!(world.received(&format!("c{connection}")), ["c1"]);
    }
}

#[tokio::test]
async fn poison_goes_to_the_dead_letter_queue_with_its_reason_and_is_acknowledged() {
    let world = World::start();
    world.seed("room", "c", 1);
    let bodies = [
        ("not-json", "{".to_owned(), "not a JSON object"),
        ("no-room", json!({ "data": 1 }).to_string(), "`roomId` is missing"),
        ("bad-room", json!({ "roomId": "a b", "data": 1 }).to_string(), "`roomId` may only have the characters"),
        ("no-data", json!({ "roomId": "room" }).to_string(), "`data` is missing"),
        ("other-room", queued_message("elsewhere", "m", "alice", &json!(1)).to_string(), "MessageGroupId"),
        (
            "ephemeral",
            json!({ "roomId": "room", "data": 1, "ephemeral": true }).to_string(),
            "`ephemeral` must be left out",
        ),
        ("bad-shard", json!({ "roomId": "room", "shard": {}, "frames": [] }).to_string(), "`shard` must be"),
    ];
    let records = bodies.clone().map(|(id, body, _)| QueueRecord::new(id, "room", body));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());

    let letters = world.dead_letters();
    assert_eq!(letters.len(), bodies.len());
    for ((id, body, reason), letter) in bodies.iter().zip(&letters) {
        assert_eq!((&letter.body, letter.group_id.as_deref()), (body, Some("room")));
        assert_eq!(letter.deduplication_id.as_deref(), Some(*id));
        let told = letter.attribute("reason").unwrap();
        assert!(told.contains(reason), "{id}: {told}");
    }
    assert_eq!(
        world.queues.operations(),
        ["SendMessageBatch"; 7],
        "one call after the other, so that they keep their order"
    );
    assert_eq!(world.connections.record().posts, 0);
    assert!(world.dynamodb.endpoint().operations().is_empty());
}

#[tokio::test]
async fn poison_before_between_and_after_messages_does_not_hold_them_up() {
    let world = World::start();
    world.seed("room", "c", 2);
    let records = [
        poison("room", "p1"),
        message("room", "m1"),
        poison("room", "p2"),
        message("room", "m2"),
        poison("room", "p3"),
    ];
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());

    assert_eq!(world.connections.record().posts, 2);
    assert_eq!(
        (world.received("c0"), world.received("c1")),
        (vec!["m1".into(), "m2".into()], vec!["m1".into(), "m2".into()])
    );
    let buried: Vec<_> = world.dead_letters().into_iter().filter_map(|letter| letter.deduplication_id).collect();
    assert_eq!(buried, ["p1", "p2", "p3"]);
}

#[tokio::test]
async fn a_dead_letter_that_is_not_taken_keeps_its_record_and_those_after_it() {
    let world = World::start();
    world.seed("a", "a", 1);
    world.seed("b", "b", 1);
    // The second of the first room's two dead letters fails.
    world.queues.fault(
        Rule::on("SendMessageBatch", Fault::failed_entries(&[0], "InternalError"))
            .when(|call| call.body["Entries"][0]["MessageGroupId"] == "a")
            .after(1),
    );
    let records =
        [poison("a", "a-p1"), poison("b", "b-p"), poison("a", "a-p2"), message("b", "b-m"), message("a", "a-m")];
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &records).await, ["a-p2", "a-m"]);

    let mut buried: Vec<_> = world.dead_letters().into_iter().filter_map(|letter| letter.deduplication_id).collect();
    buried.sort();
    assert_eq!(buried, ["a-p1", "b-p"]);
    assert_eq!(world.received("b0"), ["b-m"]);
    assert_eq!(world.received("a0"), Vec::<String>::new(), "nothing of a room overtakes what stays in the queue");
}

#[tokio::test]
async fn a_dead_letter_after_the_messages_is_kept_alone() {
    let world = World::start();
    world.seed("room", "c", 1);
    world.queues.fault(Rule::on("SendMessageBatch", Fault::failed_entries(&[0], "InternalError")));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m"), poison("room", "p")]).await, ["p"]);
    assert_eq!(world.received("c0"), ["m"]);
}

#[tokio::test]
async fn when_a_room_fails_poison_ahead_of_its_messages_is_still_done_with() {
    let world = World::start();
    world.dynamodb.fault(Rule::on("Query", Fault::access_denied()));
    let records = [poison("room", "p1"), message("room", "m1"), poison("room", "p2"), message("room", "m2")];
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &records).await, ["m1", "p2", "m2"]);
    assert_eq!(world.dead_letters().len(), 1);
}

#[tokio::test]
async fn an_event_that_is_none_of_a_queues_is_an_error() {
    let world = World::start();
    let fanout = world.fanout().start().await.unwrap();
    let invocation = fanout.invoke(&json!({ "Records": [{ "body": "{}" }] })).await;
    assert!(invocation.result.is_err(), "{:?}", invocation.result);
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new(), "and the next one is served");
}

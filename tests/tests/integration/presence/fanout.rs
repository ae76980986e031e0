//! Publications among a batch's messages, on the real bootstrap of `fanout`.

use serde_json::{Value, json};
use testkit::connections_server::{Script, Scripted};
use testkit::events::QueueRecord;

use crate::fanout::{World, invoke, message};

/// A publication as the `presence` function sends it.
fn publication(id: &str, after: u64, rev: u64, joined: &[&str], left: &[&str]) -> QueueRecord {
    let joined: Vec<_> = joined.iter().map(|id| json!({ "id": id, "data": { "rev": rev } })).collect();
    let presence = json!({ "rev": rev, "after": after, "count": 7, "joined": joined, "left": left });
    QueueRecord::new(id, "room", json!({ "v": 1, "roomId": "room", "presence": presence }))
}

/// The frames that a connection got: their types, and the last one of type `presence`.
fn got(world: &World, connection: &str) -> (Vec<String>, Option<Value>) {
    let frames = world.frames(connection);
    let types = frames.iter().map(|frame| frame["type"].as_str().unwrap().to_owned()).collect();
    (types, frames.into_iter().rfind(|frame| frame["type"] == "presence"))
}

#[tokio::test]
async fn publications_of_a_batch_are_one_frame_after_its_messages() {
    let world = World::start();
    world.seed("room", "c", 3);
    let fanout = world.fanout().start().await.unwrap();
    let batch = [
        publication("p1", 1, 2, &["ann", "bob"], &["cy"]),
        message("room", "a"),
        publication("p2", 2, 5, &["cy"], &["ann"]),
        message("room", "b"),
    ];
    assert_eq!(invoke(&fanout, &batch).await, Vec::<String>::new());
    for connection in ["c0", "c1", "c2"] {
        let (types, presence) = got(&world, connection);
        assert_eq!(types, ["messages", "presence"]);
        let joined = json!([{ "id": "bob", "data": { "rev": 2 } }, { "id": "cy", "data": { "rev": 5 } }]);
        let expected = json!({
            "type": "presence", "roomId": "room", "rev": 5, "after": 1, "count": 7, "joined": joined, "left": ["ann"],
        });
        assert_eq!(presence.unwrap(), expected);
    }
    let logged: Vec<_> = world.dynamodb.log("room").iter().map(|row| row["id"].clone()).collect();
    assert_eq!(logged, [json!("a"), json!("b")], "publications are not logged");
}

#[tokio::test]
async fn a_publication_alone_is_posted_and_costs_one_query() {
    let world = World::start();
    world.seed("room", "c", 3);
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[publication("p", 0, 1, &["ann"], &[])]).await, Vec::<String>::new());
    assert_eq!(got(&world, "c0").0, ["presence"]);
    assert_eq!(world.dynamodb.endpoint().operations(), ["Query"]);
}

#[tokio::test]
async fn a_batch_without_publications_costs_what_it_ever_did() {
    let (with, without) = (World::start(), World::start());
    for world in [&with, &without] {
        world.seed("room", "c", 3);
        world.slow_down_appends();
        let fanout = world.fanout().start().await.unwrap();
        let publications = std::iter::repeat_n(
            publication("p", 0, 1, &["ann"], &[]),
            usize::from(std::ptr::eq(world, &raw const with)),
        );
        let batch: Vec<_> = [message("room", "a")].into_iter().chain(publications).collect();
        assert_eq!(invoke(&fanout, &batch).await, Vec::<String>::new());
    }
    let calls = |world: &World| {
        let mut calls = world.dynamodb.endpoint().operations();
        calls.sort();
        calls
    };
    let mut expected = calls(&without);
    expected.push("Query".to_owned());
    expected.sort();
    assert_eq!(calls(&with), expected, "one page of the room more");
}

/// A batch that names a row twice is refused as a whole ("`BatchWriteItem`", DynamoDB API Reference).
#[tokio::test]
async fn a_connection_that_is_found_gone_by_two_frames_is_deleted() {
    let world = World::start();
    world.seed("room", "c", 3);
    world.connections.script("c1", Script::always(Scripted::gone()));
    let fanout = world.fanout().start().await.unwrap();
    let batch = [message("room", "a"), publication("p", 0, 1, &["ann"], &[])];
    assert_eq!(invoke(&fanout, &batch).await, Vec::<String>::new());
    assert_eq!(world.dynamodb.connections_of_room("room"), ["c0", "c2"]);
}

#[tokio::test]
async fn a_publication_comes_back_with_the_message_after_it_and_holds_up_nothing() {
    let world = World::start();
    world.seed("room", "c", 1);
    world.script_prefix("c", Scripted::forbidden());
    let fanout = world.fanout().start().await.unwrap();
    let batch = [publication("p1", 0, 1, &["ann"], &[]), message("room", "a"), publication("p2", 1, 2, &["bob"], &[])];
    assert_eq!(invoke(&fanout, &batch).await, ["p1", "a", "p2"]);
    // A publication alone is dropped, whatever becomes of its posts.
    assert_eq!(invoke(&fanout, &[publication("p3", 2, 3, &[], &["ann"])]).await, Vec::<String>::new());

    world.connections.script("c0", Script::always(Scripted::ok()));
    let batch = batch.map(|record| record.received(2));
    assert_eq!(invoke(&fanout, &batch).await, Vec::<String>::new());
    let (types, presence) = got(&world, "c0");
    assert_eq!(types, ["messages", "presence"]);
    assert_eq!(presence.unwrap()["joined"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_connection_that_misses_a_publication_is_not_closed() {
    let world = World::start();
    world.seed("room", "c", 20);
    world.connections.script("c7", Script::always(Scripted::internal_error()));
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 1).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[publication("p", 0, 1, &["ann"], &[])]).await, Vec::<String>::new());
    let record = world.connections.record();
    assert_eq!((record.delivered(), record.deletes()), (19, 0));
}

#[tokio::test]
async fn broken_publications_are_dead_letters_with_a_reason() {
    let world = World::start();
    world.seed("room", "c", 1);
    let fanout = world.fanout().start().await.unwrap();
    let broken = |id: &str, body: Value| QueueRecord::new(id, "room", body);
    let batch = [
        broken("1", json!({ "v": 1, "roomId": "room", "presence": { "rev": 1 } })),
        publication("2", 0, 1, &["ann"], &[]),
        broken("3", json!({ "v": 1, "roomId": "other", "presence": { "rev": 1, "count": 1 } })),
        message("room", "m"),
        broken("4", json!({ "v": 1, "roomId": "room", "presence": { "rev": 1, "count": 1, "after": 1 } })),
    ];
    assert_eq!(invoke(&fanout, &batch).await, Vec::<String>::new());
    let reasons: Vec<_> =
        world.dead_letters().iter().map(|letter| letter.attribute("reason").unwrap().to_owned()).collect();
    assert_eq!(
        reasons,
        [
            "`presence` missing field `count`",
            "`roomId` is not the record's MessageGroupId",
            "`presence` must have an `after` below its `rev`"
        ]
    );
    assert_eq!(got(&world, "c0").0, ["messages", "presence"]);
}

#[tokio::test]
async fn in_a_large_room_publications_go_through_the_shards_behind_its_messages() {
    let world = World::start();
    world.seed("room", "c", 40);
    let function = || world.fanout().env("FANOUT_SHARD_SIZE", 10).env("FANOUT_SHARDS", 4);
    let fanout = function().start().await.unwrap();
    let batch = [publication("p1", 0, 1, &["ann"], &[]), message("room", "a")];
    assert_eq!(invoke(&fanout, &batch).await, Vec::<String>::new());
    assert_eq!(invoke(&fanout, &[publication("p2", 1, 2, &["bob"], &[])]).await, Vec::<String>::new());
    assert_eq!(world.connections.record().posts, 0, "the jobs do it");

    let shards = function().start().await.unwrap();
    let jobs = world.job_records();
    assert_eq!(jobs.len(), 3 * 4);
    for shard in 0..4 {
        let group = format!("room/{shard}");
        let jobs: Vec<_> = jobs.iter().filter(|job| job.group == group).cloned().collect();
        assert_eq!(invoke(&shards, &jobs).await, Vec::<String>::new());
    }
    for number in 0..40 {
        let (types, presence) = got(&world, &format!("c{number}"));
        assert_eq!(types, ["messages", "presence"]);
        let presence = presence.unwrap();
        assert_eq!((&presence["after"], &presence["rev"]), (&json!(0), &json!(2)));
    }
}

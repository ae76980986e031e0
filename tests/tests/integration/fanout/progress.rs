//! Interrupted broadcasts go on where they stopped: only posts that were in flight are made twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use shared::clock::{Clock, SystemClock};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::connections_server::{Script, Scripted};
use testkit::dynamodb::MESSAGES_TABLE;
use testkit::events::{QueueRecord, batch_item_failures, queue_batch};
use testkit::runtime_api::Environment;

use super::{World, invoke, message};

/// Posts in flight.
const CONCURRENCY: usize = 4;

/// An invocation's time. What is left of it after [`RESERVE_MS`] is long enough for the posts of a test on a busy
/// machine, and tests wait for the rest of it.
const TIME: Duration = Duration::from_secs(6);

/// The reserve of such an invocation, in which also a busy machine writes progress down.
pub(super) const RESERVE_MS: u64 = 3_000;

pub(super) async fn start(world: &World) -> Environment {
    let fanout = world.fanout().env("FANOUT_CONCURRENCY", CONCURRENCY).env("FANOUT_DEADLINE_RESERVE_MS", RESERVE_MS);
    fanout.start().await.unwrap()
}

/// After so many connections, each of the next ones hangs at its first post: the time is up before they are answered.
fn hang_after(world: &World, connections: usize) {
    let seen = AtomicUsize::new(0);
    world.connections.script_others(move |_| {
        let is_in_time = seen.fetch_add(1, Ordering::Relaxed) < connections;
        if is_in_time { Script::always(Scripted::ok()) } else { Script::queue([Scripted::hang()]) }
    });
}

pub(super) async fn invoke_briefly(fanout: &Environment, records: &[QueueRecord]) -> Vec<String> {
    batch_item_failures(fanout.invoke_within(&queue_batch(records), TIME).await.response())
}

fn large(id: &str) -> QueueRecord {
    QueueRecord::message("room", id, &json!("x".repeat(20_000)))
}

/// The numbers that a connection got, in the order of its posts.
fn numbers(world: &World, connection: &str) -> Vec<u64> {
    let messages = |frame: Value| frame["messages"].as_array().unwrap().clone();
    let frames = world.frames(connection).into_iter().flat_map(messages);
    frames.map(|message| message["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn five_invocations_make_one_broadcast() {
    let world = World::start();
    world.seed("room", "c", 500);
    let record = message("room", "m");
    let mut receives = 1;
    for _ in 0..4 {
        hang_after(&world, 100);
        let failed = invoke_briefly(&start(&world).await, &[record.clone().received(receives)]).await;
        assert_eq!(failed, ["m"]);
        receives += 1;
    }
    world.connections.script_others(|_| Script::always(Scripted::ok()));
    // This is another environment, which knows only what is written down.
    assert_eq!(invoke(&start(&world).await, &[record.received(receives)]).await, Vec::<String>::new());

    let seen = world.connections.record();
    assert_eq!((seen.connections.len(), seen.delivered()), (500, 500));
    assert!(seen.connections.values().all(|connection| connection.delivered == 1));
    assert!(seen.posts <= 500 + 4 * CONCURRENCY, "{} posts: only what was in flight is made again", seen.posts);
}

/// A record may wait in its queue for 14 days.
#[tokio::test]
async fn progress_lasts_longer_than_the_record_that_comes_back() {
    let world = World::start();
    world.seed("room", "c", 1);
    hang_after(&world, 0);
    assert_eq!(invoke_briefly(&start(&world).await, &[message("room", "m")]).await, ["m"]);
    let puts = world.dynamodb.calls_of("PutItem");
    let row = &puts.iter().find(|put| put.body["Item"]["seq"]["N"] == "-1").expect("a row of progress").body["Item"];
    let expires_at: u64 = row["expiresAt"]["N"].as_str().unwrap().parse().unwrap();
    let days = (expires_at - SystemClock.unix_seconds()) / (24 * 60 * 60);
    assert!((14..=15).contains(&days), "{days} days");
}

#[tokio::test]
async fn frames_of_an_interrupted_batch_stay_in_order_and_new_ones_follow() {
    let world = World::start();
    world.seed("room", "c", 60);
    hang_after(&world, 30);
    let records = [large("a"), large("b"), large("c")];
    assert_eq!(invoke_briefly(&start(&world).await, &records).await, ["a", "b", "c"]);

    world.connections.script_others(|_| Script::always(Scripted::ok()));
    let again = records.map(|record| record.received(2));
    let all = [again.as_slice(), &[large("d")]].concat();
    assert_eq!(invoke(&start(&world).await, &all).await, Vec::<String>::new());
    let first = world.dynamodb.log("room")[0]["seq"].as_u64().unwrap();
    for connection in 0..60 {
        let mut numbers = numbers(&world, &format!("c{connection}"));
        assert!(numbers.len() <= 4 + 3, "{numbers:?}");
        // Messages in flight may have come twice; the others came once, in order.
        let highest = |numbers: &[u64]| numbers.iter().copied().max().unwrap_or_default();
        let is_new: Vec<_> = (0..numbers.len()).map(|at| numbers[at] > highest(&numbers[..at])).collect();
        let mut is_new = is_new.into_iter();
        numbers.retain(|_| is_new.next().unwrap());
        assert_eq!(numbers, (first..first + 4).collect::<Vec<_>>());
    }
    let record = world.connections.record();
    // Three frames for all, one more for all, and again for those in flight.
    assert!(record.posts <= 60 * 4 + CONCURRENCY * 4, "{} posts", record.posts);
}

#[tokio::test]
async fn a_batch_that_comes_back_in_parts_goes_on_with_what_it_has() {
    let world = World::start();
    world.seed("room", "c", 60);
    hang_after(&world, 30);
    let records = [message("room", "a"), message("room", "b")];
    assert_eq!(invoke_briefly(&start(&world).await, &records).await, ["a", "b"]);
    world.connections.script_others(|_| Script::always(Scripted::ok()));
    let [a, b] = records.map(|record| record.received(2));
    assert_eq!(invoke(&start(&world).await, &[a]).await, Vec::<String>::new());
    assert_eq!(invoke(&start(&world).await, &[b]).await, Vec::<String>::new());
    for connection in 0..60 {
        let numbers = numbers(&world, &format!("c{connection}"));
        assert!(numbers.is_sorted() && numbers.len() == 2, "c{connection}: {numbers:?}");
    }
    let seen = world.connections.record();
    // 30 connections have both in one frame; the others get one frame for each part.
    assert!(seen.posts <= 30 + 30 * 2 + 2 * CONCURRENCY, "{} posts", seen.posts);
}

#[tokio::test]
async fn a_page_that_cannot_be_read_loses_no_progress() {
    let world = World::start();
    world.seed("room", "c", 1_700);
    let is_page = |call: &testkit::aws_endpoint::Call| call.body["IndexName"].is_string();
    world.slow_down_appends();
    // The first page twice, and the second.
    world.dynamodb.fault(Rule::on("Query", Fault::access_denied()).when(is_page).after(3));
    let fanout = start(&world).await;
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, ["m"]);
    assert!(world.connections.record().delivered() > 1_000);
    world.dynamodb.endpoint().clear_faults();
    assert_eq!(invoke(&fanout, &[message("room", "m").received(2)]).await, Vec::<String>::new());

    let seen = world.connections.record();
    assert_eq!(seen.connections.len(), 1_700);
    assert!(seen.posts <= 1_700 + 2 * CONCURRENCY, "{} posts", seen.posts);
}

#[tokio::test]
async fn a_slow_connection_does_not_have_everybody_above_it_posted_to_again() {
    let world = World::start();
    world.seed("room", "c", 300);
    // The connection in the lowest slot is refused and waits; after 200 others, the next ones hang until the time is
    // up.
    let lowest = world.dynamodb.rows_of_room("room").into_iter().min_by_key(|row| row.slot).unwrap().connection_id;
    hang_after(&world, 200);
    world.connections.script(&lowest, Script::queue([Scripted::throttled().retry_after("8"), Scripted::ok()]));
    assert_eq!(invoke_briefly(&start(&world).await, &[message("room", "m")]).await, ["m"]);
    world.connections.script_others(|_| Script::always(Scripted::ok()));
    assert_eq!(invoke(&start(&world).await, &[message("room", "m").received(2)]).await, Vec::<String>::new());

    let seen = world.connections.record();
    assert!(seen.posts <= 301 + CONCURRENCY, "{} posts", seen.posts);
    assert_eq!(world.received(&lowest), Vec::<String>::new(), "its client recovers it from the log");
}

#[tokio::test]
async fn a_redrive_from_below_what_is_finished_is_not_posted_out_of_order() {
    let world = World::start();
    world.seed("room", "c", 3);
    let fanout = start(&world).await;
    for id in ["a", "b", "c"] {
        assert_eq!(invoke(&fanout, &[message("room", id)]).await, Vec::<String>::new());
    }
    // The first one comes back, as a new record: redriven by hand, or relayed a second time.
    assert_eq!(invoke(&start(&world).await, &[message("room", "a").received(2)]).await, Vec::<String>::new());
    assert_eq!(world.received("c0"), ["a", "b", "c"]);
    assert_eq!(world.dynamodb.log("room").len(), 3);
}

/// A producer's message that says neither its id nor when it was sent has both from its record.
#[tokio::test]
async fn a_message_that_is_redriven_keeps_its_number_however_many_came_after_it() {
    let world = World::start();
    world.seed("room", "c", 1);
    let fanout = start(&world).await;
    let body = json!({ "roomId": "room", "data": 1 });
    let records: Vec<_> = (0..60).map(|number| QueueRecord::new(&format!("p{number}"), "room", &body)).collect();
    // A full batch would go through a shard.
    for batch in records.chunks(6) {
        assert_eq!(invoke(&fanout, batch).await, Vec::<String>::new());
    }
    let with_id = json!({ "id": "p0", "roomId": "room", "data": 1 });
    let mut redriven = queue_batch(&[QueueRecord::new("letter", "room", with_id)]);
    redriven["Records"][0]["attributes"]["MessageDeduplicationId"] = json!("redriven/p0");
    let answer = start(&world).await.invoke(&redriven).await;
    assert_eq!(batch_item_failures(answer.response()), Vec::<String>::new());
    assert_eq!((world.dynamodb.log("room").len(), world.frames("c0").len()), (60, 10));
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_keeps_the_records_and_is_no_connections_fault() {
    let world = World::start();
    world.seed("room", "c", 20);
    let fanout = world.fanout().env("CONNECTIONS_ENDPOINT", "http://127.0.0.1:9/production").start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, ["m"]);
    assert_eq!(world.dynamodb.connections_of_room("room").len(), 20);
    assert_eq!(invoke(&start(&world).await, &[message("room", "m").received(2)]).await, Vec::<String>::new());
    assert_eq!(world.received("c7"), ["m"]);
}

#[tokio::test]
async fn a_throttled_log_is_written_to_again_within_the_invocation() {
    for records in [vec![message("room", "a")], vec![message("room", "a"), message("room", "b")]] {
        let world = World::start();
        world.seed("room", "c", 2);
        let fanout = start(&world).await;
        // The room's log begins, with a transaction for the fence.
        assert_eq!(invoke(&fanout, &[message("room", "first")]).await, Vec::<String>::new());
        world.dynamodb.fault(Rule::on("PutItem", Fault::throughput_exceeded()).times(5));
        world
            .dynamodb
            .fault(Rule::on("TransactWriteItems", Fault::transaction_cancelled(&["ThrottlingError", "None"])).times(5));
        assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
        assert_eq!(world.dynamodb.log("room").len(), 1 + records.len());
        assert_eq!(world.received("c0").len(), 1 + records.len());
    }
}

#[tokio::test]
async fn records_that_fail_come_back_in_seconds_and_later_the_more_often_they_did() {
    let world = World::start();
    world.seed("room", "c", 2);
    world
        .dynamodb
        .fault(Rule::on("Query", Fault::access_denied()).when(|call| call.body["TableName"] == MESSAGES_TABLE));
    let fanout = start(&world).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let visible_after = async |receives: u32| {
        let records = ["a", "b"].map(|id| message("room", id).received(receives));
        assert_eq!(invoke(&fanout, &records).await, ["a", "b"]);
        let all = world.queues.calls();
        let mut all = all.iter().filter(|call| call.operation == "ChangeMessageVisibilityBatch");
        let call = all.nth(calls.fetch_add(1, Ordering::Relaxed)).unwrap();
        assert!(call.body["QueueUrl"].as_str().unwrap().ends_with("broadcasts.fifo"));
        let entries = call.body["Entries"].as_array().unwrap();
        let seconds: Vec<_> = entries.iter().map(|entry| entry["VisibilityTimeout"].as_u64().unwrap()).collect();
        assert!(seconds.len() == 2 && seconds[0] == seconds[1], "the same for all records of the group: {seconds:?}");
        seconds[0]
    };
    assert_eq!(
        [visible_after(1).await, visible_after(2).await, visible_after(4).await, visible_after(300).await],
        [1, 2, 8, 30]
    );
}

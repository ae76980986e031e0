//! Large rooms: cut into jobs on the shard queue, which its consumers post.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::connections_server::{Script, Scripted};
use testkit::events::QueueRecord;
use testkit::runtime_api::{Environment, Function};

use super::progress::{RESERVE_MS, invoke_briefly};
use super::{World, invoke, message};

const SHARD_SIZE: usize = 100;

fn function(world: &World) -> Function {
    world.fanout().env("FANOUT_SHARD_SIZE", SHARD_SIZE).env("FANOUT_SHARDS", 4)
}

async fn start(world: &World) -> Environment {
    function(world).start().await.unwrap()
}

/// The queue's jobs from the one with this number on, as the queue delivers them: a batch for each group, in its order.
fn batches_from(world: &World, first: usize) -> BTreeMap<String, Vec<QueueRecord>> {
    let mut batches: BTreeMap<String, Vec<QueueRecord>> = BTreeMap::new();
    for record in world.job_records().split_off(first) {
        batches.entry(record.group.clone()).or_default().push(record);
    }
    batches
}

pub(super) fn batches(world: &World) -> BTreeMap<String, Vec<QueueRecord>> {
    batches_from(world, 0)
}

#[tokio::test]
async fn a_large_room_is_cut_into_jobs_that_post_to_everybody_once() {
    let world = World::start();
    world.seed("room", "c", 350);
    let fanout = start(&world).await;
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    assert_eq!(world.connections.record().posts, 0, "the jobs do it");
    assert_eq!(world.queues.operations(), ["SendMessageBatch"]);

    let batches = batches(&world);
    assert_eq!(batches.keys().collect::<Vec<_>>(), ["room/0", "room/1", "room/2", "room/3"]);
    let logged = world.dynamodb.log("room");
    for records in batches.values() {
        // The jobs run in another environment, as those of a large room mostly do.
        assert_eq!(invoke(&start(&world).await, records).await, Vec::<String>::new());
    }
    let record = world.connections.record();
    assert_eq!((record.posts, record.delivered(), record.connections.len()), (350, 350, 350));
    let bodies: BTreeSet<_> = (0..350).flat_map(|number| world.connections.delivered(&format!("c{number}"))).collect();
    assert_eq!(bodies.len(), 1, "the same frame for all");
    let frame: Value = serde_json::from_str(bodies.first().unwrap()).unwrap();
    assert_eq!((&frame["roomId"], &frame["messages"][0]["id"]), (&json!("room"), &json!("m")));
    assert_eq!(frame["messages"][0]["seq"], logged[0]["seq"]);
    assert_eq!(world.dynamodb.log("room"), logged, "jobs do not touch the log");
}

#[tokio::test]
async fn a_room_of_several_pages_is_judged_by_its_first() {
    let world = World::start();
    world.seed("room", "c", 2_500);
    let fanout = function(&world).env("FANOUT_SHARD_SIZE", 1_000).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    let pages = world.dynamodb.calls_of("Query").iter().filter(|call| call.body["IndexName"].is_string()).count();
    assert_eq!((pages, world.jobs().len()), (1, 4));

    let records: Vec<_> = batches(&world).into_values().flatten().collect();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
    let record = world.connections.record();
    assert_eq!((record.posts, record.connections.len()), (2_500, 2_500));
}

#[tokio::test]
async fn jobs_of_two_messages_keep_every_connections_order() {
    for in_one_batch in [true, false] {
        let world = World::start();
        world.seed("room", "c", 250);
        world.connections.set_latency(Duration::from_millis(1));
        let fanout = start(&world).await;
        for id in ["m1", "m2"] {
            assert_eq!(invoke(&fanout, &[message("room", id)]).await, Vec::<String>::new());
        }
        for records in batches(&world).values() {
            assert_eq!(records.len(), 2);
            for batch in records.chunks(if in_one_batch { 2 } else { 1 }) {
                assert_eq!(invoke(&fanout, batch).await, Vec::<String>::new());
            }
        }
        for connection in 0..250 {
            assert_eq!(world.received(&format!("c{connection}")), ["m1", "m2"]);
        }
        assert_eq!(world.connections.record().overlapped(), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn a_redelivered_message_enqueues_the_same_jobs() {
    let world = World::start();
    world.seed("room", "c", 150);
    let fanout = start(&world).await;
    let record = message("room", "m");
    invoke(&fanout, std::slice::from_ref(&record)).await;
    invoke(&fanout, &[record.clone().received(2)]).await;
    invoke(&start(&world).await, &[record.received(3)]).await;

    assert_eq!(world.queues.operations().len(), 3);
    assert_eq!(world.jobs().len(), 4, "the queue drops what it has seen");
    invoke(&fanout, &[message("room", "n")]).await;
    assert_eq!(world.jobs().len(), 8, "and takes what is new");
}

#[tokio::test]
async fn a_job_that_was_posted_is_not_posted_again() {
    let world = World::start();
    world.seed("room", "c", 150);
    let fanout = start(&world).await;
    invoke(&fanout, &[message("room", "m")]).await;
    let jobs = world.job_records();
    assert_eq!(invoke(&fanout, &jobs).await, Vec::<String>::new());
    // The queue delivers at least once, and remembers the jobs that it has taken for five minutes only.
    assert_eq!(invoke(&start(&world).await, &jobs).await, Vec::<String>::new());
    assert_eq!(world.connections.record().posts, 150);
}

#[tokio::test]
async fn a_job_that_is_not_taken_keeps_the_message() {
    let world = World::start();
    world.seed("room", "c", 350);
    world.seed("small", "s", 1);
    world.queues.fault(Rule::on("SendMessageBatch", Fault::failed_entries(&[2], "InternalError")).times(1));
    let fanout = start(&world).await;
    let records = [message("room", "m1"), message("small", "s1"), message("room", "m2")];
    assert_eq!(invoke(&fanout, &records).await, ["m1", "m2"]);
    assert_eq!(world.received("s0"), ["s1"]);
    assert_eq!(world.jobs().len(), 3);

    let again = [records[0].clone().received(2), records[2].clone().received(2)];
    assert_eq!(invoke(&fanout, &again).await, Vec::<String>::new());
    assert_eq!(batches(&world).len(), 4, "and now they are all there, none of them twice");
    assert_eq!(world.jobs().len(), 4);
}

#[tokio::test]
async fn small_rooms_pay_nothing_for_sharding() {
    let calls = |size: usize| async move {
        let world = World::start();
        world.seed("room", "c", 60);
        world.slow_down_appends();
        let fanout = function(&world).env("FANOUT_SHARD_SIZE", size).start().await.unwrap();
        for id in ["a", "b"] {
            invoke(&fanout, &[message("room", id)]).await;
        }
        assert_eq!((world.connections.record().posts, world.queues.operations().len()), (120, 0));
        let mut operations = world.dynamodb.endpoint().operations();
        // Some calls of an invocation are made side by side, in any order.
        operations[..8].sort();
        operations[8..].sort();
        operations
    };
    let (with, without) = (calls(60).await, calls(0).await);
    assert_eq!(with, without);
    let first = ["GetItem", "GetItem", "PutItem", "Query", "Query", "Query", "Query", "TransactWriteItems"];
    assert_eq!(
        with,
        [first.as_slice(), &["PutItem", "PutItem", "Query", "Query"]].concat(),
        "the page twice each time"
    );
}

#[tokio::test]
async fn jobs_sweep_the_gone_and_fail_by_themselves() {
    let world = World::start();
    world.seed("room", "live", 150);
    world.seed("room", "gone", 60);
    let fanout = start(&world).await;
    invoke(&fanout, &[message("room", "m")]).await;
    let records: Vec<_> = batches(&world).into_values().flatten().collect();
    assert_eq!(records.len(), 4);
    // One live connection of the first quarter of the slots is refused, and with it that job.
    let rows = world.dynamodb.rows_of_room("room");
    let refused = rows.iter().find(|row| row.slot < 0x4000 && row.connection_id.starts_with("live")).unwrap();
    world.script_prefix("gone", Scripted::gone());
    world.connections.script(&refused.connection_id, Script::queue([Scripted::forbidden()]).then(Scripted::ok()));
    assert_eq!(invoke(&fanout, &records).await, [records[0].message_id.clone()]);
    assert_eq!(invoke(&fanout, &[records[0].clone().received(2)]).await, Vec::<String>::new());

    let left = world.dynamodb.connections_of_room("room");
    assert_eq!(left.iter().filter(|id| id.starts_with("live")).count(), 150);
    for number in 0..150 {
        assert!(!world.received(&format!("live{number}")).is_empty());
    }
}

#[tokio::test]
async fn frames_too_large_for_one_job_go_into_several_and_stay_in_order() {
    let world = World::start();
    world.seed("room", "c", 150);
    let large = |id: &str| QueueRecord::message("room", id, &json!("x".repeat(110_000)));
    let fanout = start(&world).await;
    assert_eq!(invoke(&fanout, &[large("a"), large("b"), large("c")]).await, Vec::<String>::new());
    for records in batches(&world).values() {
        assert!(records.len() > 1 && records.iter().all(|record| record.body.len() <= 256 * 1024));
        assert_eq!(invoke(&fanout, records).await, Vec::<String>::new());
    }
    for connection in 0..150 {
        assert_eq!(world.received(&format!("c{connection}")), ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn a_room_that_shrinks_stays_in_shards_until_they_have_posted_everything() {
    let world = World::start();
    world.seed("room", "c", 150);
    let fanout = start(&world).await;
    assert_eq!(invoke(&fanout, &[message("room", "m1")]).await, Vec::<String>::new());
    // Most members leave. An environment that has never seen the room large must not post ahead of the jobs.
    for row in world.dynamodb.rows_of_room("room").into_iter().skip(10) {
        world.dynamodb.delete_row(&row.connection_id, "room");
    }
    assert_eq!(invoke(&start(&world).await, &[message("room", "m2")]).await, Vec::<String>::new());
    assert_eq!((world.connections.record().posts, world.jobs().len()), (0, 8));
    for records in batches(&world).values() {
        assert_eq!(invoke(&fanout, records).await, Vec::<String>::new());
    }
    assert_eq!(invoke(&start(&world).await, &[message("room", "m3")]).await, Vec::<String>::new());
    assert_eq!(world.jobs().len(), 8, "and now directly");
    for row in world.dynamodb.rows_of_room("room") {
        assert_eq!(world.received(&row.connection_id), ["m1", "m2", "m3"]);
    }
}

#[tokio::test]
async fn a_shard_that_runs_out_of_time_goes_on_where_it_was() {
    let world = World::start();
    world.seed("room", "c", 300);
    let function = function(&world).env("FANOUT_CONCURRENCY", 4).env("FANOUT_DEADLINE_RESERVE_MS", RESERVE_MS);
    let fanout = function.start().await.unwrap();
    invoke(&fanout, &[message("room", "m")]).await;
    let job = batches(&world).remove("room/2").unwrap().remove(0);
    let seen = std::sync::atomic::AtomicUsize::new(0);
    world.connections.script_others(move |_| {
        let is_in_time = seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 30;
        if is_in_time { Script::always(Scripted::ok()) } else { Script::queue([Scripted::hang()]) }
    });
    let failed = invoke_briefly(&fanout, std::slice::from_ref(&job)).await;
    assert_eq!(failed, std::slice::from_ref(&job.message_id));
    world.connections.script_others(|_| Script::always(Scripted::ok()));
    assert_eq!(invoke(&function.start().await.unwrap(), &[job.received(2)]).await, Vec::<String>::new());

    let members = world.dynamodb.rows_of_room("room").iter().filter(|row| row.slot >> 14 == 2).count();
    let seen = world.connections.record();
    assert!(members > 40 && seen.connections.len() == members && seen.delivered() == members);
    assert!(seen.posts <= members + 4, "{} posts for {members} connections", seen.posts);
}

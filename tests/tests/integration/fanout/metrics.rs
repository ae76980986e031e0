//! The metrics of broadcasts, each produced by the event that it counts.

use std::time::Duration;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use testkit::connections_server::{Script, Scripted};
use testkit::emf::Line;
use testkit::events::{QueueRecord, queued_message};
use testkit::runtime_api::Environment;

use super::progress::{RESERVE_MS, invoke_briefly};
use super::{World, invoke, message};

/// The line of the only invocation.
async fn line(fanout: &Environment) -> Line {
    let lines = fanout.metrics(1).await;
    let [line] = &lines[..] else { panic!("{lines:?}") };
    line.clone()
}

#[tokio::test]
async fn a_broadcast_is_measured_from_its_record_to_its_last_post() {
    let world = World::start();
    world.seed("room", "c", 3);
    world.connections.set_latency(Duration::from_millis(20));
    let fanout = world.fanout().start().await.unwrap();
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let body = |id: &str, sent_at: u64| json!({"roomId": "room", "id": id, "from": "a", "data": 1, "sentAt": sent_at});
    let record = |id: &str| QueueRecord::new(id, "room", body(id, now - 60_000)).queued_at(now - 30_000);
    assert_eq!(invoke(&fanout, &[record("a"), record("b")]).await, Vec::<String>::new());

    let line = line(&fanout).await;
    let counters = ["Posts", "Delivered", "Messages", "Broadcasts"].map(|name| line.count(name));
    assert_eq!(counters, [3, 3, 2, 1]);
    assert_eq!(line.values("MessagesPerPost"), [(2, 3)]);
    // The bounds hold on a busy machine too; values are rounded to two digits.
    for (name, at_least) in [("QueueAge", 30_000), ("BroadcastLatency", 60_000)] {
        let values = line.values(name);
        assert_eq!(line.samples(name), 2, "{values:?}");
        assert!(values.iter().all(|(value, _)| (at_least..at_least + 3_600_000).contains(value)), "{name}: {values:?}");
    }
    let concurrency = line.values("Concurrency");
    assert!(concurrency.len() == 1 && (1..=3).contains(&concurrency[0].0), "{concurrency:?}");
    // Counts of zero are left out, since CloudWatch bills each metric.
    assert_eq!(line.names().len(), 4 + 4, "{:?}", line.names());
    assert_eq!(line.dimensions("Posts"), [["test", "fanout"]]);
}

#[tokio::test]
async fn an_invocation_writes_one_line_and_counts_from_nothing() {
    let world = World::start();
    world.seed("a", "a", 2);
    world.seed("b", "b", 3);
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("a", "a1"), message("b", "b1")]).await, Vec::<String>::new());
    assert_eq!(invoke(&fanout, &[message("a", "a2")]).await, Vec::<String>::new());
    let lines = fanout.metrics(2).await;
    let counts: Vec<_> = lines.iter().map(|line| (line.count("Broadcasts"), line.count("Posts"))).collect();
    assert_eq!(counts, [(2, 5), (1, 2)]);
    assert!(lines[1].values("Concurrency").iter().all(|(most, _)| *most <= 2));
}

#[tokio::test]
async fn each_outcome_of_a_post_is_counted() {
    let world = World::start();
    for prefix in ["live", "bad", "gone", "busy"] {
        world.seed("room", prefix, 1);
    }
    world.connections.script("bad0", Script::always(Scripted::internal_error()));
    world.connections.script("gone0", Script::always(Scripted::gone()));
    world.connections.script("busy0", Script::queue([Scripted::throttled()]));
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 3).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());

    let line = line(&fanout).await;
    let counted = ["Posts", "Delivered", "Undelivered", "Gone", "Throttled", "Retried"].map(|name| line.count(name));
    assert_eq!(counted, [1 + 3 + 2 + 2, 2, 1, 1, 1, 2 + 1 + 1]);
    assert_eq!(line.count("Closed"), 2, "the one that failed, and the gone one");
    let deletes = ["live0", "bad0", "gone0", "busy0"].map(|id| world.connections.connection(id).deletes);
    assert_eq!(deletes, [0, 1, 1, 0]);
}

#[tokio::test]
async fn dead_letters_are_counted() {
    let world = World::start();
    let fanout = world.fanout().start().await.unwrap();
    let records = [QueueRecord::new("p", "room", "poison"), QueueRecord::new("q", "other", "poison")];
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
    assert_eq!(line(&fanout).await.count("DeadLetters"), 2);
}

#[tokio::test]
async fn records_that_stay_in_the_queue_are_counted_though_nothing_else_was_done() {
    let world = World::start();
    world.seed("room", "c", 1);
    world.script_prefix("c", Scripted::forbidden());
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "a"), message("room", "b")]).await, ["a", "b"]);
    let line = line(&fanout).await;
    assert_eq!((line.count("Returned"), line.samples("BroadcastLatency")), (2, 0));
}

#[tokio::test]
async fn a_broadcast_that_is_cut_off_and_goes_on_is_measured_at_its_end() {
    let world = World::start();
    world.seed("room", "c", 8);
    world.connections.script_others(|_| Script::queue([Scripted::hang()]));
    let function = world.fanout().env("FANOUT_CONCURRENCY", 2).env("FANOUT_DEADLINE_RESERVE_MS", RESERVE_MS);
    let cut_off = function.start().await.unwrap();
    let record = message("room", "m");
    assert_eq!(invoke_briefly(&cut_off, std::slice::from_ref(&record)).await, ["m"]);
    let before = line(&cut_off).await;
    let counted = ["Returned", "Resumed", "Messages"].map(|name| before.count(name));
    assert_eq!((counted, before.samples("BroadcastLatency")), ([1, 0, 1], 0));

    world.connections.script_others(|_| Script::always(Scripted::ok()));
    let goes_on = function.start().await.unwrap();
    assert_eq!(invoke(&goes_on, &[record.received(2)]).await, Vec::<String>::new());
    let after = line(&goes_on).await;
    let counted = ["Returned", "Resumed", "Messages"].map(|name| after.count(name));
    assert_eq!((counted, after.samples("BroadcastLatency")), ([0, 1, 0], 1));
}

#[tokio::test]
async fn the_learnt_rate_is_told_while_the_account_is_throttled() {
    let world = World::start();
    world.seed("room", "c", 150);
    world.connections.limit_rate(100.0, 10.0);
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 10).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    let line = line(&fanout).await;
    assert_eq!(line.samples("Rate"), 1);
    assert!(line.values("Rate")[0].0 >= 10 && line.count("Throttled") > 0, "{line:?}");
}

#[tokio::test]
async fn a_shards_part_is_measured_with_all_messages_of_its_jobs() {
    let world = World::start();
    world.seed("room", "c", 6);
    let function = || world.fanout().env("FANOUT_SHARD_SIZE", 4).env("FANOUT_SHARDS", 2);
    let fanout = function().start().await.unwrap();
    for id in ["a", "b"] {
        assert_eq!(invoke(&fanout, &[message("room", id)]).await, Vec::<String>::new());
    }
    let shards = function().env("FUNCTION", "shards").start().await.unwrap();
    assert_eq!(invoke(&shards, &world.job_records()).await, Vec::<String>::new());

    let line = line(&shards).await;
    assert_eq!((line.count("Posts"), line.count("Broadcasts"), line.count("Messages")), (6, 2, 0));
    // Two parts, each of two messages that were numbered in two batches.
    assert_eq!((line.values("MessagesPerPost"), line.samples("BroadcastLatency")), (vec![(2, 6)], 4));
    assert_eq!(line.dimensions("Posts"), [["test", "shards"]]);
    let numbered: u64 = fanout.metrics(2).await.iter().map(|line| line.count("Messages")).sum();
    assert_eq!(numbered, 2);
}

#[tokio::test]
async fn values_of_state_are_counted_and_so_is_what_is_written_again() {
    let world = World::start();
    let record = |id: &str, key: &str| {
        let mut body = queued_message("room", id, "eu", &json!(id));
        body["key"] = json!(key);
        QueueRecord::new(id, "room", body)
    };
    let counted = async |fanout: &Environment, records: &[QueueRecord]| {
        assert_eq!(invoke(fanout, records).await, Vec::<String>::new());
        let line = line(fanout).await;
        ["StateWrites", "StateSuperseded", "StateReapplied"].map(|name| line.count(name))
    };
    let first = world.fanout_with_state().start().await.unwrap();
    assert_eq!(counted(&first, &[record("a", "k"), record("b", "k"), record("c", "l")]).await, [2, 0, 0]);
    // Another environment cannot know whether the first one has written its values.
    let second = world.fanout_with_state().start().await.unwrap();
    assert_eq!(counted(&second, &[record("d", "m")]).await, [1, 2, 2]);
}

//! Cases in which a room could stall, lose or repeat: none of them may keep an invocation from getting further.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use shared::ConnectionId;
use testkit::aws_endpoint::{Call, Fault, Hold, Rule};
use testkit::connections_server::{Script, Scripted};
use testkit::dynamodb::{ConnectionRow, MESSAGES_TABLE};
use testkit::events::{QueueRecord, batch_item_failures, queue_batch};

use super::progress::{RESERVE_MS, invoke_briefly, start};
use super::{World, invoke, message};

/// The invocations after which a room is held for ever. None of the tests needs half as many, even on a busy machine,
/// which gets less done in each.
const FOR_EVER: u32 = 20;

fn large(id: &str, bytes: usize) -> QueueRecord {
    QueueRecord::message("room", id, &json!("x".repeat(bytes)))
}

/// The connections that are posted to first and last.
fn ends(world: &World) -> [String; 2] {
    let mut rows = world.dynamodb.rows_of_room("room");
    rows.sort_by_key(|row| row.slot);
    [rows[0].connection_id.clone(), rows.pop().unwrap().connection_id]
}

/// Nine frames, one connection that takes each after 0.7 s: its part takes longer than an invocation.
#[tokio::test]
async fn a_connection_that_is_slow_but_well_does_not_hold_its_room_for_ever() {
    let world = World::start();
    world.seed("room", "c", 30);
    let [first, _] = ends(&world);
    world.connections.script(&first, Script::always(Scripted::ok().after(Duration::from_millis(700))));
    let fanout = start(&world).await;
    let mut left: Vec<_> = (0..9).map(|n| large(&n.to_string(), 20_000)).collect();
    let mut posts = Vec::new();
    for receives in 1..=FOR_EVER {
        let records: Vec<_> = left.iter().cloned().map(|record| record.received(receives)).collect();
        let failed = invoke_briefly(&fanout, &records).await;
        left.retain(|record| failed.contains(&record.message_id));
        posts.push(world.connections.record().posts);
        if left.is_empty() {
            break;
        }
    }
    assert!(left.is_empty(), "{} records are left, posts after each invocation {posts:?}", left.len());
    assert!(posts.last().unwrap() <= &(30 * 9 * 2), "{posts:?}");
}

/// One connection hangs, the first or the last of the room, and the time for a post is longer than an invocation.
#[tokio::test]
async fn a_connection_that_hangs_for_longer_than_an_invocation_does_not_hold_its_room_for_ever() {
    tokio::join!(hangs(0), hangs(1));
}

async fn hangs(end: usize) {
    let world = World::start();
    world.seed("room", "c", 30);
    world.connections.script(&ends(&world)[end], Script::always(Scripted::hang()));
    let fanout = start(&world).await;
    let mut posts = Vec::new();
    for receives in 1..=FOR_EVER {
        let failed = invoke_briefly(&fanout, &[message("room", "m").received(receives)]).await;
        posts.push(world.connections.record().posts);
        if failed.is_empty() {
            return;
        }
    }
    panic!("end {end} is still not done, posts after each invocation {posts:?}");
}

/// One connection hangs in the last slot of a shard, or of the room: behind it there is nothing to go on with.
#[tokio::test]
async fn a_connection_in_the_last_slot_of_its_shard_does_not_hold_it_for_ever() {
    tokio::join!(hangs_in_slot(16_383, "room/0"), hangs_in_slot(u16::MAX, "room/3"));
}

async fn hangs_in_slot(slot: u16, group: &str) {
    let world = World::start();
    world.seed("room", "c", 100);
    let last = (0..10_000_000).map(|n| format!("last{n}")).find(|id| ConnectionId::new(id).slot() == slot).unwrap();
    world.dynamodb.seed([ConnectionRow::new(&last, "room")]);
    world.connections.script(&last, Script::always(Scripted::hang()));
    let function = world.fanout().env("FANOUT_SHARD_SIZE", 100).env("FANOUT_SHARDS", 4);
    let fanout = function.env("FANOUT_DEADLINE_RESERVE_MS", RESERVE_MS).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    let jobs: Vec<_> = world.job_records().into_iter().filter(|job| job.group == group).collect();
    let mut posts = Vec::new();
    for receives in 1..=FOR_EVER {
        let again: Vec<_> = jobs.iter().cloned().map(|job| job.received(receives)).collect();
        let failed = invoke_briefly(&fanout, &again).await;
        posts.push(world.connections.record().posts);
        if failed.is_empty() {
            return;
        }
    }
    panic!("the job of {group} is still not done, posts after each invocation {posts:?}");
}

/// Jobs for sixteen shards, on a queue that takes a second for a call.
#[tokio::test]
async fn jobs_that_take_longer_than_an_invocation_to_enqueue_get_further_each_time() {
    let world = World::start();
    world.seed("room", "c", 150);
    world.queues.fault(Rule::on("SendMessageBatch", Fault::Delay(Duration::from_secs(1))));
    let function = world.fanout().env("FANOUT_SHARD_SIZE", 100).env("FANOUT_SHARDS", 16);
    let fanout = function.env("FANOUT_DEADLINE_RESERVE_MS", RESERVE_MS).start().await.unwrap();
    let records: Vec<_> = (0..4).map(|n| large(&n.to_string(), 100_000)).collect();
    let mut jobs = Vec::new();
    let mut left = records.clone();
    for receives in 1..=FOR_EVER {
        let failed = invoke_briefly(&fanout, &left).await;
        left.retain(|record| failed.contains(&record.message_id));
        for record in &mut left {
            *record = record.clone().received(receives + 1);
        }
        let taken: BTreeSet<_> = world.jobs().into_iter().map(|job| (job.group_id, job.body)).collect();
        jobs.push(taken.len());
        if left.is_empty() {
            assert!(jobs.len() > 1, "all in one invocation: {jobs:?}");
            return;
        }
    }
    panic!("distinct jobs after each invocation {jobs:?}");
}

/// A job that an older version left on the rooms' queue.
#[tokio::test]
async fn a_job_of_the_version_before_is_no_dead_letter() {
    let world = World::start();
    world.seed("room", "c", 3);
    let frame = json!({"type": "messages", "roomId": "room", "messages": [{"seq": 1, "id": "m", "from": "a", "sentAt": 1, "data": 1}]});
    let body = json!({"v": 1, "roomId": "room", "shard": {"first": 0, "last": 65535}, "frames": [frame]});
    let job = QueueRecord::new("j", "room/0", body.to_string());
    assert_eq!(invoke(&start(&world).await, &[job]).await, Vec::<String>::new());
    assert_eq!(world.dead_letters().len(), 0);
    assert_eq!(world.received("c0"), ["m"]);
}

/// Deletes that hang must not take the time in which records are made visible.
#[tokio::test]
async fn a_table_that_hangs_while_deleting_does_not_keep_records_from_coming_back() {
    let world = World::start();
    world.seed("room", "gone", 5);
    world.seed("bad", "bad", 2);
    world.connections.script_others(|id| {
        Script::always(if id.starts_with("gone") { Scripted::gone() } else { Scripted::forbidden() })
    });
    world.dynamodb.fault(Rule::on("BatchWriteItem", Fault::Hang));
    let failed = invoke_briefly(&start(&world).await, &[message("room", "m"), message("bad", "b")]).await;
    assert_eq!(failed, ["b"]);
    assert!(
        world.queues.operations().contains(&"ChangeMessageVisibilityBatch".to_owned()),
        "{:?}",
        world.queues.operations()
    );
}

/// A room's next messages wait until those before them are deleted. Rows of connections that are gone are nothing that
/// they would have to wait for.
#[tokio::test]
async fn a_table_that_hangs_while_deleting_does_not_keep_rooms_from_going_on() {
    let world = World::start();
    world.seed("room", "gone", 5);
    world.seed("good", "c", 2);
    world
        .connections
        .script_others(|id| Script::always(if id.starts_with("gone") { Scripted::gone() } else { Scripted::ok() }));
    let hold = Hold::default();
    world.dynamodb.fault(Rule::on("BatchWriteItem", Fault::Held(hold.clone())));
    let (fanout, batch) = (start(&world).await, queue_batch(&[message("room", "m"), message("good", "g")]));
    let acknowledged = async {
        world.until_deleted(2).await;
        hold.release();
    };
    let (invocation, ()) = tokio::join!(fanout.invoke_within(&batch, Duration::from_secs(30)), acknowledged);
    assert_eq!(batch_item_failures(invocation.response()), Vec::<String>::new());
    assert!(world.dynamodb.connections_of_room("room").is_empty());
}

/// A page of members that was read before the append lacks a client that joined meanwhile and was told a head without
/// the message.
#[tokio::test]
async fn who_joins_while_the_log_is_written_gets_the_message() {
    for (is_cold, stalled) in [(false, "PutItem"), (true, "PutItem"), (true, "Query")] {
        joins_while_the_log_is_written(is_cold, stalled).await;
    }
}

/// A warm environment knows the room's size, and need not wait for the page; a cold one reads the log.
async fn joins_while_the_log_is_written(is_cold: bool, stalled: &'static str) {
    let world = World::start();
    world.seed("room", "c", 3);
    let mut fanout = start(&world).await;
    assert_eq!(invoke(&fanout, &[message("room", "first")]).await, Vec::<String>::new());
    if is_cold {
        fanout = start(&world).await;
    }
    let (dynamodb, hold) = (world.dynamodb.endpoint(), Hold::default());
    dynamodb.clear_calls();
    let is_of_log = |call: &Call| call.body["TableName"] == MESSAGES_TABLE;
    dynamodb.fault(Rule::on(stalled, Fault::Held(hold.clone())).when(is_of_log));
    let joining = async {
        let is_page = |call: &Call| call.body["IndexName"].is_string() && call.status == Some(200);
        let is_held = |call: &Call| call.operation == stalled && is_of_log(call);
        dynamodb.wait_until("the page is read", |calls| calls.iter().any(is_page)).await;
        dynamodb.wait_until("the call is held", |calls| calls.iter().any(is_held)).await;
        assert_eq!(world.dynamodb.log("room").len(), 1, "its head, as the joiner is told");
        world.seed("room", "late", 1);
        // An append up to 100 ms counts as too short for a join in it. On a busy machine the page may be taken note of
        // long after it was read.
        tokio::time::sleep(Duration::from_secs(2)).await;
        hold.release();
    };
    let records = [message("room", "second")];
    let (failed, ()) = tokio::join!(invoke(&fanout, &records), joining);
    assert_eq!(failed, Vec::<String>::new());
    assert_eq!(world.received("late0"), ["second"], "cold: {is_cold}, {stalled} stalled");
}

/// A search is bounded in bytes. Those of an earlier search must not make a later one in the same environment find
/// less.
#[tokio::test]
async fn a_search_finds_as_much_in_an_environment_that_has_searched_before() {
    let world = World::start();
    let fanout = start(&world).await;
    for number in 0..60 {
        invoke(&fanout, &[large(&number.to_string(), 100_000)]).await;
    }
    for fresh in [true, false] {
        let cold = start(&world).await;
        if !fresh {
            invoke(&cold, &[large("59", 100_000).received(2)]).await;
        }
        invoke(&cold, &[large("25", 100_000).received(2)]).await;
        assert_eq!(world.dynamodb.log("room").len(), 60, "fresh: {fresh}");
    }
}

/// The row is in the room's own partition, which throttles just when the room is busy.
#[tokio::test]
async fn a_throttled_row_of_progress_does_not_have_a_shard_posted_to_again() {
    let world = World::start();
    world.seed("room", "c", 30);
    let fanout = start(&world).await;
    let records: Vec<_> = (0..10).map(|n| message("room", &n.to_string())).collect();
    invoke(&fanout, &records).await;
    let job = world.job_records().remove(0);
    let is_progress = |call: &Call| call.body["Item"]["upTo"].is_object();
    world.dynamodb.fault(Rule::on("PutItem", Fault::throughput_exceeded()).when(is_progress).after(1).times(3));
    let mut receives = 1;
    while !invoke(&fanout, &[job.clone().received(receives)]).await.is_empty() {
        receives += 1;
    }
    let posts = world.connections.record().posts;
    assert!(posts <= 34, "{posts} posts for 30 connections in {receives} invocations");
}

/// While the account is throttled nobody is given up. One connection that asks for patience each time must not hold the
/// room for that, nor have everybody above its slot posted to again. The first round is without it, for comparison.
#[tokio::test]
async fn a_throttled_account_and_one_connection_that_asks_for_patience_do_not_hold_a_room_for_ever() {
    for has_slow in [false, true] {
        let world = World::start();
        world.seed("room", "c", 60);
        world.connections.script_others(|id| Script::random_for(id, 7, 0.4, Scripted::throttled()));
        if has_slow {
            world.connections.script(&ends(&world)[0], Script::always(Scripted::throttled().retry_after("2")));
        }
        let fanout = start(&world).await;
        let mut posts = Vec::new();
        let is_done = async {
            for receives in 1..=FOR_EVER {
                let failed = invoke_briefly(&fanout, &[message("room", "m").received(receives)]).await;
                posts.push(world.connections.record().delivered());
                if failed.is_empty() {
                    return true;
                }
            }
            false
        };
        assert!(is_done.await, "slow: {has_slow}, delivered after each invocation {posts:?}");
    }
}

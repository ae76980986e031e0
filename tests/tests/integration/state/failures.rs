//! The function when the table of state does not take writes.

use std::time::Duration;

use fanout::log::AppendError;
use serde_json::json;
use shared::store::StoreError;
use testkit::aws_endpoint::{Call, Fault, Hold, Rule};
use testkit::clock::TestClock;
use testkit::dynamodb::{DynamoDb, MESSAGES_TABLE, STATE_TABLE};
use testkit::events::{QueueRecord, batch_item_failures, queue_batch, queued_message};
use testkit::runtime_api::{Environment, Function};

use super::{ROOM, Tables, batch};
use crate::fanout::{World, invoke, message};

fn keyed(room: &str, id: &str, key: &str) -> QueueRecord {
    let mut body = queued_message(room, id, "eu", &json!(id));
    body["key"] = json!(key);
    QueueRecord::new(id, room, body)
}

fn fails(world: &World, fault: Fault) {
    world.dynamodb.fault(Rule::on("PutItem", fault).when(|call| call.body["TableName"] == STATE_TABLE));
}

#[tokio::test]
async fn records_come_back_until_their_state_is_written_and_nothing_is_posted_again() {
    let world = World::start();
    world.seed("fx", "c", 3);
    world.seed("chat", "d", 1);
    fails(&world, Fault::internal_error());
    let fanout = world.fanout_with_state().start().await.unwrap();
    let records = [keyed("fx", "a", "k"), keyed("fx", "b", "l"), message("chat", "m")];
    assert_eq!(invoke(&fanout, &records).await, ["a", "b"]);
    assert_eq!(
        (world.received("c0"), world.received("d0")),
        (vec!["a".to_owned(), "b".to_owned()], vec!["m".to_owned()])
    );
    // The records come again, to the same environment and to another one.
    for fanout in [&fanout, &world.fanout_with_state().start().await.unwrap()] {
        let again: Vec<_> = records[..2].iter().map(|record| record.clone().received(2)).collect();
        assert_eq!(invoke(fanout, &again).await, ["a", "b"]);
    }
    world.dynamodb.endpoint().clear_faults();
    let again: Vec<_> = records[..2].iter().map(|record| record.clone().received(4)).collect();
    assert_eq!(invoke(&fanout, &again).await, Vec::<String>::new());
    let state = world.dynamodb.state("fx");
    assert_eq!(state.iter().map(|row| row["data"].as_str().unwrap()).collect::<Vec<_>>(), ["\"a\"", "\"b\""]);
    for connection in ["c0", "c1", "c2"] {
        assert_eq!(world.received(connection), ["a", "b"], "once");
    }
}

#[tokio::test]
async fn a_batch_without_keys_does_not_need_the_table() {
    let world = World::start();
    world.seed("fx", "c", 1);
    fails(&world, Fault::internal_error());
    let fanout = world.fanout_with_state().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("fx", "a")]).await, Vec::<String>::new());
    assert_eq!(world.received("c0"), ["a"]);
}

#[tokio::test]
async fn messages_reach_the_room_while_its_state_is_written() {
    let world = World::start();
    world.seed("fx", "c", 2);
    let hold = Hold::default();
    fails(&world, Fault::Held(hold.clone()));
    let fanout = world.fanout_with_state().start().await.unwrap();
    let records = [keyed("fx", "a", "k")];
    let serving = invoke(&fanout, &records);
    let seen = async {
        while world.received("c0").is_empty() || world.received("c1").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        hold.release();
    };
    let (failed, ()) = futures::join!(serving, seen);
    assert_eq!((failed, world.dynamodb.state("fx").len()), (vec![], 1));
}

#[tokio::test]
async fn what_comes_again_is_posted_while_its_state_cannot_be_written() {
    let world = World::start();
    world.seed("fx", "c", 2);
    logged_by_somebody_who_is_killed(&world).await;
    fails(&world, Fault::throughput_exceeded());
    let fanout = world.fanout_with_state().start().await.unwrap();
    let records = [keyed("fx", "a", "k").received(2), keyed("fx", "b", "l").received(2)];
    assert_eq!(invoke(&fanout, &records).await, ["a", "b"]);
    assert_eq!(
        (world.received("c0"), world.received("c1")),
        (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()])
    );
    world.dynamodb.endpoint().clear_faults();
    assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
    assert_eq!((world.received("c0").len(), world.dynamodb.state("fx").len()), (2, 2));
}

/// Puts the records `a` and `b` into the log of `fx`, and no more.
async fn logged_by_somebody_who_is_killed(world: &World) {
    let clock = TestClock::start();
    let writer = Tables { client: crate::log::client(&world.dynamodb), dynamodb: DynamoDb::start(), clock };
    let messages = vec![writer.message("a", "k"), writer.message("b", "l")];
    drop(writer.environment().append(&batch(messages)).await.unwrap());
    assert_eq!(world.dynamodb.log("fx").len(), 2);
}

#[tokio::test]
async fn a_table_that_hangs_until_the_time_is_up_does_not_have_posts_repeated() {
    let world = World::start();
    world.seed("fx", "c", 2);
    fails(&world, Fault::Hang);
    let fanout = world.fanout_with_state().env("FANOUT_DEADLINE_RESERVE_MS", 3_000).start().await.unwrap();
    let records = [keyed("fx", "a", "k")];
    let time = Duration::from_secs(6);
    let failed = batch_item_failures(fanout.invoke_within(&queue_batch(&records), time).await.response());
    assert_eq!(
        (failed, world.received("c0"), world.received("c1")),
        (vec!["a".into()], vec!["a".into()], vec!["a".into()])
    );
    world.dynamodb.endpoint().clear_faults();
    let other = world.fanout_with_state().start().await.unwrap();
    assert_eq!(invoke(&other, &records.map(|record| record.received(2))).await, Vec::<String>::new());
    assert_eq!((world.received("c0"), world.received("c1")), (vec!["a".to_owned()], vec!["a".to_owned()]), "once");
}

/// The kind of a call: an append, another call of the log, or a call of state.
fn step(call: &Call) -> Option<&'static str> {
    let number = call.body["Item"]["seq"]["N"].as_str();
    let is_entry = number.is_some_and(|number| !number.starts_with('-'));
    match (call.operation.as_str(), call.body["TableName"].as_str()) {
        ("TransactWriteItems", _) => Some("append"),
        ("PutItem", Some(MESSAGES_TABLE)) if is_entry => Some("append"),
        (_, Some(MESSAGES_TABLE)) => Some("log"),
        (_, Some(STATE_TABLE)) => Some("state"),
        _ => None,
    }
}

/// The calls of log and state that an invocation has made up to its append, and the number of those of state after it.
async fn steps(world: &World, fanout: &Environment, records: &[QueueRecord]) -> (Vec<&'static str>, usize) {
    world.dynamodb.endpoint().clear_calls();
    assert_eq!(invoke(fanout, records).await, Vec::<String>::new());
    let calls = world.dynamodb.endpoint().calls();
    let steps: Vec<_> = calls.iter().filter_map(step).collect();
    let append = steps.iter().position(|step| *step == "append").unwrap();
    (steps[..=append].to_vec(), steps[append..].iter().filter(|step| **step == "state").count())
}

/// State adds no call before an append, of whichever batch of a room: a message is logged as early as without it.
#[tokio::test]
async fn no_append_waits_for_state() {
    let (with, without) = (World::start(), World::start());
    let start = async |function: Function| function.start().await.unwrap();
    let stateful = [start(with.fanout_with_state()).await, start(with.fanout_with_state()).await];
    let stateless = [start(without.fanout()).await, start(without.fanout()).await];
    // Two batches by one environment, then by one that is cold, and again by the first, which knows nothing of the
    // other's.
    for (turn, place) in [0, 0, 1, 0].into_iter().enumerate() {
        let name = |letter| format!("{letter}{turn}");
        let records = [keyed("fx", &name('a'), "k"), keyed("fx", &name('b'), &name('l'))];
        let (before, writes) = steps(&with, &stateful[place], &records).await;
        assert_eq!((before, 0), steps(&without, &stateless[place], &records).await, "batch {turn}");
        assert!((2..=4).contains(&writes), "{writes} calls of state after the append of batch {turn}");
    }
}

/// A put has six attempts of ours, each of which is three by the SDK.
#[tokio::test]
async fn a_value_is_put_again_while_the_table_throttles_for_a_moment_and_not_for_ever() {
    let tables = Tables::new();
    let writer = tables.environment();
    let puts =
        || tables.dynamodb.calls_of("PutItem").iter().filter(|call| call.body["TableName"] == STATE_TABLE).count();
    let throttles =
        || Rule::on("PutItem", Fault::throughput_exceeded()).when(|call| call.body["TableName"] == STATE_TABLE);
    let appended = writer.append(&batch(vec![tables.message("a", "k")])).await.unwrap();
    tables.dynamodb.fault(throttles().times(3));
    writer.apply(appended).await.unwrap();
    assert_eq!((puts(), tables.dynamodb.state(ROOM).len()), (4, 1));
    let appended = writer.append(&batch(vec![tables.message("b", "l")])).await.unwrap();
    tables.dynamodb.fault(throttles());
    let applied = writer.apply(appended).await;
    assert!(matches!(applied, Err(AppendError::Store(StoreError::Throttled { .. }))), "{applied:?}");
    assert_eq!(puts(), 4 + 6 * 3);
}

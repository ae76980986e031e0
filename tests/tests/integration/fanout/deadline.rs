//! Invocations whose time is up before their work is done.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use testkit::aws_endpoint::{Fault, Rule};
use testkit::connections_server::Scripted;
use testkit::events::{QueueRecord, batch_item_failures, queue_batch};

use super::{World, message};

/// A room that is done at once, and a room with gone connections and with some that hang.
fn world() -> World {
    let world = World::start();
    world.seed("done", "done", 3);
    world.seed("slow", "gone", 30);
    world.seed("slow", "hangs", 3);
    world.connections.script_others(|id| {
        let outcome = match id.trim_end_matches(char::is_numeric) {
            "gone" => Scripted::gone(),
            "hangs" => Scripted::hang(),
            _ => Scripted::ok(),
        };
        testkit::connections_server::Script::always(outcome)
    });
    world
}

#[tokio::test]
async fn before_the_deadline_what_is_unfinished_is_returned_and_what_is_done_is_kept() {
    let world = world();
    let fanout = world
        .fanout()
        .env("FANOUT_POST_TIMEOUT_MS", 20_000)
        .env("FANOUT_DEADLINE_RESERVE_MS", 4_000)
        .start()
        .await
        .unwrap();
    let records = [("slow", "s1"), ("done", "d1"), ("slow", "s2"), ("done", "d2")].map(|(room, id)| message(room, id));
    let invocation = fanout.invoke_within(&queue_batch(&records), Duration::from_secs(8)).await;

    assert_eq!(batch_item_failures(invocation.response()), ["s1", "s2"]);
    assert_eq!(world.received("done0"), ["d1", "d2"]);
    let left = world.dynamodb.connections_of_room("slow");
    assert_eq!(left, ["hangs0", "hangs1", "hangs2"], "the gone that were found are removed");
    let lines = fanout.logged(1, |line| line["message"] == "broadcast" && line["room"] == "slow").await;
    assert!(lines[0]["interruption"].as_str().unwrap().contains("time was up"), "{lines:?}");
    let postponed = world.queues.calls().into_iter().filter(|call| call.operation == "ChangeMessageVisibilityBatch");
    let entries: Vec<_> = postponed.flat_map(|call| call.body["Entries"].as_array().unwrap().clone()).collect();
    let handles: Vec<_> = entries.iter().map(|entry| entry["ReceiptHandle"].as_str().unwrap()).collect();
    assert_eq!(handles, ["handle-1-of-s1", "handle-1-of-s2"], "they come back at once");
    assert!(entries.iter().all(|entry| entry["VisibilityTimeout"] == 0), "{entries:?}");

    // The posts that were given up do not linger.
    world.connections.wait_until("no post is in flight", Duration::from_secs(60), |record| record.in_flight == 0).await;
}

#[tokio::test]
async fn a_room_that_ran_out_of_time_is_finished_by_the_next_delivery() {
    let world = world();
    let fanout = world.fanout().env("FANOUT_POST_TIMEOUT_MS", 20_000).start().await.unwrap();
    fanout.invoke_within(&queue_batch(&[message("slow", "m")]), Duration::from_secs(6)).await;
    for connection in ["hangs0", "hangs1", "hangs2"] {
        world.connections.script(connection, testkit::connections_server::Script::always(Scripted::ok()));
    }
    let again = fanout.invoke(&queue_batch(&[message("slow", "m").received(2)])).await;
    assert_eq!(batch_item_failures(again.response()), Vec::<String>::new());
    assert_eq!(world.received("hangs0"), ["m"]);
    assert_eq!(world.dynamodb.log("slow").len(), 1);
}

/// However slowly a connection answers, a step ends in time, and every invocation gets further.
#[tokio::test]
async fn a_step_is_as_many_frames_as_certainly_fit_half_of_the_time() {
    let world = World::start();
    world.seed("room", "c", 2);
    let fanout = world.fanout().env("FANOUT_CONCURRENCY", 1).env("FANOUT_DEADLINE_RESERVE_MS", 10_000);
    let fanout = fanout.env("FANOUT_POST_TIMEOUT_MS", 25_000).start().await.unwrap();
    // Each message fills more than half of a frame. Half of the 110 s for work, 55 s, is time for two posts of 25 s.
    let records = ["a", "b", "c"].map(|id| QueueRecord::message("room", id, &json!("x".repeat(20_000))));
    let invocation = fanout.invoke_within(&queue_batch(&records), Duration::from_secs(120)).await;
    assert_eq!(batch_item_failures(invocation.response()), Vec::<String>::new());
    let order = |connection| -> Vec<_> {
        world.connections.connection(connection).attempts.iter().map(|attempt| attempt.number).collect()
    };
    let mut orders = [order("c0"), order("c1")];
    orders.sort();
    assert_eq!(orders, [[0, 1, 4], [2, 3, 5]], "two frames to everybody, then the third");
}

#[tokio::test]
async fn a_reserve_beyond_the_timeout_still_leaves_half_of_it_for_work() {
    let world = world();
    let fanout = world.fanout().env("FANOUT_DEADLINE_RESERVE_MS", 60_000).start().await.unwrap();
    let records = [message("done", "d1"), message("done", "d2")];
    let invocation = fanout.invoke_within(&queue_batch(&records), Duration::from_secs(20)).await;
    assert_eq!(batch_item_failures(invocation.response()), Vec::<String>::new());
    assert_eq!(world.received("done0"), ["d1", "d2"]);
}

#[tokio::test]
async fn a_table_that_hangs_while_deleting_does_not_keep_the_answer() {
    let world = world();
    world.dynamodb.fault(Rule::on("BatchWriteItem", Fault::Hang));
    let fanout = world
        .fanout()
        .env("FANOUT_POST_TIMEOUT_MS", 1_000)
        .env("FANOUT_MAX_ATTEMPTS", 1)
        .env("FANOUT_DEADLINE_RESERVE_MS", 3_000)
        .start()
        .await
        .unwrap();
    // The delete hangs until the SDK gives it up, after six seconds; before that the time for deletes is over.
    let invocation = fanout.invoke_within(&queue_batch(&[message("slow", "m")]), Duration::from_secs(7)).await;
    assert_eq!(batch_item_failures(invocation.response()), Vec::<String>::new(), "the room's posts were all made");
    assert!(world.dynamodb.count("BatchWriteItem") > 0);
    let is_about = "the invocation's time was up before all rows of closed connections were deleted";
    fanout.logged(1, |line| line["message"] == is_about).await;
}

/// While the function is throttled, Lambda holds the records that it has received. Another consumer may have them by
/// now. The function is given half a minute, and the queue hides records for six times as long.
#[tokio::test]
async fn records_that_another_consumer_may_have_are_left_alone() {
    let world = World::start();
    for room in ["late", "again", "fresh"] {
        world.seed(room, room, 1);
    }
    let fanout = world.fanout().start().await.unwrap();
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let late = message("late", "m1").queued_at(now - 200_000).first_received_at(now - 181_000);
    let again = message("again", "m2").queued_at(now - 200_000).first_received_at(now - 181_000).received(2);
    let batch = queue_batch(&[late, again, message("fresh", "m3").received(2)]);

    let over = Fault::failed_entries(&[0], "ReceiptHandleIsInvalid");
    // Of each of the two rooms it is asked once, and told twice when the room comes back.
    world.queues.fault(Rule::on("ChangeMessageVisibilityBatch", over).times(6));
    let answer = fanout.invoke_within(&batch, Duration::from_secs(30)).await;
    assert_eq!(batch_item_failures(answer.response()), ["m1", "m2"]);
    assert_eq!((world.received("late0").len(), world.received("again0").len()), (0, 0));
    assert_eq!((world.dynamodb.log("late").len(), world.dynamodb.log("again").len()), (0, 0));
    assert_eq!(world.received("fresh0"), ["m3"], "nobody else can have it");
    assert!(world.queues.postponed().is_empty());

    let started = Instant::now();
    let answer = fanout.invoke_within(&batch, Duration::from_secs(30)).await;
    let took = started.elapsed();
    assert_eq!(batch_item_failures(answer.response()), Vec::<String>::new());
    assert_eq!((world.received("late0"), world.received("again0")), (vec!["m1".to_owned()], vec!["m2".to_owned()]));
    let held = world.queues.postponed();
    let mut handles: Vec<_> = held.iter().map(|held| held.receipt_handle.as_str()).collect();
    handles.sort_unstable();
    assert_eq!(handles, ["handle-1-of-m1", "handle-2-of-m2"]);
    // Six times what the function is given, less what a busy machine took before the function had the event.
    let least = 6 * Duration::from_secs(30).saturating_sub(took).as_secs();
    assert!(held.iter().all(|held| (least..=180).contains(&held.seconds)), "{held:?}, after {took:?}");
}

#[test]
fn the_template_hides_records_for_six_timeouts() {
    let template = include_str!("../../../../infra/template.yaml");
    let of_presence = |resource: &str, name: &str| {
        let resource = template.split(&format!("\n  {resource}:\n")).nth(1).unwrap();
        let value = resource.split(&format!(" {name}: ")).nth(1).unwrap().lines().next().unwrap();
        value.parse::<u64>().unwrap()
    };
    assert_eq!(of_presence("PresenceQueue", "VisibilityTimeout"), 6 * of_presence("PresenceFunction", "Timeout"));
    let timeouts = template.split("\n  FanoutTimeouts:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let mut checked = 0;
    for line in timeouts {
        let numbers: Vec<u64> =
            line.split(|other: char| !other.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
        assert_eq!(numbers, [numbers[0], 6 * numbers[0]], "{line}");
        checked += 1;
    }
    assert_eq!(checked, 8);
}

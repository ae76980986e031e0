//! Ticks: the queue is told each time that a room's members may have changed.

use std::num::NonZeroU32;

use ingest::config::SessionLimits;
use serde_json::json;
use shared::clock::Clock;
use testkit::aws_endpoint::{Fault, Rule};

use super::world::{Answer, Environment, LEASE, World, sync_of};

#[tokio::test]
async fn each_change_of_members_has_a_tick_and_nothing_else_has() {
    let world = World::new();
    for (room, listed, unlisted) in [("plain", 0, 0), ("chat:1", 1, 0), ("shop:1", 1, 1), ("both:1", 1, 1)] {
        let ticks = |answer: &Answer| {
            assert!(answer.status == 200 && answer.reply["type"] != "error", "{}", answer.reply);
            world.pass(1);
            answer.ticks
        };
        assert_eq!(ticks(&world.join("bob-1=", room).await), (unlisted, 0), "{room}: somebody who is not listed");
        assert_eq!(ticks(&world.leave("bob-1=", room).await), (unlisted, 0), "{room}");
        assert_eq!(ticks(&world.session.connect("cy-1=", room).await), (unlisted, 0), "{room}");
        assert_eq!(ticks(&world.session.disconnect("cy-1=").await), (unlisted, 0), "{room}");
        assert_eq!(ticks(&world.enter("ann-1=", room, json!(1)).await), (listed, 0), "{room}: a new member");
        assert_eq!(ticks(&world.enter("ann-2=", room, json!(2)).await), (listed, 0), "{room}: a second tab");
        assert_eq!(ticks(&world.enter("ann-1=", room, json!(1)).await), (listed, 0), "{room}: its data are Ann's now");
        assert_eq!(ticks(&world.enter("ann-1=", room, json!(3)).await), (listed, 0), "{room}: other data");
        assert_eq!(ticks(&world.join("ann-1=", room).await), (listed, 0), "{room}: listed no more");
        assert_eq!(ticks(&world.join("ann-1=", room).await), (unlisted, 0), "{room}: not listed before");
        assert_eq!(ticks(&world.session.disconnect("ann-1=").await), (unlisted, 0), "{room}");
        assert_eq!(ticks(&world.leave("ann-2=", room).await), (listed, 0), "{room}: gone");
        assert_eq!(
            ticks(&world.leave("ann-2=", room).await),
            (listed, 0),
            "{room}: gone before, or by a call that was not answered"
        );
        let ticked = world.ticked();
        assert!(ticked.iter().all(|ticked| ticked == room), "{ticked:?}");
    }
}

#[tokio::test]
async fn a_tick_names_the_room_and_its_second_and_no_more() {
    let world = World::new();
    world.pass(1);
    let second = world.clock.unix_seconds();
    world.enter("ann-1=", "chat:1", json!(1)).await;
    let (_, record) = world.queue.taken().remove(0);
    assert_eq!((record.group_id.as_str(), record.body.as_str()), ("chat:1", r#"{"v":1,"roomId":"chat:1"}"#));
    assert_eq!((record.deduplication_id, record.reason, record.trace), (format!("tick/{second}"), None, None));
}

#[tokio::test]
async fn a_room_has_one_tick_a_second() {
    let world = World::new();
    let other = Environment::of(&world.dynamodb, &world.clock, &world.queue, LEASE);
    for second in 0..3 {
        world.pass(1);
        for number in 0..5 {
            world.enter(&format!("ann-{number}="), "chat:1", json!(second)).await;
        }
        assert_eq!(world.queue.calls(), 2 * second + 1, "an environment sends one");
        other.enter("bob-1=", "chat:1", json!(second)).await;
        assert_eq!(world.queue.calls(), 2 * second + 2, "each environment for itself");
        assert_eq!(world.ticked(), ["chat:1"], "the queue takes one of them");
    }
    world.enter("ann-1=", "chat:2", json!(1)).await;
    assert_eq!(world.ticked(), ["chat:2"], "another room has its own");
}

/// A tick that is sent before the write could be handled before it.
#[tokio::test]
async fn a_tick_is_sent_when_the_row_is_written_or_deleted() {
    let world = World::new();
    world.enter("ann-1=", "chat:1", json!(1)).await;
    world.enter("ann-2=", "chat:1", json!(1)).await;
    for operation in ["PutItem", "DeleteItem", "BatchWriteItem"] {
        world.pass(5);
        world.ticked();
        let change = async {
            match operation {
                "PutItem" => world.enter("ann-3=", "chat:1", json!(1)).await,
                "DeleteItem" => world.leave("ann-1=", "chat:1").await,
                _ => world.session.disconnect("ann-2=").await,
            }
        };
        let late = || {
            assert!(world.ticked().is_empty(), "{operation}");
            world.pass(5);
        };
        let changed = world.while_held(operation, change, late).await;
        let (taken, second) = (world.queue.taken(), world.clock.unix_seconds());
        assert_eq!((taken.len(), changed.ticks), (1, (1, 0)), "{operation}");
        assert_eq!(taken[0].1.deduplication_id, format!("tick/{second}"), "{operation}");
    }
}

#[tokio::test]
async fn a_tick_that_cannot_be_sent_is_counted_and_fails_nothing() {
    let world = World::new();
    world.queue.set_down(true);
    let lost = (0, 1);
    let entered = world.enter("ann-1=", "both:1", json!(1)).await;
    assert_eq!((&entered.reply["type"], entered.ticks), (&json!("joined"), lost));
    assert_eq!(world.session.connect("ann-2=", "both:1").await.ticks, lost);
    let left = world.leave("ann-2=", "both:1").await;
    assert_eq!((&left.reply["type"], left.ticks), (&json!("left"), lost));
    let synced = world.sync("ann-3=", &["both:1"]).await;
    assert_eq!((&synced.reply["renewed"], synced.ticks), (&json!(["both:1"]), lost));
    let gone = world.session.disconnect("ann-3=").await;
    assert_eq!((gone.status, gone.ticks), (200, lost));
    world.queue.set_down(false);
    assert_eq!(world.enter("ann-1=", "both:1", json!(1)).await.ticks, (1, 0), "what was lost was not sent");
}

#[tokio::test]
async fn a_connection_of_many_rooms_leaves_ticks_in_those_where_it_was_present() {
    let world = World::new();
    for number in 0..60 {
        let kind = ["plain", "chat", "shop"][number % 3];
        world.enter("ann-1=", &format!("{kind}:{number:02}"), json!(1)).await;
    }
    world.join("ann-1=", "chat:seen").await;
    world.pass(1);
    world.ticked();
    let calls = world.queue.calls();
    let gone = world.session.disconnect("ann-1=").await;
    let ticked = world.ticked();
    assert_eq!((gone.ticks, ticked.len(), world.queue.calls() - calls), ((40, 0), 40, 4), "ten a call");
    assert!(ticked.iter().all(|room| !room.starts_with("plain") && room != "chat:seen"), "{ticked:?}");
    assert!(world.dynamodb.rows().is_empty());
}

#[tokio::test]
async fn rows_that_were_deleted_before_the_table_failed_have_their_ticks() {
    let world = World::new();
    for number in 0..60 {
        world.enter("ann-1=", &format!("chat:{number:02}"), json!(1)).await;
    }
    world.pass(1);
    world.ticked();
    world.dynamodb.fault(Rule::on("BatchWriteItem", Fault::access_denied()).after(1));
    let failed = world.session.disconnect("ann-1=").await;
    assert_eq!((failed.status, failed.ticks, world.dynamodb.rows().len()), (503, (60, 0), 35));
}

#[tokio::test]
async fn a_leave_has_its_tick_whatever_was_answered() {
    for (fault, times, reply) in [(Fault::DropAfter, 1, "left"), (Fault::DropAfter, 9, "error")] {
        let world = World::new();
        world.enter("ann-1=", "chat:1", json!(1)).await;
        world.pass(1);
        world.ticked();
        world.dynamodb.fault(Rule::on("DeleteItem", fault).times(times));
        let left = world.leave("ann-1=", "chat:1").await;
        assert_eq!((&left.reply["type"], left.ticks), (&json!(reply), (1, 0)));
        assert_eq!(
            (world.row("ann-1=", "chat:1"), world.ticked()),
            (serde_json::Value::Null, vec!["chat:1".to_owned()])
        );
    }
}

/// The SDK's second attempt finds the row of the first, and not that of the member.
#[tokio::test]
async fn a_member_that_is_one_no_more_has_its_tick_whatever_was_answered() {
    let world = World::new();
    world.enter("ann-1=", "chat:1", json!(1)).await;
    world.pass(1);
    world.ticked();
    world.dynamodb.fault(Rule::on("PutItem", Fault::DropAfter).times(1));
    let joined = world.join("ann-1=", "chat:1").await;
    assert_eq!((&joined.reply["type"], joined.ticks), (&json!("joined"), (1, 0)));
    assert_eq!(
        (&world.row("ann-1=", "chat:1")["memberOf"], world.ticked()),
        (&serde_json::Value::Null, vec!["chat:1".to_owned()])
    );
}

#[tokio::test]
async fn a_join_whose_log_cannot_be_read_has_its_tick() {
    let world = World::new();
    world.dynamodb.fault(Rule::on("Query", Fault::access_denied()));
    let failed = world.enter("ann-1=", "chat:1", json!(1)).await;
    assert_eq!((&failed.reply["code"], failed.ticks), (&json!("unavailable"), (1, 0)));
    assert_eq!(world.row("ann-1=", "chat:1")["memberOf"], "chat:1");
}

#[tokio::test]
async fn a_room_too_many_has_a_tick_when_it_is_left_again() {
    let world = World::new();
    let limits = SessionLimits { rooms: 1, connections: NonZeroU32::new(50), requests: 0, room_joins: 0 };
    let session = Environment::with_limits(limits, &world.dynamodb, &world.clock, (&world.queue, LEASE));
    session.enter("ann-1=", "chat:1", json!(1)).await;
    world.pass(1);
    world.ticked();
    // The row is deleted in another second than it was put in.
    let request = session.enter("ann-1=", "chat:2", json!(1));
    let refused = world.while_held("DeleteItem", request, || world.pass(1)).await;
    assert_eq!((&refused.reply["code"], refused.ticks), (&json!("forbidden"), (2, 0)));
    assert_eq!(world.ticked(), ["chat:2", "chat:2"]);
    world.pass(1);
    let synced = session.ask("ann-1=", sync_of(&["chat:1", "shop:1"])).await;
    assert_eq!((&synced.reply["forbidden"], synced.ticks.1), (&json!(["shop:1"]), 0));
    assert!(world.ticked().contains(&"shop:1".to_owned()));
}

#[tokio::test]
async fn a_member_of_a_room_too_many_has_a_tick_when_its_sync_ends_it() {
    let world = World::new();
    for room in ["chat:1", "chat:2"] {
        world.enter("ann-1=", room, json!(1)).await;
        world.publish(room, 1, 1, None);
    }
    let mut row = world.row("ann-1=", "chat:2");
    row["expiresAt"] = json!(world.clock.unix_seconds() + 60);
    world.dynamodb.seed_raw_row(&row);
    world.pass(1);
    world.ticked();
    let limits = SessionLimits { rooms: 1, connections: None, requests: 0, room_joins: 0 };
    let session = Environment::with_limits(limits, &world.dynamodb, &world.clock, (&world.queue, LEASE));
    let synced = session.ask("ann-1=", sync_of(&["chat:2"])).await;
    assert_eq!((&synced.reply["forbidden"], synced.ticks), (&json!(["chat:2"]), (1, 0)));
    assert_eq!(world.ticked(), ["chat:2"]);
}

//! A broadcast to a whole room, and the rows that it removes.

use std::time::Duration;

use testkit::aws_endpoint::{Fault, Rule};
use testkit::connections_server::{Script, Scripted};
use testkit::dynamodb::ConnectionRow;
use testkit::events::{batch_item_failures, queue_batch};

use super::{World, invoke, message, tally};

#[tokio::test]
async fn a_room_of_ten_thousand_is_posted_to_once_and_swept_of_the_gone() {
    let world = World::start();
    world.seed("room", "live", 7_000);
    world.seed("room", "gone", 3_000);
    world.seed("other", "stranger", 10);
    world.script_prefix("gone", Scripted::gone());
    // The latency is long enough for posts to meet in flight.
    world.connections.set_latency(Duration::from_millis(2));

    let fanout = world.fanout().env("FANOUT_CONCURRENCY", 24).env("FANOUT_SHARD_SIZE", 0).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());

    let record = world.connections.record();
    assert_eq!(record.signature_errors, []);
    // A 410 is confirmed by a second one.
    assert_eq!((record.posts, record.delivered(), record.status(410)), (13_000, 7_000, 6_000));
    assert_eq!(record.connections.len(), 10_000);
    assert!(
        record.connections.iter().all(|(id, connection)| connection.posts == 1 + usize::from(id.starts_with("gone")))
    );
    assert!(!record.connections.contains_key("stranger0"));
    assert!((2..=24).contains(&record.max_in_flight), "{}", record.max_in_flight);

    let left = world.dynamodb.connections_of_room("room");
    assert_eq!(left.len(), 7_000);
    assert!(left.iter().all(|id| id.starts_with("live")));
    assert_eq!(world.dynamodb.connections_of_room("other").len(), 10);
    assert_eq!(world.dynamodb.count("BatchWriteItem"), 3_000 / 25);
    let pages = world.dynamodb.calls_of("Query").iter().filter(|call| call.body["IndexName"].is_string()).count();
    assert!((11..=12).contains(&pages), "{pages} pages, the first of 500 and the others of 1,000");
    let tally = tally(&fanout).await;
    assert_eq!((&tally["delivered"], &tally["gone"], &tally["posts"]), (&7_000.into(), &3_000.into(), &13_000.into()));
}

#[tokio::test]
async fn a_connection_that_answers_410_once_and_is_well_keeps_its_row_and_gets_the_frame() {
    let world = World::start();
    world.seed("room", "live", 3);
    world.connections.script("live1", Script::queue([Scripted::gone()]));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());

    let attempts = world.connections.connection("live1").attempts;
    let [first, second] = &attempts[..] else { panic!("{} attempts", attempts.len()) };
    assert!(second.arrived >= first.arrived + Duration::from_secs(1), "not at once: it may be a handshake");
    assert_eq!(world.received("live1"), ["m"]);
    assert_eq!(world.dynamodb.connections_of_room("room"), ["live0", "live1", "live2"]);
    let tally = tally(&fanout).await;
    assert_eq!((&tally["revived"], &tally["gone"], &tally["delivered"]), (&1.into(), &0.into(), &3.into()));
}

#[tokio::test]
async fn posts_do_not_wait_for_deletes() {
    let world = World::start();
    world.seed("room", "gone", 60);
    world.seed("room", "live", 60);
    world.script_prefix("gone", Scripted::gone());
    world.dynamodb.fault(Rule::on("BatchWriteItem", Fault::Hang));
    let fanout = world.fanout().env("FANOUT_CONCURRENCY", 4).start().await.unwrap();
    let batch = queue_batch(&[message("room", "m")]);
    let invocation = fanout.invoke_within(&batch, Duration::from_secs(20));
    let posted = world.connections.wait_until("all posts are made", Duration::from_secs(17), |record| {
        (record.delivered(), record.status(410)) == (60, 120)
    });
    let (invocation, ()) = tokio::join!(invocation, posted);
    assert_eq!(batch_item_failures(invocation.response()), Vec::<String>::new());
}

#[tokio::test]
async fn rows_that_the_table_leaves_unprocessed_are_deleted_by_another_call() {
    let world = World::start();
    world.seed("room", "gone", 60);
    world.script_prefix("gone", Scripted::gone());
    world.dynamodb.fault(Rule::on("BatchWriteItem", Fault::unprocessed_after(20)).times(1));

    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());

    assert_eq!(world.dynamodb.connections_of_room("room"), Vec::<String>::new());
    let deletes = world.dynamodb.calls_of("BatchWriteItem");
    let mut sizes: Vec<_> =
        deletes.iter().map(|call| call.body["RequestItems"]["Connections"].as_array().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 10, 25, 25], "three batches, and the five rows that one of them left");
}

#[tokio::test]
async fn a_delete_that_fails_does_not_fail_the_room_and_is_made_good_later() {
    let world = World::start();
    world.seed("room", "gone", 3);
    world.seed("room", "live", 3);
    world.script_prefix("gone", Scripted::gone());
    world.dynamodb.fault(Rule::on("BatchWriteItem", Fault::access_denied()).times(1));

    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m1")]).await, Vec::<String>::new());
    assert_eq!(world.dynamodb.connections_of_room("room").len(), 6);
    assert_eq!(invoke(&fanout, &[message("room", "m2")]).await, Vec::<String>::new());
    assert_eq!(world.dynamodb.connections_of_room("room"), ["live0", "live1", "live2"]);
}

#[tokio::test]
async fn a_gone_row_within_its_grace_is_spared() {
    let world = World::start();
    world.dynamodb.seed([ConnectionRow::new("gone-old", "room"), ConnectionRow::new("gone-young", "room").young()]);
    world.script_prefix("gone", Scripted::gone());

    let fanout = world.fanout().env("GONE_GRACE_MS", 600_000).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    assert_eq!(world.dynamodb.connections_of_room("room"), ["gone-young"]);
    assert_eq!(tally(&fanout).await["spared"], 1);

    let graceless = world.fanout().env("GONE_GRACE_MS", 0).start().await.unwrap();
    assert_eq!(invoke(&graceless, &[message("room", "n")]).await, Vec::<String>::new());
    assert_eq!(world.dynamodb.connections_of_room("room"), Vec::<String>::new());
}

#[tokio::test]
async fn a_gone_connections_rows_in_other_rooms_stay_until_those_broadcast() {
    let world = World::start();
    world.dynamodb.seed([ConnectionRow::new("gone", "room"), ConnectionRow::new("gone", "other")]);
    world.script_prefix("gone", Scripted::gone());

    let fanout = world.fanout().start().await.unwrap();
    invoke(&fanout, &[message("room", "m")]).await;
    assert_eq!(world.dynamodb.rooms_of_connection("gone"), ["other"]);
    invoke(&fanout, &[message("other", "m")]).await;
    assert_eq!(world.dynamodb.rooms_of_connection("gone"), Vec::<String>::new());
}

#[tokio::test]
async fn an_expired_row_is_not_posted_to() {
    let world = World::start();
    let expired = ConnectionRow { expires_at: 1_700_000_000, ..ConnectionRow::new("expired", "room") };
    world.dynamodb.seed([expired, ConnectionRow::new("live", "room")]);

    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    assert_eq!(world.received("live"), ["m"]);
    assert_eq!(world.connections.connection("expired").posts, 0);
    assert_eq!(tally(&fanout).await["expired"], 1);
}

#[tokio::test]
async fn an_empty_room_is_logged_and_acknowledged_without_a_post() {
    let world = World::start();
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    assert_eq!(world.dynamodb.log("room").len(), 1);
    assert_eq!(world.connections.record().posts, 0);
}

#[tokio::test]
async fn a_message_is_in_the_log_before_the_first_post() {
    let world = World::start();
    world.seed("room", "c", 1);
    world.connections.hold();
    let fanout = world.fanout().start().await.unwrap();
    let records = [message("room", "m")];
    let check = async {
        world.connections.wait_until("the post arrives", Duration::from_secs(60), |record| record.in_flight == 1).await;
        assert_eq!(world.dynamodb.log("room")[0]["id"], "m");
        world.connections.release();
    };
    let (failed, ()) = tokio::join!(invoke(&fanout, &records), check);
    assert_eq!(failed, Vec::<String>::new());
}

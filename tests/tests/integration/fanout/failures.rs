//! One room fails as a whole: its records stay, those of other rooms do not.

use testkit::aws_endpoint::{Call, Fault, Rule};
use testkit::connections_server::Scripted;
use testkit::dynamodb::MESSAGES_TABLE;

use super::{World, invoke, message};

/// Records of a good and a bad room in turns; those of the bad one are `bad-1` and `bad-2`.
fn records() -> [testkit::events::QueueRecord; 4] {
    [("good", "good-1"), ("bad", "bad-1"), ("good", "good-2"), ("bad", "bad-2")].map(|(room, id)| message(room, id))
}

/// A world with a good and a bad room of this size.
fn world(members: usize) -> World {
    let world = World::start();
    world.seed("good", "good", members);
    world.seed("bad", "bad", members);
    world
}

fn is_query_of(call: &Call, room: &str) -> bool {
    call.body["ExpressionAttributeValues"][":room"]["S"] == room
}

fn assert_only_the_good_room_is_done(world: &World, failed: &[String]) {
    assert_eq!(failed, ["bad-1", "bad-2"]);
    assert_eq!(world.received("good0"), ["good-1", "good-2"]);
}

#[tokio::test]
async fn a_room_that_may_not_be_posted_to_fails_alone_and_loses_no_row() {
    let world = world(40);
    world.script_prefix("bad", Scripted::forbidden());
    let fanout = world.fanout().start().await.unwrap();
    let failed = invoke(&fanout, &records()).await;

    assert_only_the_good_room_is_done(&world, &failed);
    assert_eq!(world.connections.record().delivered(), 40);
    assert_eq!(world.dynamodb.connections_of_room("bad").len(), 40);
    assert_eq!(world.dynamodb.count("BatchWriteItem"), 0);
    let errors = fanout.logged(1, |line| line["level"] == "ERROR" && line["group"] == "bad").await;
    assert!(errors[0]["error"].as_str().unwrap().contains("execute-api:ManageConnections"), "{errors:?}");
}

#[tokio::test]
async fn a_wrong_endpoint_fails_the_room() {
    let world = world(2);
    world.script_prefix("bad", Scripted::not_found());
    let fanout = world.fanout().start().await.unwrap();
    let failed = invoke(&fanout, &records()).await;
    assert_only_the_good_room_is_done(&world, &failed);
    assert_eq!(world.dynamodb.connections_of_room("bad").len(), 2);
}

#[tokio::test]
async fn a_failed_room_is_served_when_it_has_been_mended() {
    let world = world(2);
    world.script_prefix("bad", Scripted::forbidden());
    let fanout = world.fanout().start().await.unwrap();
    invoke(&fanout, &records()).await;
    for connection in ["bad0", "bad1"] {
        world.connections.script(connection, testkit::connections_server::Script::always(Scripted::ok()));
    }
    let again = [message("bad", "bad-1").received(2), message("bad", "bad-2").received(2)];
    assert_eq!(invoke(&fanout, &again).await, Vec::<String>::new());
    assert_eq!(world.received("bad0"), ["bad-1", "bad-2"]);
    assert_eq!(world.dynamodb.log("bad").len(), 2);
}

#[tokio::test]
async fn what_is_posted_is_not_acknowledged_before_the_head_is_written() {
    let world = world(2);
    let is_head = |call: &Call| call.body["Item"].get("newest").is_some();
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("good", "first")]).await, Vec::<String>::new());
    world.dynamodb.endpoint().clear_calls();
    world.dynamodb.fault(Rule::on("PutItem", Fault::access_denied()).when(is_head).times(1));
    let record = || message("good", "m");
    assert_eq!(invoke(&fanout, &[record()]).await.len(), 1);
    assert_eq!(world.received("good0"), ["first", "m"], "posts do not wait for it");
    assert_eq!(invoke(&fanout, &[record().received(2)]).await, Vec::<String>::new());
    let heads = world.dynamodb.calls_of("PutItem").into_iter().filter(is_head).collect::<Vec<_>>();
    let logged = world.dynamodb.log("good");
    assert_eq!((heads.len(), logged.len()), (2, 2));
    assert_eq!(heads[1].body["Item"]["newest"]["N"], logged[1]["seq"].to_string());
    assert_eq!(heads[1].body["Item"]["logExpiresAt"]["N"], logged[1]["expiresAt"].to_string());
}

/// A `sync` would be told that the log is empty, or has expired, by somebody who has been posted some of it.
#[tokio::test]
async fn nothing_of_a_log_that_starts_is_posted_before_its_head_is_written() {
    let world = world(2);
    let is_head = |call: &Call| call.body["Item"].get("newest").is_some();
    let fails = || Rule::on("PutItem", Fault::access_denied()).when(is_head);
    world.dynamodb.fault(fails().times(1));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("good", "m")]).await.len(), 1);
    // The next environment does not know how far the one before it got.
    world.dynamodb.fault(fails().times(1));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("good", "m").received(2)]).await.len(), 1);
    assert_eq!((world.connections.record().posts, world.dynamodb.log("good").len()), (0, 1));
    assert_eq!(invoke(&fanout, &[message("good", "m").received(3)]).await, Vec::<String>::new());
    assert_eq!(world.received("good0"), ["m"]);
}

#[tokio::test]
async fn a_room_whose_log_cannot_be_read_fails_alone() {
    let world = world(2);
    world.dynamodb.fault(
        Rule::on("Query", Fault::access_denied())
            .when(|call| call.body["TableName"] == MESSAGES_TABLE && is_query_of(call, "bad")),
    );
    let failed = invoke(&world.fanout().start().await.unwrap(), &records()).await;
    assert_only_the_good_room_is_done(&world, &failed);
    assert_eq!(world.connections.record().posts, 2, "what is not in the log is not posted");
}

#[tokio::test]
async fn a_room_whose_log_cannot_be_written_fails_alone_and_posts_nothing() {
    let world = world(2);
    world.dynamodb.fault(
        Rule::on("TransactWriteItems", Fault::access_denied()).when(|call| call.body.to_string().contains("bad-1")),
    );
    let failed = invoke(&world.fanout().start().await.unwrap(), &records()).await;
    assert_only_the_good_room_is_done(&world, &failed);
    assert_eq!((world.connections.record().posts, world.dynamodb.log("bad").len()), (2, 0));
}

#[tokio::test]
async fn a_room_whose_next_page_cannot_be_read_fails_alone() {
    let world = World::start();
    world.seed("good", "good", 2);
    world.seed("bad", "bad", 1_200);
    world.dynamodb.fault(
        Rule::on("Query", Fault::access_denied())
            .when(|call| call.body["IndexName"].is_string() && is_query_of(call, "bad"))
            .after(1),
    );
    let fanout = world.fanout().start().await.unwrap();
    assert_only_the_good_room_is_done(&world, &invoke(&fanout, &records()).await);
    let record = world.connections.record();
    assert!(record.connections.values().all(|connection| connection.posts == 1), "and what is tried again is new");

    world.dynamodb.endpoint().clear_faults();
    let again = [message("bad", "bad-1").received(2), message("bad", "bad-2").received(2)];
    assert_eq!(invoke(&fanout, &again).await, Vec::<String>::new());
    let reached = (0..1_200).filter(|number| !world.received(&format!("bad{number}")).is_empty());
    assert_eq!(reached.count(), 1_200);
}

#[tokio::test]
async fn a_table_that_throttles_for_a_moment_fails_nothing() {
    let world = world(2);
    world.dynamodb.fault(Rule::on("Query", Fault::throughput_exceeded()).times(1));
    world.dynamodb.fault(Rule::on("TransactWriteItems", Fault::internal_error()).times(1));
    assert_eq!(invoke(&world.fanout().start().await.unwrap(), &records()).await, Vec::<String>::new());
    assert_eq!((world.received("good0").len(), world.received("bad0").len()), (2, 2));
}

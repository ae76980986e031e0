//! The sharing of the function's posts: rooms take turns, and all share one rate.

use std::time::Duration;

use testkit::aws_endpoint::Call;
use testkit::connections_server::Scripted;
use testkit::events::{batch_item_failures, queue_batch};

use super::{World, invoke, message, tally};

/// The places of a connection prefix's posts in the order of arrival.
fn places(world: &World, prefix: &str) -> Vec<usize> {
    let record = world.connections.record();
    let of_room = record.connections.iter().filter(|(id, _)| id.starts_with(prefix));
    of_room.flat_map(|(_, connection)| connection.attempts.iter().map(|attempt| attempt.number)).collect()
}

#[tokio::test]
async fn a_small_room_does_not_wait_behind_a_big_one() {
    let world = World::start();
    world.seed("big", "big", 3_000);
    world.seed("small", "small", 10);
    world.connections.set_latency(Duration::from_millis(3));
    let fanout = world.fanout().env("FANOUT_CONCURRENCY", 8).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("big", "b"), message("small", "s")]).await, Vec::<String>::new());

    assert_eq!(world.connections.record().delivered(), 3_010);
    let last = places(&world, "small").into_iter().max().unwrap();
    assert!(last < 1_000, "the small room's last post was number {last} of 3,010");
}

#[tokio::test]
async fn a_room_that_is_done_is_acknowledged_while_another_takes_its_time() {
    let world = World::start();
    world.seed("quick", "quick", 3);
    world.seed("slow", "slow", 3);
    world.script_prefix("slow", Scripted::hang());
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 1).start().await.unwrap();
    let batch = queue_batch(&[message("quick", "q1"), message("slow", "s"), message("quick", "q2")]);
    let acknowledged = async {
        world.until_deleted(2).await;
        // The posts to the slow room are still unanswered: they have 20 s.
        let within = Duration::from_secs(60);
        world.connections.wait_until("the slow room has its posts", within, |record| record.in_flight == 3).await;
        assert_eq!(world.queues.deleted(), ["handle-1-of-q1", "handle-1-of-q2"]);
    };
    let (invocation, ()) = tokio::join!(fanout.invoke_within(&batch, Duration::from_secs(30)), acknowledged);
    assert_eq!(batch_item_failures(invocation.response()), Vec::<String>::new());
    assert_eq!(world.queues.deleted().len(), 2, "the rest is acknowledged by the answer");
}

#[tokio::test]
async fn many_rooms_finish_side_by_side() {
    let world = World::start();
    let rooms: Vec<String> = (0..10).map(|number| format!("room-{number}")).collect();
    for room in &rooms {
        world.seed(room, &format!("{room}."), 60);
    }
    world.connections.set_latency(Duration::from_millis(2));
    let records: Vec<_> = rooms.iter().map(|room| message(room, &format!("m-{room}"))).collect();
    let fanout = world.fanout().env("FANOUT_CONCURRENCY", 4).start().await.unwrap();
    // No post is answered before all rooms have their messages and members. Each reads its members twice.
    world.slow_down_appends();
    world.connections.hold();
    let is_page = |call: &Call| call.body["IndexName"].is_string() && call.status == Some(200);
    let ready = async {
        let all_read = |calls: &[Call]| calls.iter().filter(|call| is_page(call)).count() >= 2 * rooms.len();
        world.dynamodb.endpoint().wait_until("all rooms' members are read", all_read).await;
        world.connections.release();
    };
    let (failed, ()) = tokio::join!(invoke(&fanout, &records), ready);
    assert_eq!(failed, Vec::<String>::new());

    let record = world.connections.record();
    assert_eq!((record.posts, record.delivered()), (600, 600));
    assert!(record.max_in_flight <= 4, "the rooms share one limit, {}", record.max_in_flight);
    // Had the rooms been served one after another, the first two would have ended at 60 and 120.
    for room in &rooms {
        let last = places(&world, &format!("{room}.")).into_iter().max().unwrap();
        assert!(last > 120, "{room} was done after {last} posts");
    }
}

#[tokio::test]
async fn a_cap_on_the_rate_is_kept_over_rooms_and_invocations() {
    let world = World::start();
    world.seed("a", "a", 30);
    world.seed("b", "b", 30);
    let fanout = world.fanout().env("FANOUT_MAX_POSTS_PER_SECOND", 100).start().await.unwrap();
    let start = world.connections.now();
    assert_eq!(invoke(&fanout, &[message("a", "1"), message("b", "1")]).await, Vec::<String>::new());
    assert_eq!(invoke(&fanout, &[message("a", "2")]).await, Vec::<String>::new());

    let record = world.connections.record();
    assert_eq!(record.delivered(), 90);
    let attempts = record.connections.values().flat_map(|connection| &connection.attempts);
    let mut arrivals: Vec<_> = attempts.map(|attempt| attempt.arrived).collect();
    arrivals.sort_unstable();
    // A post may be held up on its way, but is never sent early: post n arrives n times 10 ms after the start, or
    // later.
    for (posts, arrival) in (0_u32..).zip(arrivals) {
        // A few may go out at once.
        let earliest = start + Duration::from_millis(10) * posts.saturating_sub(5);
        assert!(arrival >= earliest, "post {posts} arrived at {arrival:?}, not from {earliest:?} on");
    }
}

#[tokio::test]
async fn an_account_that_throttles_everybody_loses_nobody() {
    let world = World::start();
    world.seed("room", "c", 300);
    // The rate is below that of even a busy machine's posts.
    world.connections.limit_rate(100.0, 10.0);
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());

    let record = world.connections.record();
    assert!(record.connections.values().all(|connection| connection.delivered == 1));
    assert_eq!((record.delivered(), record.deletes()), (300, 0));
    assert_eq!(tally(&fanout).await["undelivered"], 0);
    assert!(record.over_rate > 0, "the rate was exceeded at first");
}

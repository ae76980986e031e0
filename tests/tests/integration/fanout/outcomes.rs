//! The consequences of each outcome of a post: attempts, waits, misses, closed connections.

use std::time::Duration;

use serde_json::json;
use testkit::connections_server::{Script, Scripted};
use testkit::events::QueueRecord;
use testkit::http_server::Framing;
use testkit::runtime_api::{Environment, Function};

use super::{World, invoke, message, shards, tally};

/// A broadcast to one connection that always meets this outcome, and to three that are well.
async fn broadcast_to_one_that_meets(outcome: Scripted) -> (World, Environment) {
    let world = World::start();
    world.seed("room", "live", 3);
    world.seed("room", "bad", 1);
    world.connections.script("bad0", Script::always(outcome));
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 3).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new(), "undelivered is not failed");
    for live in ["live0", "live1", "live2"] {
        assert_eq!(world.received(live), ["m"]);
    }
    (world, fanout)
}

/// The attempts made for the connection that is not well, and the number of undelivered connections in the tally.
async fn attempts(world: &World, fanout: &Environment) -> (usize, u64) {
    let tally = tally(fanout).await;
    assert_eq!(tally["delivered"], 3);
    (world.connections.connection("bad0").posts, tally["undelivered"].as_u64().unwrap())
}

#[tokio::test]
async fn what_may_succeed_later_is_tried_as_often_as_configured() {
    let outcomes = [
        Scripted::throttled(),
        Scripted::internal_error(),
        Scripted::bad_gateway(),
        Scripted::unavailable(),
        Scripted::gateway_timeout(),
    ];
    let tried = outcomes.map(|outcome| async move {
        let (world, fanout) = broadcast_to_one_that_meets(outcome.clone()).await;
        assert_eq!(attempts(&world, &fanout).await, (3, 1), "{outcome:?}");
    });
    futures::future::join_all(tried).await;
}

/// A connection alone in its room, since a busy machine may not answer others either within the short time for a post.
#[tokio::test]
async fn a_connection_that_hangs_is_tried_as_often_as_configured() {
    let world = World::start();
    world.seed("room", "bad", 1);
    world.connections.script("bad0", Script::always(Scripted::hang()));
    let fanout =
        world.fanout().env("FANOUT_POST_TIMEOUT_MS", 3_000).env("FANOUT_MAX_ATTEMPTS", 3).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    world.connections.wait_until("three posts", Duration::from_secs(60), |record| record.posts >= 3).await;
    assert_eq!(world.connections.connection("bad0").posts, 3);
    assert_eq!(tally(&fanout).await["undelivered"], 1);
}

#[tokio::test]
async fn what_never_succeeds_is_tried_once() {
    let (world, fanout) = broadcast_to_one_that_meets(Scripted::bad_request()).await;
    assert_eq!(attempts(&world, &fanout).await, (1, 1));
    assert_eq!(world.dynamodb.connections_of_room("room").len(), 4, "only 410 deletes");
    let (world, fanout) = broadcast_to_one_that_meets(Scripted::gone()).await;
    assert_eq!(attempts(&world, &fanout).await, (2, 0), "410 is confirmed by a second one");
}

#[tokio::test]
async fn a_broken_connection_is_tried_as_often_as_configured() {
    for outcome in [
        Scripted::reset(),
        Scripted::close(),
        Scripted::ok().body("{}").framed(Framing::CutShort),
        Scripted::ok().body("{}").framed(Framing::ResetMidway),
    ] {
        let world = World::start();
        world.seed("room", "bad", 1);
        world.connections.script("bad0", Script::always(outcome.clone()));
        // One worker whose HTTP connection is never an old one: each attempt is one request.
        let fanout = world.fanout().env("FANOUT_CONCURRENCY", 1).env("FANOUT_MAX_ATTEMPTS", 3).start().await.unwrap();
        assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
        assert_eq!(world.connections.connection("bad0").posts, 3, "{outcome:?}");
        assert_eq!(tally(&fanout).await["undelivered"], 1);
    }
}

#[tokio::test]
async fn a_connection_that_recovers_within_its_attempts_is_delivered_to_once() {
    let world = World::start();
    world.seed("room", "c", 1);
    world
        .connections
        .script("c0", Script::queue([Scripted::reset(), Scripted::throttled(), Scripted::internal_error()]));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    assert_eq!(world.received("c0"), ["m"]);
    assert_eq!(tally(&fanout).await["retries"], 3);
}

#[tokio::test]
async fn retry_after_is_waited_for_and_others_go_on_meanwhile() {
    let world = World::start();
    world.seed("room", "live", 50);
    world.seed("room", "slow", 1);
    world.connections.script("slow0", Script::queue([Scripted::throttled().retry_after("2")]));
    let fanout = world.fanout().env("FANOUT_CONCURRENCY", 1).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());

    let attempts = world.connections.connection("slow0").attempts;
    let [first, second] = &attempts[..] else { panic!("{} attempts", attempts.len()) };
    assert!(second.arrived >= first.arrived + Duration::from_secs(2));
    assert!(second.number > first.number + 1, "the worker did not wait in place");
}

#[tokio::test]
async fn a_retry_after_beyond_all_patience_is_given_up() {
    let (world, fanout) = broadcast_to_one_that_meets(Scripted::throttled().retry_after("60")).await;
    assert_eq!(attempts(&world, &fanout).await, (1, 1));
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_skipped_and_the_next_one_sent() {
    let world = World::start();
    world.seed("room", "c", 2);
    world.connections.script("c0", Script::queue([Scripted::payload_too_large()]));
    let large = |id: &str| QueueRecord::message("room", id, &json!("x".repeat(20_000)));
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[large("a"), large("b")]).await, Vec::<String>::new());
    assert_eq!(world.connections.connection("c0").posts, 2);
    assert_eq!(
        (world.received("c0"), world.received("c1")),
        (vec!["b".to_owned()], vec!["a".to_owned(), "b".to_owned()])
    );
    let tally = tally(&fanout).await;
    assert_eq!((&tally["too_large"], &tally["delivered"], &tally["undelivered"]), (&json!(1), &json!(1), &json!(1)));
}

#[tokio::test]
async fn after_a_frame_that_was_given_up_no_later_one_of_the_batch_is_sent() {
    let world = World::start();
    world.seed("room", "c", 1);
    world.connections.script("c0", Script::queue([Scripted::internal_error(), Scripted::internal_error()]));
    let large = |id: &str| QueueRecord::message("room", id, &json!("x".repeat(20_000)));
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 2).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[large("a"), large("b")]).await, Vec::<String>::new());
    assert_eq!(world.connections.connection("c0").posts, 2);
    assert_eq!(world.received("c0"), Vec::<String>::new(), "the client recovers both from the log");
}

/// A broadcast of a busy room's next hundred messages: a full batch of full jobs, after which more is to be expected,
/// so that a connection that misses them sees the gap by itself.
async fn broadcast_while_more_follows(world: &World, fanout: &Environment, name: &str) {
    let earlier = world.jobs().len();
    for batch in 0..10 {
        let records: Vec<_> = (0..10).map(|number| message("room", &format!("{name}-{batch}-{number}"))).collect();
        assert_eq!(invoke(fanout, &records).await, Vec::<String>::new());
    }
    assert_eq!(invoke(fanout, &world.job_records()[earlier..]).await, Vec::<String>::new());
}

/// A room with twenty healthy connections, and one with scripted outcomes.
fn twenty_and(script: Script) -> World {
    let world = World::start();
    world.seed("room", "live", 20);
    world.seed("room", "bad", 1);
    world.connections.script("bad0", script);
    world
}

async fn one_among_twenty(script: Script, max_attempts: u32) -> (World, Environment) {
    let world = twenty_and(script);
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", max_attempts).start().await.unwrap();
    (world, fanout)
}

#[tokio::test]
async fn a_connection_that_misses_the_last_frame_of_a_room_is_closed_at_once() {
    let (world, fanout) = one_among_twenty(Script::always(Scripted::internal_error()), 1).await;
    assert_eq!(invoke(&fanout, &[message("room", "1")]).await, Vec::<String>::new());
    assert_eq!((world.connections.record().deletes(), world.connections.connection("bad0").deletes), (1, 1));
    // A closed connection is gone: the next broadcast removes its row.
    invoke(&fanout, &[message("room", "2")]).await;
    assert_eq!(world.dynamodb.connections_of_room("room").len(), 20);
}

/// A room in shards. Of its one connection that is not healthy only the first post fails.
fn sharded_room_whose_first_post_fails() -> (World, Function) {
    let world = twenty_and(Script::queue([Scripted::internal_error()]));
    let fanout = world.fanout().env("FANOUT_SHARD_SIZE", 10).env("FANOUT_SHARDS", 2).env("FANOUT_MAX_ATTEMPTS", 1);
    (world, fanout)
}

/// A shard with several steps in hand posts each to everybody before the next one. Only a miss in the last step closes
/// the connection at once: a client that misses the first of two frames sees the gap when the second one comes.
#[tokio::test]
async fn a_connection_that_misses_the_last_frame_of_a_shard_is_closed_at_once() {
    for (frames, closed) in [(1, 1), (2, 0)] {
        let (world, fanout) = sharded_room_whose_first_post_fails();
        // A step has one frame: the time for one post is more than half of the invocation's.
        let fanout =
            fanout.env("FANOUT_POST_TIMEOUT_MS", 29_000).timeout(Duration::from_secs(58)).start().await.unwrap();
        let large = |id| QueueRecord::message("room", id, &json!("x".repeat(20_000)));
        assert_eq!(invoke(&fanout, &["a", "b"].map(large)[..frames]).await, Vec::<String>::new());
        assert_eq!(invoke(&fanout, &world.job_records()).await, Vec::<String>::new());
        assert_eq!(world.connections.record().deletes(), closed, "{frames} frames");
        let received = if frames == 1 { vec![] } else { vec!["b".to_owned()] };
        assert_eq!((world.received("live0").len(), world.received("bad0")), (frames, received));
    }
}

/// After a full batch more is to be expected, whose numbers show the gap. Of batches of one it says nothing that they
/// are full.
#[tokio::test]
async fn a_connection_that_misses_a_shards_full_batch_is_not_closed_at_once() {
    for (jobs, batch_size, closed) in [(1, 1, 1), (2, 2, 0), (2, 3, 1)] {
        let (world, fanout) = sharded_room_whose_first_post_fails();
        let fanout = fanout.env("BATCH_SIZE", batch_size).start().await.unwrap();
        for id in &["a", "b"][..jobs] {
            assert_eq!(invoke(&fanout, &[message("room", id)]).await, Vec::<String>::new());
        }
        for (_, batch) in shards::batches(&world) {
            assert_eq!(invoke(&fanout, &batch).await, Vec::<String>::new());
        }
        assert_eq!(world.connections.record().deletes(), closed, "{jobs} jobs, of {batch_size} that a batch may have");
    }
}

#[tokio::test]
async fn a_connection_that_misses_several_broadcasts_is_closed_though_more_follows() {
    let (world, fanout) = one_among_twenty(Script::always(Scripted::internal_error()), 1).await;
    for (name, closed) in [("1", 0), ("2", 0), ("3", 1)] {
        broadcast_while_more_follows(&world, &fanout, name).await;
        assert_eq!(world.connections.record().deletes(), closed, "after broadcast {name}");
    }
    assert_eq!(world.connections.connection("bad0").deletes, 1);
}

#[tokio::test]
async fn a_connection_that_has_missed_a_broadcast_holds_the_next_one_up_for_one_attempt_only() {
    let (world, fanout) = one_among_twenty(Script::always(Scripted::internal_error()), 3).await;
    let posts = async |name| {
        broadcast_while_more_follows(&world, &fanout, name).await;
        world.connections.connection("bad0").posts
    };
    assert_eq!((posts("1").await, posts("2").await), (3, 4));
    world.connections.script("bad0", Script::queue([Scripted::ok(), Scripted::internal_error()]));
    assert_eq!((posts("3").await, posts("4").await), (5, 7), "it is well again, and has its attempts");
}

#[tokio::test]
async fn a_connection_that_misses_broadcasts_now_and_then_while_more_follows_is_not_closed() {
    let miss = Scripted::internal_error;
    let (world, fanout) = one_among_twenty(Script::queue([miss(), miss(), Scripted::ok(), miss(), miss()]), 1).await;
    for number in 0..6 {
        broadcast_while_more_follows(&world, &fanout, &format!("m{number}")).await;
    }
    assert_eq!(world.connections.connection("bad0").posts, 6);
    assert_eq!(world.received("bad0").len(), 200);
    assert_eq!(world.connections.record().deletes(), 0);
}

#[tokio::test]
async fn a_connection_that_is_gone_is_closed_in_case_it_lives() {
    let world = World::start();
    world.seed("room", "live", 20);
    world.seed("room", "gone", 2);
    world.script_prefix("gone", Scripted::gone());
    let fanout = world.fanout().start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "1")]).await, Vec::<String>::new());
    assert_eq!(world.dynamodb.connections_of_room("room").len(), 20);
    let deletes = |name| world.connections.connection(name).deletes;
    assert_eq!((world.connections.record().deletes(), deletes("gone0"), deletes("gone1")), (2, 1, 1));
}

#[tokio::test]
async fn nobody_is_closed_when_failures_are_widespread() {
    // In two seconds a busy machine may not answer the others either.
    for (outcome, timeout_ms, received) in
        [(Scripted::internal_error(), 20_000, 4), (Scripted::throttled(), 20_000, 4), (Scripted::hang(), 2_000, 0)]
    {
        let world = World::start();
        world.seed("room", "bad", 12);
        world.seed("room", "live", 4);
        world.script_prefix("bad", outcome.clone());
        let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 1).env("FANOUT_POST_TIMEOUT_MS", timeout_ms);
        let fanout = fanout.start().await.unwrap();
        for number in 0..4 {
            let failed = invoke(&fanout, &[message("room", &format!("m{number}"))]).await;
            assert_eq!(failed, Vec::<String>::new());
        }
        assert_eq!(world.connections.record().deletes(), 0, "{outcome:?}");
        assert!(world.received("live0").len() >= received, "{outcome:?}");
    }
}

/// In rooms of two, no broadcast by itself shows that others fail as well.
#[tokio::test]
async fn few_are_closed_when_failures_are_widespread_among_small_rooms() {
    let world = World::start();
    for room in 0..20 {
        world.seed(&format!("room{room}"), &format!("bad{room}-"), 1);
        world.seed(&format!("room{room}"), &format!("live{room}-"), 1);
    }
    world.script_prefix("bad", Scripted::internal_error());
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 1).start().await.unwrap();
    for room in 0..20 {
        let records = [message(&format!("room{room}"), "m")];
        assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
    }
    assert_eq!(world.connections.record().deletes(), 2, "until it is known");
}

#[tokio::test]
async fn when_everything_fails_retries_are_a_share_of_the_posts() {
    let world = World::start();
    world.seed("room", "bad", 3_000);
    world.script_prefix("bad", Scripted::unavailable());
    world.connections.keep_counts_only();
    let fanout = world.fanout().env("FANOUT_MAX_ATTEMPTS", 4).start().await.unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());

    let record = world.connections.record();
    assert!(record.connections.values().all(|connection| connection.posts >= 1) && record.connections.len() == 3_000);
    // There are 3,000 first attempts; then retries up to a fifth of all posts, and the 256 that are always kept ready.
    let most = (3_000 + 256) * 5 / 4;
    assert!((3_256..=most).contains(&record.posts), "{} posts", record.posts);
    assert_eq!(tally(&fanout).await["undelivered"], 3_000);
}

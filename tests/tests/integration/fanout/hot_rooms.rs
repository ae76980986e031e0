//! Rooms whose batches come in full: their frames go through the shard queue, packed, and the log is not held up.

use serde_json::{Value, json};
use testkit::aws_endpoint::Call;
use testkit::events::QueueRecord;
use testkit::runtime_api::Environment;

use super::{World, invoke, message};

fn batch(first: usize) -> Vec<QueueRecord> {
    (first..first + 10).map(|number| message("room", &format!("m{number}"))).collect()
}

async fn start(world: &World) -> Environment {
    world.fanout().start().await.unwrap()
}

/// The numbers that a connection got in each of its posts.
fn numbers(world: &World, connection: &str) -> Vec<Vec<u64>> {
    let numbers = |frame: Value| {
        let messages = frame["messages"].as_array().unwrap();
        messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect()
    };
    world.frames(connection).into_iter().map(numbers).collect()
}

#[tokio::test]
async fn a_hundred_messages_travel_in_one_post() {
    let world = World::start();
    world.seed("room", "c", 30);
    let fanout = start(&world).await;
    for first in (0..100).step_by(10) {
        assert_eq!(invoke(&fanout, &batch(first)).await, Vec::<String>::new());
    }
    assert_eq!((world.connections.record().posts, world.dynamodb.log("room").len()), (0, 100), "logged, not posted");
    let jobs = world.job_records();
    assert_eq!(jobs.len(), 10);
    assert!(jobs.iter().all(|job| job.group == "room/0"));
    assert_eq!(invoke(&start(&world).await, &jobs).await, Vec::<String>::new());

    assert_eq!(world.connections.record().posts, 30);
    let first = world.dynamodb.log("room")[0]["seq"].as_u64().unwrap();
    assert_eq!(numbers(&world, "c0"), [(first..first + 100).collect::<Vec<_>>()]);
}

#[tokio::test]
async fn a_post_holds_what_fits_32_kib() {
    let world = World::start();
    world.seed("room", "c", 2);
    let fanout = start(&world).await;
    for batch in 0..4 {
        let of = |number| QueueRecord::message("room", &format!("{batch}-{number}"), &json!("x".repeat(1_000)));
        let records: Vec<_> = (0..10).map(of).collect();
        assert_eq!(invoke(&fanout, &records).await, Vec::<String>::new());
    }
    assert_eq!(invoke(&fanout, &world.job_records()).await, Vec::<String>::new());
    let bodies = world.connections.delivered("c1");
    assert_eq!(bodies.len(), 2, "40 messages of 1 KB");
    assert!(bodies.iter().all(|body| body.len() <= 32 * 1024));
}

#[tokio::test]
async fn when_its_batches_are_not_full_any_more_a_room_is_posted_to_directly_again_and_in_order() {
    let world = World::start();
    world.seed("room", "c", 5);
    let fanout = start(&world).await;
    invoke(&fanout, &batch(0)).await;
    // The room's jobs are not posted yet, so later messages wait behind them.
    assert_eq!(invoke(&fanout, &[message("room", "m10")]).await, Vec::<String>::new());
    assert_eq!((world.connections.record().posts, world.jobs().len()), (0, 2));
    assert_eq!(invoke(&fanout, &world.job_records()).await, Vec::<String>::new());
    // The same holds in another environment, since the log says so.
    assert_eq!(invoke(&start(&world).await, &[message("room", "m11")]).await, Vec::<String>::new());
    assert_eq!(world.jobs().len(), 2);

    let expected: Vec<_> = (0..12).map(|number| format!("m{number}")).collect();
    for connection in 0..5 {
        assert_eq!(world.received(&format!("c{connection}")), expected);
    }
    assert_eq!(world.connections.record().posts, 10);
}

#[tokio::test]
async fn a_quiet_room_pays_nothing_for_it() {
    let world = World::start();
    world.seed("room", "c", 3);
    let fanout = start(&world).await;
    assert_eq!(invoke(&fanout, &[message("room", "m0")]).await, Vec::<String>::new());
    world.dynamodb.endpoint().clear_calls();
    for id in ["m1", "m2"] {
        assert_eq!(invoke(&fanout, &[message("room", id)]).await, Vec::<String>::new());
    }
    assert_eq!(world.queues.operations(), Vec::<String>::new());
    let is_page = |call: &Call| call.body["IndexName"].is_string();
    let (pages, others): (Vec<_>, Vec<_>) = world.dynamodb.endpoint().calls().into_iter().partition(is_page);
    let others: Vec<_> = others.into_iter().map(|call| call.operation).collect();
    assert_eq!(others, ["PutItem"; 4], "an append and the head's row for each message");
    // A page beside which the append took more than 100 ms is read anew, as may happen on a busy machine.
    assert!((2..=4).contains(&pages.len()), "{} pages for two messages", pages.len());
}

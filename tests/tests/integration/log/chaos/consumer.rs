//! A Lambda environment of `fanout` and what drives it: it receives batches, and is killed in the middle of them.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsEvent;
use fanout::config::{HttpVersion, PostConfig};
use fanout::connections_api::SignedConnectionsApi;
use fanout::function::FanoutFunction;
use fanout::post::PostState;
use fanout::shard::Sharding;
use fastrand::Rng;
use lambda_runtime::{Context, LambdaEvent};
use shared::store::dynamodb::{DynamoConnections, DynamoLog};
use tests::aws_sdk;
use tests::clock::TestClock;
use tests::dynamodb::{CONNECTIONS_TABLE, ROOM_INDEX};
use tests::events::{QueueRecord, queue_batch};
use tests::fifo_queue::{Batch, FifoQueue};

use super::moment;
use super::world::{RETENTION, World};
use crate::log::writer::writer_over;

type Fanout = FanoutFunction<
    DynamoConnections<TestClock>,
    DynamoLog<TestClock>,
    FifoQueue,
    FifoQueue,
    SignedConnectionsApi,
    TestClock,
>;

/// Receives batches until the world is closed.
pub(super) async fn run(world: Rc<World>, mut random: Rng) {
    let mut fanout = environment(&world);
    while !world.is_closed() {
        match world.queue.receive(&mut random) {
            Some(batch) => serve(&world, &mut fanout, &batch, &mut random).await,
            None => moment(&mut random).await,
        }
    }
}

async fn serve(world: &World, fanout: &mut Fanout, batch: &Batch, random: &mut Rng) {
    let fate = if world.is_faulty() { random.u32(..10) } else { 9 };
    match fate {
        // Killed in the middle of it. The queue finds out when the batch's time has expired.
        0 | 1 => {
            let killed_after = Duration::from_millis(random.u64(..60));
            let done = tokio::time::timeout(killed_after, handle(fanout, &batch.records, 10_000)).await;
            if let Ok(failures) = done {
                world.queue.settle(batch, &failures);
            } else {
                *fanout = environment(world);
                moment(random).await;
                world.queue.expire(batch);
            }
        }
        // So slow that the batch's time expires meanwhile: somebody else has it too.
        2 => {
            let expires_after = Duration::from_millis(random.u64(..40));
            let expiring = async {
                tokio::time::sleep(expires_after).await;
                world.queue.expire(batch);
            };
            let (failures, ()) = futures::join!(handle(fanout, &batch.records, 10_000), expiring);
            world.queue.settle(batch, &failures);
        }
        // Little time left: the deadline comes in the middle of it.
        3 => {
            let left = random.u64(510..600);
            let failures = handle(fanout, &batch.records, left).await;
            world.queue.settle(batch, &failures);
        }
        _ => {
            let failures = handle(fanout, &batch.records, 10_000).await;
            world.queue.settle(batch, &failures);
        }
    }
}

/// Invokes the function with so many milliseconds left; returns the batch item failures.
async fn handle(fanout: &Fanout, records: &[QueueRecord], millis_left: u64) -> Vec<String> {
    let event: SqsEvent = serde_json::from_value(queue_batch(records)).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut context = Context::default();
    context.deadline = u64::try_from(now.as_millis()).unwrap() + millis_left;
    let response = fanout.handle(LambdaEvent::new(event, context)).await.unwrap();
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

/// A cold environment.
fn environment(world: &World) -> Fanout {
    let posts = PostConfig {
        concurrency: 4,
        max_per_second: 0,
        timeout: Duration::from_millis(60),
        max_attempts: 2,
        deadline_reserve: Duration::from_millis(500),
        gone_grace: Duration::from_secs(10),
    };
    let sdk = aws_sdk::sdk_config(&world.connections.endpoint());
    let connections = DynamoConnections::new(world.dynamodb_client.clone(), CONNECTIONS_TABLE, world.clock.clone())
        .with_room_index(ROOM_INDEX);
    FanoutFunction {
        connections,
        log: writer_over(world.dynamodb_client.clone(), &world.clock, RETENTION),
        dead_letters: world.queue.clone(),
        shard_queue: world.queue.clone(),
        sharding: Sharding::new(world.shard_size),
        connections_api: SignedConnectionsApi::new(
            &sdk,
            "us-east-1",
            &world.connections.endpoint(),
            posts.timeout,
            HttpVersion::Http1,
        )
        .unwrap(),
        clock: world.clock.clone(),
        posts: PostState::new(posts),
        deadline_reserve: posts.deadline_reserve,
    }
}

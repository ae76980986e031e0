//! The consumers of both queues: Lambda environments of `fanout` that receive batches, and are killed in the middle.

use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsEvent;
use fanout::broadcast::Broadcaster;
use fanout::config::{HttpVersion, PostConfig};
use fanout::congestion::Notes;
use fanout::connections_api::{ConnectionsApi, Outcome, SignedConnectionsApi};
use fanout::environment::FanoutFunction;
use fanout::frame::EncodedFrame;
use fanout::layout::Layouts;
use fanout::state::StateWriter;
use fastrand::Rng;
use lambda_runtime::{Context, LambdaEvent};
use shared::ConnectionId;
use shared::metrics::Metrics;
use shared::room_pattern::RoomPatterns;
use shared::store::{congestion::CongestionTable, connections::ConnectionTable, state::StateTable};
use testkit::aws_sdk;
use testkit::clock::TestClock;
use testkit::dynamodb::{CONGESTION_TABLE, CONNECTIONS_TABLE, ROOM_INDEX, STATE_TABLE};
use testkit::events::{QueueRecord, queue_batch};
use testkit::fifo_queue::{Batch, FifoQueue};

use super::moment;
use super::world::{RETENTION, World};
use crate::log::writer::writer_over;

type Environment = FanoutFunction<FifoQueue, WitnessedApi, TestClock>;

/// The real client, which notes the posts in the order in which they are made. That order counts: the arrival of a post
/// after it was given up is beyond what anybody can promise.
struct WitnessedApi {
    api: SignedConnectionsApi,
    world: Rc<World>,
}

impl ConnectionsApi for WitnessedApi {
    async fn post(&self, connection: &ConnectionId, frame: &EncodedFrame) -> Outcome {
        self.world.posts.borrow_mut().entry(connection.clone()).or_default().push(frame.body().clone());
        self.api.post(connection, frame).await
    }

    async fn close(&self, connection: &ConnectionId) -> Outcome {
        self.api.close(connection).await
    }
}

/// Shards of a large room.
const SHARDS: NonZeroU16 = NonZeroU16::new(2).unwrap();

/// The queue that an environment consumes: that of its function.
#[derive(Clone, Copy)]
pub(super) enum Feed {
    Rooms,
    Shards,
}

impl Feed {
    fn queue(self, world: &World) -> &FifoQueue {
        match self {
            Self::Rooms => &world.queue,
            Self::Shards => &world.shard_queue,
        }
    }
}

fn state_rooms() -> RoomPatterns {
    RoomPatterns::parse("*").unwrap()
}

/// Receives batches until the world is closed.
pub(super) async fn run(world: Rc<World>, feed: Feed, mut random: Rng) {
    let queue = feed.queue(&world).clone();
    let mut fanout = environment(&world, &queue, &mut random);
    while !world.is_closed() {
        match queue.receive(&mut random) {
            Some(batch) => {
                let _at_work = world.at_work();
                serve(&world, &queue, &mut fanout, &batch, &mut random).await;
            }
            None => moment(&mut random).await,
        }
    }
}

async fn serve(world: &Rc<World>, queue: &FifoQueue, fanout: &mut Environment, batch: &Batch, random: &mut Rng) {
    let fate = if world.is_faulty() { random.u32(..11) } else { 10 };
    match fate {
        // The environment is killed in the middle of the batch. The queue finds out when the batch's time has expired.
        0 | 1 => {
            let killed_after = Duration::from_millis(random.u64(..60));
            let done = tokio::time::timeout(killed_after, handle(fanout, &batch.records, 10_000)).await;
            if let Ok(failures) = done {
                queue.settle(batch, &failures);
            } else {
                *fanout = environment(world, queue, random);
                moment(random).await;
                // A batch stays hidden for minutes, and a call that was under way ends within seconds.
                world.dynamodb.endpoint().settled().await;
                queue.expire(batch);
            }
        }
        // The environment is so slow that the batch's time expires meanwhile: another consumer may have the batch too.
        2 if world.batches_expire => {
            let expires_after = Duration::from_millis(random.u64(..40));
            let expiring = async {
                tokio::time::sleep(expires_after).await;
                queue.expire(batch);
            };
            let (failures, ()) = futures::join!(handle(fanout, &batch.records, 10_000), expiring);
            queue.settle(batch, &failures);
        }
        // Little time is left: the deadline comes in the middle of the batch.
        2..=4 => {
            let failures = handle(fanout, &batch.records, random.u64(10..120)).await;
            queue.settle(batch, &failures);
        }
        // The batch meets a new environment, which knows nothing and may take the room for large or small instead.
        5 => {
            *fanout = environment(world, queue, random);
            let failures = handle(fanout, &batch.records, 10_000).await;
            queue.settle(batch, &failures);
        }
        // The function was throttled for so long that the batch's time has expired, or is about to: another consumer
        // may have the batch, or get it meanwhile.
        6 => {
            let is_over = random.bool();
            if is_over {
                queue.expire(batch);
                moment(random).await;
            }
            let long_ago = u64::try_from(unix_time().as_millis()).unwrap() - 70_000;
            let late = |record: &QueueRecord| record.clone().queued_at(long_ago).first_received_at(long_ago);
            let records: Vec<_> = batch.records.iter().map(late).collect();
            let failures = handle(fanout, &records, 10_000).await;
            assert!(!is_over || failures.len() == records.len(), "a batch that is over was worked on");
            queue.settle(batch, &failures);
        }
        _ => {
            let failures = handle(fanout, &batch.records, 10_000).await;
            queue.settle(batch, &failures);
        }
    }
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Invokes the function with so many milliseconds left; returns the batch item failures.
async fn handle(fanout: &Environment, records: &[QueueRecord], millis_left: u64) -> Vec<String> {
    let event: SqsEvent = serde_json::from_value(queue_batch(records)).unwrap();
    let mut context = Context::default();
    context.deadline = u64::try_from(unix_time().as_millis()).unwrap() + millis_left;
    let response = fanout.handle(LambdaEvent::new(event, context), &Metrics::default()).await.unwrap();
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

/// A cold environment that is fed from a queue. Each is configured with a threshold of its own, as while a deployment
/// changes it: rooms are large for one and small for the next.
fn environment(world: &Rc<World>, source: &FifoQueue, random: &mut Rng) -> Environment {
    let posts = PostConfig {
        concurrency: 4,
        max_per_second: 0,
        timeout: Duration::from_millis(60),
        max_attempts: 2,
        deadline_reserve: Duration::from_millis(500),
        gone_grace: Duration::from_secs(10),
    };
    let sdk = aws_sdk::sdk_config(&world.connections.endpoint());
    let connections = ConnectionTable::new(world.dynamodb_client.clone(), CONNECTIONS_TABLE, world.clock.clone());
    let endpoint = world.connections.endpoint();
    let api = SignedConnectionsApi::new(&sdk, "us-east-1", &endpoint, posts.timeout, HttpVersion::Http1).unwrap();
    FanoutFunction {
        connections: connections.with_room_index(ROOM_INDEX),
        log: writer_over(world.dynamodb_client.clone(), &world.clock, RETENTION).with_state_rooms(state_rooms()),
        state: StateWriter::new(
            StateTable::new(world.dynamodb_client.clone(), STATE_TABLE, world.clock.clone()),
            state_rooms(),
            None,
            Duration::from_secs(RETENTION),
        ),
        congestion: Notes::new(CongestionTable::new(world.dynamodb_client.clone(), CONGESTION_TABLE)),
        source_queue: source.clone(),
        batch_size: 10,
        shard_queue: world.shard_queue.clone(),
        dead_letters: world.dead_letters.clone(),
        layouts: Layouts::new(if world.has_shards { random.u64(..4) } else { 0 }, SHARDS),
        broadcaster: Broadcaster::new(WitnessedApi { api, world: Rc::clone(world) }, world.clock.clone(), posts),
        clock: world.clock.clone(),
        deadline_reserve: posts.deadline_reserve,
    }
}

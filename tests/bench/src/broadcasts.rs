//! Whole invocations of the real function: one broadcast each.

use std::time::Duration;

use testkit::fast_server::Stats;
use testkit::runtime_api::Environment;

use crate::batches::{hand_over, message_to};
use crate::clients::Client;
use crate::figures::Series;
use crate::machine::{Backing, ConnectionsServer};

/// Rooms that are broadcast to.
pub(crate) const ROOMS: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// The default of `FANOUT_CONCURRENCY`.
const CONCURRENCY: usize = 64;

/// `FANOUT_CONCURRENCY`, connections and the server's latency for the comparison with the ideal time.
pub(crate) const IDEAL: (usize, usize, Duration) = (128, 10_000, Duration::from_millis(10));

/// The room for packing, and the messages in a full batch.
const PACKED: (usize, usize) = (1_000, 10);

/// The room whose broadcast is compared with as many posts of `wrk`.
pub(crate) const LARGEST: usize = ROOMS[ROOMS.len() - 1];

/// The time for which `wrk` posts, for comparison.
const WRK: Duration = Duration::from_secs(2);

/// One invocation.
struct Broadcast {
    wall: Duration,
    cpu: Duration,
    peak_memory_kib: u64,
    stats: Stats,
    operations: Vec<String>,
}

impl Broadcast {
    fn calls(&self, operation: &str) -> f64 {
        self.operations.iter().filter(|called| *called == operation).count() as f64
    }
}

/// Broadcasts to a room of one size, each in an environment of its own.
#[derive(Default)]
pub(crate) struct RoomSize {
    pub(crate) connections: usize,
    pub(crate) milliseconds: Series,
    pub(crate) cpu_milliseconds: Series,
    pub(crate) peak_mib: Series,
    pub(crate) posts: Series,
    pub(crate) queries: Series,
    pub(crate) writes: Series,
}

/// Broadcasts at a latency.
#[derive(Default)]
pub(crate) struct Latency {
    /// The latency that the server measured, in milliseconds.
    pub(crate) server_milliseconds: Series,
    pub(crate) milliseconds: Series,
    /// The first invocation of an environment, as a multiple of the ideal.
    pub(crate) cold: Series,
    /// The second one.
    pub(crate) warm: Series,
}

/// Posts for each connection.
#[derive(Default)]
pub(crate) struct Packing {
    pub(crate) one: Series,
    pub(crate) ten: Series,
}

pub(crate) struct Broadcasts {
    pub(crate) rooms: Vec<RoomSize>,
    /// Milliseconds that `wrk` takes for as many posts as the largest room has connections.
    pub(crate) wrk_milliseconds: Series,
    pub(crate) latency: Latency,
    pub(crate) packing: Packing,
}

pub(crate) async fn measure(backing: &Backing, runs: usize) -> Result<Broadcasts, String> {
    for (number, connections) in (50..).zip(ROOMS) {
        backing.seed_room(&room_of(connections), number, connections);
    }
    let mut rooms: Vec<_> = ROOMS.map(|connections| RoomSize { connections, ..RoomSize::default() }).into();
    let (mut latency, mut packing, mut wrk_milliseconds) = (Latency::default(), Packing::default(), Series::default());
    let fast = ConnectionsServer::start(Duration::ZERO, None);
    let slow = ConnectionsServer::start(IDEAL.2, None);
    for run in 0..runs {
        for room in &mut rooms {
            measure_room(backing, &fast, room).await;
        }
        let (posts_per_second, _) = Client::Wrk.run(&fast, WRK)?;
        wrk_milliseconds.push(LARGEST as f64 / posts_per_second * 1_000.0);
        measure_latency(backing, &slow, &mut latency).await;
        measure_packing(backing, &fast, &mut packing).await;
        eprintln!("broadcasts: run {} of {runs}", run + 1);
    }
    Ok(Broadcasts { rooms, wrk_milliseconds, latency, packing })
}

fn room_of(connections: usize) -> String {
    format!("room-of-{connections}")
}

async fn measure_room(backing: &Backing, server: &ConnectionsServer, room: &mut RoomSize) {
    let environment = start(backing, server, CONCURRENCY).await;
    let broadcast = broadcast(backing, server, &environment, room.connections).await;
    room.milliseconds.push(broadcast.wall.as_secs_f64() * 1_000.0);
    room.cpu_milliseconds.push(broadcast.cpu.as_secs_f64() * 1_000.0);
    room.peak_mib.push(broadcast.peak_memory_kib as f64 / 1_024.0);
    room.posts.push(broadcast.stats.delivered as f64);
    room.queries.push(broadcast.calls("Query"));
    room.writes.push(broadcast.calls("PutItem") + broadcast.calls("TransactWriteItems"));
}

async fn measure_latency(backing: &Backing, server: &ConnectionsServer, latency: &mut Latency) {
    let (concurrency, connections, _) = IDEAL;
    let environment = start(backing, server, concurrency).await;
    let once = async || {
        let broadcast = broadcast(backing, server, &environment, connections).await;
        let server_seconds = Duration::from_micros(broadcast.stats.mean_latency_micros).as_secs_f64();
        let ideal = connections as f64 * server_seconds / concurrency as f64;
        (server_seconds, broadcast.wall.as_secs_f64(), broadcast.wall.as_secs_f64() / ideal)
    };
    let (server_seconds, seconds, ratio) = once().await;
    latency.server_milliseconds.push(server_seconds * 1_000.0);
    latency.milliseconds.push(seconds * 1_000.0);
    latency.cold.push(ratio);
    latency.warm.push(once().await.2);
}

/// Measures a full batch, which goes through the shard queue: its job is handed on as the queue does.
async fn measure_packing(backing: &Backing, server: &ConnectionsServer, packing: &mut Packing) {
    let (connections, messages) = PACKED;
    let environment = start(backing, server, CONCURRENCY).await;
    let shards = backing.shards(server, CONCURRENCY).start().await.expect("shards");
    let for_each = |stats: Stats| stats.delivered as f64 / connections as f64;
    packing.one.push(for_each(broadcast(backing, server, &environment, connections).await.stats));
    server.reset();
    let jobs_before = backing.shard_jobs_from(0).len();
    let batch: Vec<_> = (0..messages).map(|_| message_to(&room_of(connections))).collect();
    hand_over(&environment, &batch).await;
    let jobs = backing.shard_jobs_from(jobs_before);
    if !jobs.is_empty() {
        hand_over(&shards, &jobs).await;
    }
    packing.ten.push(for_each(server.stats()));
}

async fn start(backing: &Backing, server: &ConnectionsServer, concurrency: usize) -> Environment {
    backing.fanout(server, concurrency).start().await.expect("fanout")
}

async fn broadcast(
    backing: &Backing,
    server: &ConnectionsServer,
    environment: &Environment,
    connections: usize,
) -> Broadcast {
    let operations = || backing.dynamodb.endpoint().operations();
    let called = operations().len();
    server.reset();
    let invocation = hand_over(environment, &[message_to(&room_of(connections))]).await;
    let stats = server.stats();
    assert!(stats.delivered >= connections as u64, "{stats:?}");
    Broadcast {
        wall: invocation.wall,
        cpu: invocation.usage.on_cpu,
        peak_memory_kib: invocation.usage.peak_memory_kib,
        stats,
        operations: operations().split_off(called),
    }
}

//! Whole invocations of the real function: one broadcast each.

use std::time::Duration;

use serde_json::json;
use tests::events::{QueueRecord, queue_batch};
use tests::fast_server::Stats;
use tests::runtime_api::Environment;

use crate::figures::Series;
use crate::machine::{Backing, ConnectionsServer};

/// Rooms that are broadcast to.
pub(crate) const ROOMS: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// The default of `FANOUT_CONCURRENCY`.
const CONCURRENCY: usize = 64;

/// `FANOUT_CONCURRENCY`, connections and the server's latency where the time is compared with the ideal.
pub(crate) const IDEAL: (usize, usize, Duration) = (128, 10_000, Duration::from_millis(10));

/// The room for packing.
const PACKED: usize = 1_000;

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
    pub(crate) latency: Latency,
    pub(crate) packing: Packing,
}

pub(crate) async fn measure(backing: &Backing, runs: usize) -> Broadcasts {
    for (number, connections) in (50..).zip(ROOMS) {
        backing.seed_room(&room_of(connections), number, connections);
    }
    let mut rooms: Vec<_> = ROOMS.map(|connections| RoomSize { connections, ..RoomSize::default() }).into();
    let (mut latency, mut packing) = (Latency::default(), Packing::default());
    let fast = ConnectionsServer::start(Duration::ZERO, None);
    let slow = ConnectionsServer::start(IDEAL.2, None);
    for run in 0..runs {
        for room in &mut rooms {
            measure_room(backing, &fast, room).await;
        }
        measure_latency(backing, &slow, &mut latency).await;
        measure_packing(backing, &fast, &mut packing).await;
        eprintln!("broadcasts: run {} of {runs}", run + 1);
    }
    Broadcasts { rooms, latency, packing }
}

fn room_of(connections: usize) -> String {
    format!("room-of-{connections}")
}

async fn measure_room(backing: &Backing, server: &ConnectionsServer, room: &mut RoomSize) {
    let environment = start(backing, server, CONCURRENCY).await;
    let broadcast = broadcast(backing, server, &environment, room.connections, 1).await;
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
        let broadcast = broadcast(backing, server, &environment, connections, 1).await;
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

async fn measure_packing(backing: &Backing, server: &ConnectionsServer, packing: &mut Packing) {
    let environment = start(backing, server, CONCURRENCY).await;
    for (messages, series) in [(1, &mut packing.one), (10, &mut packing.ten)] {
        let broadcast = broadcast(backing, server, &environment, PACKED, messages).await;
        series.push(broadcast.stats.delivered as f64 / PACKED as f64);
    }
}

async fn start(backing: &Backing, server: &ConnectionsServer, concurrency: usize) -> Environment {
    backing.fanout(server, concurrency).start().await.expect("fanout")
}

async fn broadcast(
    backing: &Backing,
    server: &ConnectionsServer,
    environment: &Environment,
    connections: usize,
    messages: usize,
) -> Broadcast {
    let operations = || backing.dynamodb.endpoint().operations();
    let called = operations().len();
    server.reset();
    let records: Vec<_> = (0..messages)
        .map(|_| {
            QueueRecord::message(&room_of(connections), &format!("{:x}", fastrand::u64(..)), &json!("x".repeat(100)))
        })
        .collect();
    let invocation = environment.invoke(&queue_batch(&records)).await;
    assert_eq!(invocation.response()["batchItemFailures"], json!([]), "{:?}", environment.log());
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

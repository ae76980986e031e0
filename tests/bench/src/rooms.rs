//! Rooms beside others, and rooms with more waiting than a batch holds.

use std::cell::Cell;
use std::time::Duration;

use futures::future::join;
use testkit::runtime_api::Environment;

use crate::arguments::Arguments;
use crate::batches::{BATCH, hand_over, message_to, next_jobs};
use crate::figures::Series;
use crate::machine::{Backing, ConnectionsServer, prefix};

/// The time of a post, about that of API Gateway. Without it no post would wait for a place in flight, and none would
/// be made while others are logged.
const LATENCY: Duration = Duration::from_millis(10);

/// The default of `FANOUT_CONCURRENCY`.
const CONCURRENCY: usize = 64;

/// Connections of the small room and of the big one.
pub(crate) const SMALL_AND_BIG: (usize, usize) = (10, 100_000);

/// The numbers by which the rooms are filled.
const SMALL: usize = 80;
const BIG: usize = 81;
const HOT: usize = 82;

/// Broadcasts to the small room alone in each run.
const ALONE: usize = 5;

/// The most runs of the big room: each takes a quarter of a minute.
const BIG_RUNS: usize = 3;

/// Connections of the hot room, and messages that wait for it.
pub(crate) const HOT_ROOM: (usize, usize) = (1_000, 1_000);

#[derive(Default)]
pub(crate) struct Rooms {
    /// Milliseconds until a room has a message.
    pub(crate) alone: Series,
    /// The same for a room whose message comes in a batch behind that of a big room.
    pub(crate) beside: Series,
    /// Posts for each connection of a hot room.
    pub(crate) hot_posts: Series,
    pub(crate) hot_seconds: Series,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let rooms = measure(&Backing::start(), arguments.number("runs", 5)?).await;
    println!("{}", crate::report::rooms_beside(&rooms));
    Ok(())
}

pub(crate) async fn measure(backing: &Backing, runs: usize) -> Rooms {
    let (small, big) = SMALL_AND_BIG;
    backing.seed_room("small", SMALL, small);
    backing.seed_room("big", BIG, big);
    backing.seed_room("hot", HOT, HOT_ROOM.0);
    let server = ConnectionsServer::watching(LATENCY, &prefix(SMALL));
    let mut rooms = Rooms::default();
    for run in 0..runs {
        if run < BIG_RUNS {
            measure_small(backing, &server, &mut rooms).await;
        }
        measure_hot(backing, &server, &mut rooms).await;
        eprintln!("rooms: run {} of {runs}", run + 1);
    }
    rooms
}

/// Measures small rooms in one environment, after a broadcast that opens its connections.
async fn measure_small(backing: &Backing, server: &ConnectionsServer, rooms: &mut Rooms) {
    let environment = backing.fanout(server, CONCURRENCY).start().await.expect("fanout");
    let milliseconds = async |others: &[&str]| {
        server.reset();
        let records: Vec<_> = others.iter().chain(&["small"]).map(|room| message_to(room)).collect();
        hand_over(&environment, &records).await;
        let stats = server.stats();
        assert_eq!(stats.watched, SMALL_AND_BIG.0 as u64, "{stats:?}");
        stats.watched_micros as f64 / 1_000.0
    };
    milliseconds(&[]).await;
    let mut alone = Series::default();
    for _ in 0..ALONE {
        alone.push(milliseconds(&[]).await);
    }
    rooms.alone.push(alone.median());
    rooms.beside.push(milliseconds(&["big"]).await);
}

/// Measures a hot room with two environments, one behind each queue. The shard queue has one group then, so one batch
/// of it is in flight at a time.
async fn measure_hot(backing: &Backing, server: &ConnectionsServer, rooms: &mut Rooms) {
    let (connections, messages) = HOT_ROOM;
    let fanout = backing.fanout(server, CONCURRENCY).start().await.expect("fanout");
    let shards = backing.shards(server, CONCURRENCY).start().await.expect("shards");
    let jobs_before = backing.shard_jobs_from(0).len();
    let is_logged = Cell::new(false);
    server.reset();
    let started = std::time::Instant::now();
    let logging = async {
        for _ in 0..messages / BATCH {
            let batch: Vec<_> = (0..BATCH).map(|_| message_to("hot")).collect();
            hand_over(&fanout, &batch).await;
        }
        is_logged.set(true);
    };
    join(logging, post_jobs(backing, &shards, jobs_before, &is_logged)).await;
    rooms.hot_seconds.push(started.elapsed().as_secs_f64());
    rooms.hot_posts.push(server.stats().delivered as f64 / connections as f64);
}

/// Hands over the jobs from a position on, as many as a batch holds at a time, until no more will come.
async fn post_jobs(backing: &Backing, shards: &Environment, mut position: usize, is_logged: &Cell<bool>) {
    while let Some(jobs) = next_jobs(backing, position, is_logged).await {
        position += jobs.len();
        hand_over(shards, &jobs).await;
    }
}

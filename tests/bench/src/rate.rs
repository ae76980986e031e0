//! Rate control: environments side by side that know nothing of each other, against one account's token bucket.

use std::time::{Duration, Instant};

use futures::future::join_all;
use testkit::fast_server::Stats;

use crate::arguments::Arguments;
use crate::batches::{hand_over, message_to};
use crate::machine::{Backing, ConnectionsServer};

/// The account's default quota: requests a second, and burst.
pub(crate) const BUCKET: (f64, f64) = (10_000.0, 5_000.0);

/// The time between two lines of a trace.
const STEP: Duration = Duration::from_millis(250);

/// The scenario that is measured.
pub(crate) struct Scenario {
    pub(crate) environments: usize,
    /// The account's requests a second, and burst.
    pub(crate) bucket: (f64, f64),
    /// `FANOUT_MAX_POSTS_PER_SECOND`.
    pub(crate) max_posts_per_second: u32,
    /// The time that the server takes for each post.
    pub(crate) latency: Duration,
    /// `FANOUT_CONCURRENCY`.
    pub(crate) concurrency: usize,
    /// Connections of each environment's room.
    pub(crate) room: usize,
    /// Whether to print the events of each step of the time.
    pub(crate) trace: bool,
}

/// The result of a scenario.
pub(crate) struct Throughput {
    /// The delivered posts as a share of the bucket's tokens from the first post to the last.
    pub(crate) goodput: f64,
    /// The same until the first environment was done, as long as all were posting.
    pub(crate) side_by_side: f64,
    /// The share of posts that were answered 429.
    pub(crate) waste: f64,
    /// The time from the first post to the last.
    pub(crate) time: Duration,
    /// Connections that got nothing.
    pub(crate) undelivered: u64,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let backing = Backing::start();
    let counts = arguments.numbers("environments", vec![1, 2, 4])?;
    let room = arguments.number("room", 60_000)?;
    seed(&backing, counts.iter().copied().max().unwrap_or_default(), room);
    for environments in counts {
        let scenario = Scenario {
            environments,
            bucket: BUCKET,
            max_posts_per_second: 0,
            latency: Duration::from_secs_f64(arguments.number("latency-ms", 0.0)? / 1_000.0),
            concurrency: arguments.number("concurrency", 64)?,
            room,
            trace: arguments.is_set("trace"),
        };
        let Throughput { goodput, side_by_side, waste, time, undelivered } = measure(&backing, &scenario).await;
        println!(
            "{environments} environments: goodput {goodput:.4} (side by side {side_by_side:.4}), waste {waste:.4}, \
             undelivered {undelivered}, {:.2} s",
            time.as_secs_f64()
        );
    }
    Ok(())
}

/// Fills one room for each environment. Rooms of different sizes share connections: the larger one has more.
pub(crate) fn seed(backing: &Backing, environments: usize, room: usize) {
    for number in 0..environments {
        backing.seed_room(&room_of(number, room), number, room);
    }
}

fn room_of(environment: usize, connections: usize) -> String {
    format!("rate-{environment}-{connections}")
}

/// Broadcasts one message to each environment's room at the same moment, all of them from a cold start.
pub(crate) async fn measure(backing: &Backing, scenario: &Scenario) -> Throughput {
    let server = ConnectionsServer::start(scenario.latency, Some(scenario.bucket));
    let function =
        backing.fanout(&server, scenario.concurrency).env("FANOUT_MAX_POSTS_PER_SECOND", scenario.max_posts_per_second);
    let starts = (0..scenario.environments).map(|_| function.start());
    let environments: Vec<_> = join_all(starts).await.into_iter().map(|started| started.expect("fanout")).collect();
    let first_done = std::cell::OnceCell::new();
    let invocations = environments.iter().enumerate().map(async |(number, environment)| {
        hand_over(environment, &[message_to(&room_of(number, scenario.room))]).await;
        first_done.get_or_init(|| server.stats());
    });
    let work = join_all(invocations);
    if scenario.trace {
        tokio::select! { _ = work => {}, () = trace(&server) => {} }
    } else {
        work.await;
    }
    let all = server.stats();
    let together = first_done.get().copied().unwrap_or(all);
    let connections = (scenario.environments * scenario.room) as u64;
    Throughput {
        goodput: share(&all, scenario.bucket),
        side_by_side: share(&together, scenario.bucket),
        waste: all.throttled as f64 / (all.delivered + all.throttled) as f64,
        time: Duration::from_micros(all.bucket_micros),
        undelivered: connections.saturating_sub(all.delivered),
    }
}

fn share(stats: &Stats, (rate, burst): (f64, f64)) -> f64 {
    let available = Duration::from_micros(stats.bucket_micros).as_secs_f64().mul_add(rate, burst);
    stats.delivered as f64 / available
}

async fn trace(server: &ConnectionsServer) {
    let started = Instant::now();
    let mut last = server.stats();
    loop {
        tokio::time::sleep(STEP).await;
        let now = server.stats();
        let (delivered, throttled) = (now.delivered - last.delivered, now.throttled - last.throttled);
        println!("{:7.2} s {delivered:6} delivered {throttled:6} throttled", started.elapsed().as_secs_f64());
        last = now;
    }
}

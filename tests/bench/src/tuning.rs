//! The effects of settings, for the curves of docs/tuning.md: workers, environments and their cap on an account that is
//! short, and the time between messages.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use futures::future::join3;
use testkit::events::QueueRecord;
use testkit::runtime_api::Environment;

use crate::batches::{BATCH, hand_over, message_to, next_jobs};
use crate::figures::Series;
use crate::machine::{Backing, ConnectionsServer};
use crate::{provenance, rate, tuning_page};

/// The time of a post, about that of API Gateway.
pub(crate) const LATENCY: Duration = Duration::from_millis(10);

/// The default of `FANOUT_CONCURRENCY`.
pub(crate) const CONCURRENCY: usize = 64;

/// The values of `FANOUT_CONCURRENCY` that are tried.
const WORKERS: [usize; 7] = [8, 16, 32, 64, 128, 256, 512];

/// Connections posted to by them.
pub(crate) const WORKERS_ROOM: usize = 2_000;

/// Broadcasts that count for each number of workers, after one that opens the connections.
pub(crate) const BROADCASTS: usize = 5;

/// The account of newer regions: requests a second, and burst.
pub(crate) const SHORT: (f64, f64) = (2_500.0, 1_250.0);

/// Environments side by side in that account.
const ENVIRONMENTS: [usize; 5] = [1, 2, 4, 8, 16];

/// Posts of all of them together: some four seconds at the account's rate.
pub(crate) const ENVIRONMENTS_POSTS: usize = 12_000;

/// The values of `FANOUT_MAX_POSTS_PER_SECOND` that are tried.
const CAPS: [u32; 6] = [250, 500, 600, 750, 1_000, 2_000];

/// Environments with that cap, and posts of all of them together.
pub(crate) const CAPPED: (usize, usize) = (4, 8_000);

/// Milliseconds between messages.
const INTERVALS: [u64; 6] = [10, 20, 50, 100, 200, 500];

/// The time for which messages are sent, and the fewest of them.
const SENDING: Duration = Duration::from_secs(3);
const FEWEST: u64 = 10;

/// Connections of the room that they are sent to.
pub(crate) const PACKED_ROOM: usize = 1_000;

/// Broadcasts with so many workers.
pub(crate) struct Workers {
    pub(crate) concurrency: usize,
    pub(crate) milliseconds: Series,
    pub(crate) posts_per_second: Series,
    /// Connections x the latency that the server measured / workers.
    pub(crate) ideal_milliseconds: Series,
}

/// Environments side by side on an account that is short.
pub(crate) struct Shared {
    pub(crate) environments: usize,
    /// `FANOUT_MAX_POSTS_PER_SECOND` of each.
    pub(crate) cap: u32,
    /// The delivered posts as a percentage of the bucket's tokens.
    pub(crate) goodput: Series,
    /// The same until the first environment was done, as long as all were posting.
    pub(crate) side_by_side: Series,
    /// Percent of the posts that were answered 429.
    pub(crate) waste: Series,
    pub(crate) seconds: Series,
    pub(crate) undelivered: u64,
}

/// Messages to one room, so many milliseconds apart.
pub(crate) struct Interval {
    pub(crate) milliseconds: u64,
    pub(crate) messages: u64,
    pub(crate) messages_per_post: Series,
    /// The time of each message from the queue to the end of the invocation that posted it.
    pub(crate) latency: Series,
}

pub(crate) struct Tuning {
    pub(crate) workers: Vec<Workers>,
    pub(crate) environments: Vec<Shared>,
    pub(crate) caps: Vec<Shared>,
    pub(crate) intervals: Vec<Interval>,
}

pub(crate) async fn run() -> Result<(), String> {
    let (started, load) = (Instant::now(), provenance::load());
    let backing = Backing::start();
    let tuning = Tuning {
        workers: measure_workers(&backing).await,
        environments: measure_environments(&backing).await,
        caps: measure_caps(&backing).await,
        intervals: measure_intervals(&backing).await,
    };
    let took = started.elapsed().as_secs();
    let load = format!("load of the machine, before: {load}, after {took} s: {}", provenance::load());
    tuning_page::write(&tuning, &provenance::machine().into_iter().chain([load]).collect::<Vec<_>>())
}

async fn measure_workers(backing: &Backing) -> Vec<Workers> {
    let room = "tuning-workers";
    backing.seed_room(room, 90, WORKERS_ROOM);
    let server = ConnectionsServer::start(LATENCY, None);
    let mut all = Vec::new();
    for concurrency in WORKERS {
        let environment = backing.fanout(&server, concurrency).start().await.expect("fanout");
        hand_over(&environment, &[message_to(room)]).await;
        let [mut milliseconds, mut posts_per_second, mut ideal_milliseconds] =
            std::array::from_fn(|_| Series::default());
        for _ in 0..BROADCASTS {
            server.reset();
            let seconds = hand_over(&environment, &[message_to(room)]).await.wall.as_secs_f64();
            let stats = server.stats();
            assert_eq!(stats.delivered, WORKERS_ROOM as u64, "{stats:?}");
            milliseconds.push(seconds * 1_000.0);
            posts_per_second.push(WORKERS_ROOM as f64 / seconds);
            let latency = Duration::from_micros(stats.mean_latency_micros).as_secs_f64();
            ideal_milliseconds.push(WORKERS_ROOM as f64 * latency / concurrency as f64 * 1_000.0);
        }
        eprintln!("FANOUT_CONCURRENCY={concurrency}: {milliseconds} ms");
        all.push(Workers { concurrency, milliseconds, posts_per_second, ideal_milliseconds });
    }
    all
}

async fn measure_environments(backing: &Backing) -> Vec<Shared> {
    let mut all = Vec::new();
    for environments in ENVIRONMENTS {
        let room = ENVIRONMENTS_POSTS / environments;
        rate::seed(backing, environments, room);
        all.push(measure_shared(backing, environments, room, 0).await);
    }
    all
}

async fn measure_caps(backing: &Backing) -> Vec<Shared> {
    let (environments, posts) = CAPPED;
    let room = posts / environments;
    rate::seed(backing, environments, room);
    let mut all = Vec::new();
    for cap in CAPS {
        all.push(measure_shared(backing, environments, room, cap).await);
    }
    all
}

async fn measure_shared(backing: &Backing, environments: usize, room: usize, cap: u32) -> Shared {
    let scenario = rate::Scenario {
        environments,
        bucket: SHORT,
        max_posts_per_second: cap,
        latency: LATENCY,
        concurrency: CONCURRENCY,
        room,
        trace: false,
    };
    let measured = rate::measure(backing, &scenario).await;
    let percent = |share: f64| Series::from_iter([share * 100.0]);
    let shared = Shared {
        environments,
        cap,
        goodput: percent(measured.goodput),
        side_by_side: percent(measured.side_by_side),
        waste: percent(measured.waste),
        seconds: Series::from_iter([measured.time.as_secs_f64()]),
        undelivered: measured.undelivered,
    };
    eprintln!(
        "environments: {environments}, FANOUT_MAX_POSTS_PER_SECOND={cap}: {} % used, {} % answered 429",
        shared.goodput, shared.waste
    );
    shared
}

async fn measure_intervals(backing: &Backing) -> Vec<Interval> {
    let server = ConnectionsServer::start(LATENCY, None);
    let room = "tuning-packing";
    backing.seed_room(room, 91, PACKED_ROOM);
    let fanout = backing.fanout(&server, CONCURRENCY).start().await.expect("fanout");
    let shards = backing.shards(&server, CONCURRENCY).start().await.expect("shards");
    hand_over(&fanout, &[message_to(room)]).await;
    let mut all = Vec::new();
    for milliseconds in INTERVALS {
        let interval = Duration::from_millis(milliseconds);
        let messages = u64::try_from(SENDING.as_millis()).unwrap_or_default().div_ceil(milliseconds).max(FEWEST);
        server.reset();
        let queues = Queues::new(backing, &fanout, &shards);
        join3(queues.send(room, messages, interval), queues.log(), queues.post_jobs()).await;
        let stats = server.stats();
        assert_eq!(queues.latency.borrow().len() as u64, messages, "each message is posted once");
        let messages_per_post = Series::from_iter([(messages * PACKED_ROOM as u64) as f64 / stats.delivered as f64]);
        let latency = queues.latency.take();
        eprintln!("every {milliseconds} ms: {messages_per_post} messages in a post, {latency} ms");
        all.push(Interval { milliseconds, messages, messages_per_post, latency });
    }
    all
}

/// A room's queues, with one environment behind each. As in a FIFO queue of SQS, one batch of a group is in flight at a
/// time, and takes as many of the waiting records as it can hold.
struct Queues<'a> {
    backing: &'a Backing,
    fanout: &'a Environment,
    shards: &'a Environment,
    waiting: RefCell<VecDeque<(QueueRecord, Instant)>>,
    is_sent: Cell<bool>,
    is_logged: Cell<bool>,
    /// Jobs of the shard queue that have been posted.
    posted: Cell<usize>,
    /// The number of jobs that must have been posted for a message to be posted, and the time when that was sent.
    logged: RefCell<Vec<(usize, Instant)>>,
    /// Milliseconds, of each message.
    latency: RefCell<Series>,
}

impl<'a> Queues<'a> {
    fn new(backing: &'a Backing, fanout: &'a Environment, shards: &'a Environment) -> Self {
        Self {
            backing,
            fanout,
            shards,
            waiting: RefCell::default(),
            is_sent: Cell::default(),
            is_logged: Cell::default(),
            posted: Cell::new(backing.shard_jobs_from(0).len()),
            logged: RefCell::default(),
            latency: RefCell::default(),
        }
    }

    async fn send(&self, room: &str, messages: u64, interval: Duration) {
        let mut ticks = tokio::time::interval(interval);
        for _ in 0..messages {
            ticks.tick().await;
            self.waiting.borrow_mut().push_back((message_to(room), Instant::now()));
        }
        self.is_sent.set(true);
    }

    async fn log(&self) {
        loop {
            let is_all = self.is_sent.get();
            let (records, sent): (Vec<_>, Vec<_>) = {
                let mut waiting = self.waiting.borrow_mut();
                let batch = waiting.len().min(BATCH);
                waiting.drain(..batch).unzip()
            };
            if records.is_empty() {
                if is_all {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let jobs_before = self.backing.shard_jobs_from(0).len();
            hand_over(self.fanout, &records).await;
            let jobs = self.backing.shard_jobs_from(0).len();
            // A batch without a job was posted by the function that logged it.
            let must_be_posted = if jobs == jobs_before { 0 } else { jobs };
            self.logged.borrow_mut().extend(sent.into_iter().map(|sent| (must_be_posted, sent)));
            self.settle();
        }
        self.is_logged.set(true);
    }

    async fn post_jobs(&self) {
        while let Some(jobs) = next_jobs(self.backing, self.posted.get(), &self.is_logged).await {
            hand_over(self.shards, &jobs).await;
            self.posted.set(self.posted.get() + jobs.len());
            self.settle();
        }
    }

    /// Records the time of the messages that have been posted by now.
    fn settle(&self) {
        let (now, posted) = (Instant::now(), self.posted.get());
        self.logged.borrow_mut().retain(|(must_be_posted, sent)| {
            let is_posted = *must_be_posted <= posted;
            if is_posted {
                self.latency.borrow_mut().push(now.duration_since(*sent).as_secs_f64() * 1_000.0);
            }
            !is_posted
        });
    }
}

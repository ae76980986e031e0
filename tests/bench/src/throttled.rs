//! Broadcasts by one environment while the account refuses posts: at the start, at random, or because its rate is short
//! for longer than an invocation lasts.

use std::time::Duration;

use testkit::events::{batch_item_failures, queue_batch};

use crate::arguments::Arguments;
use crate::batches::{hand_over, message_to};
use crate::figures::Series;
use crate::machine::{Account, Backing, ConnectionsServer};

/// `FANOUT_CONCURRENCY` where the account is empty at first.
pub(crate) const WORKERS: [usize; 3] = [64, 128, 512];

/// Connections posted to where the account is empty at first.
const EMPTY_ROOM: usize = 2_000;

/// An account that has no tokens for a moment, and its rate from then on.
const EMPTY: Account =
    Account { bucket: Some((10_000.0, 5_000.0)), empty_for: Duration::from_millis(60), ..Account::NONE };

/// Connections posted to where a tenth is refused.
pub(crate) const RANDOM_ROOMS: [usize; 2] = [1_000, 10_000];

/// An account that refuses a tenth of the posts at any rate.
const RANDOM: Account = Account { refused_at_random: 0.1, ..Account::NONE };

/// The account of newer regions.
const SMALL: (f64, f64) = (2_500.0, 1_250.0);

/// The connections for which this account needs five invocations, each with [`POSTING`].
const LONG_ROOM: usize = 36_000;

/// The time of an invocation where one does not suffice.
const INVOCATION: Duration = Duration::from_secs(5);

/// The time of such an invocation, less the default of `FANOUT_DEADLINE_RESERVE_MS`.
const POSTING: Duration = Duration::from_secs(3);

/// Invocations beyond those that the rate requires, after which a broadcast counts as not done.
const SPARE_INVOCATIONS: u32 = 3;

/// The most runs of the long broadcast: each takes a quarter of a minute.
const LONG_RUNS: usize = 3;

/// A broadcast while posts are refused.
#[derive(Default)]
pub(crate) struct Refused {
    pub(crate) concurrency: usize,
    pub(crate) connections: usize,
    /// The time of the whole invocation.
    pub(crate) seconds: Series,
    /// The same as a multiple of the ideal, where there is one.
    pub(crate) over_ideal: Series,
    pub(crate) throttled: Series,
    pub(crate) undelivered: Series,
}

/// A broadcast that takes several invocations.
#[derive(Default)]
pub(crate) struct Interrupted {
    pub(crate) invocations: Series,
    /// Posts delivered for each connection; not a number in a run that was not done.
    pub(crate) delivered: Series,
    /// All posts made for each connection.
    pub(crate) posts: Series,
}

#[derive(Default)]
pub(crate) struct Throttled {
    pub(crate) empty: Vec<Refused>,
    pub(crate) random: Vec<Refused>,
    pub(crate) interrupted: Interrupted,
}

impl Throttled {
    /// The results of the number of workers that takes longest.
    pub(crate) fn worst_after_empty(&self) -> Series {
        let worst =
            self.empty.iter().max_by(|one, other| one.over_ideal.median().total_cmp(&other.over_ideal.median()));
        worst.map(|worst| worst.over_ideal.clone()).unwrap_or_default()
    }
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let latency = Duration::from_secs_f64(arguments.number("latency-ms", 0.0)? / 1_000.0);
    let throttled = measure(&Backing::start(), arguments.number("runs", 5)?, latency).await;
    println!("{}", crate::report::throttled(&throttled));
    Ok(())
}

pub(crate) async fn measure(backing: &Backing, runs: usize, latency: Duration) -> Throttled {
    let sizes = [EMPTY_ROOM, LONG_ROOM].into_iter().chain(RANDOM_ROOMS);
    for (number, connections) in (70..).zip(sizes) {
        backing.seed_room(&room_of(connections), number, connections);
    }
    let case = |concurrency, connections| Refused { concurrency, connections, ..Refused::default() };
    let mut throttled = Throttled {
        empty: WORKERS.map(|workers| case(workers, EMPTY_ROOM)).into(),
        random: RANDOM_ROOMS.map(|connections| case(64, connections)).into(),
        ..Throttled::default()
    };
    for run in 0..runs {
        for case in &mut throttled.empty {
            measure_refused(backing, &Account { latency, ..EMPTY }, case).await;
        }
        for case in &mut throttled.random {
            measure_refused(backing, &Account { latency, ..RANDOM }, case).await;
        }
        if run < LONG_RUNS {
            measure_interrupted(backing, &mut throttled.interrupted).await;
        }
        eprintln!("throttled: run {} of {runs}", run + 1);
    }
    throttled
}

fn room_of(connections: usize) -> String {
    format!("throttled-{connections}")
}

/// Measures one broadcast of an environment that has just started, on an account that nobody has used.
async fn measure_refused(backing: &Backing, account: &Account, case: &mut Refused) {
    let server = ConnectionsServer::of_account(account);
    let environment = backing.fanout(&server, case.concurrency).start().await.expect("fanout");
    let invocation = hand_over(&environment, &[message_to(&room_of(case.connections))]).await;
    let (stats, seconds) = (server.stats(), invocation.wall.as_secs_f64());
    case.seconds.push(seconds);
    if let Some((rate, _)) = account.bucket {
        let ideal = account.empty_for.as_secs_f64() + case.connections as f64 / rate;
        case.over_ideal.push(seconds / ideal);
    }
    case.throttled.push(stats.throttled as f64);
    case.undelivered.push(case.connections as f64 - stats.delivered as f64);
}

/// Measures one record, which is delivered again at once as long as it comes back.
async fn measure_interrupted(backing: &Backing, interrupted: &mut Interrupted) {
    let server = ConnectionsServer::of_account(&Account { bucket: Some(SMALL), ..Account::NONE });
    let environment = backing.fanout(&server, 64).start().await.expect("fanout");
    let record = message_to(&room_of(LONG_ROOM));
    let (rate, burst) = SMALL;
    let ideal = ((LONG_ROOM as f64 - burst) / rate / POSTING.as_secs_f64()).ceil();
    let (mut invocations, mut is_done) = (0, false);
    while !is_done && f64::from(invocations) < ideal + f64::from(SPARE_INVOCATIONS) {
        invocations += 1;
        let event = queue_batch(&[record.clone().received(invocations)]);
        let invocation = environment.invoke_within(&event, INVOCATION).await;
        is_done = batch_item_failures(invocation.response()).is_empty();
    }
    let stats = server.stats();
    let for_each = |posts: u64| posts as f64 / LONG_ROOM as f64;
    let everybody_has_it = is_done && stats.delivered >= LONG_ROOM as u64;
    interrupted.invocations.push(f64::from(invocations));
    interrupted.delivered.push(if everybody_has_it { for_each(stats.delivered) } else { f64::NAN });
    interrupted.posts.push(for_each(stats.delivered + stats.throttled));
}

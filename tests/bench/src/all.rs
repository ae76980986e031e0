//! All benchmarks, and the page about their results.

use std::fs;
use std::time::Duration;

use crate::arguments::Arguments;
use crate::broadcasts::{self, Broadcasts};
use crate::clients::{self, Posting};
use crate::ephemerals::{self, Ephemerals};
use crate::figures::Series;
use crate::functions::{self, ColdStart, Ingest};
use crate::machine::{Backing, ConnectionsServer};
use crate::rooms::{self, Rooms};
use crate::simulated::{self, Simulated};
use crate::state::{self, State};
use crate::throttled::{self, Throttled};
use crate::{bars, plot, provenance, rate, report};

/// The environments side by side, and the connections in the room of each, as in the simulation of the rate limiter:
/// the more environments there are, the more posts it takes until the shortage at their start, when the account is
/// found to be short, no longer matters.
pub(crate) const SIDE_BY_SIDE: [(usize, usize); 5] = [(1, 60_000), (2, 60_000), (4, 30_000), (16, 15_000), (32, 7_500)];

/// Everything measured.
pub(crate) struct Measured {
    pub(crate) runs: usize,
    pub(crate) clients: Vec<Posting>,
    pub(crate) broadcasts: Broadcasts,
    pub(crate) ingest: Ingest,
    pub(crate) starts: Vec<ColdStart>,
    pub(crate) rates: Vec<Rate>,
    pub(crate) simulated: Simulated,
    pub(crate) throttled: Throttled,
    pub(crate) rooms: Rooms,
    pub(crate) ephemerals: Ephemerals,
    pub(crate) state: State,
}

/// The results against the token bucket.
#[derive(Default)]
pub(crate) struct Rate {
    pub(crate) environments: usize,
    /// Connections of the room of each.
    pub(crate) room: usize,
    pub(crate) goodput: Series,
    pub(crate) side_by_side: Series,
    pub(crate) waste: Series,
    pub(crate) seconds: Series,
    pub(crate) undelivered: Series,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let runs = arguments.number("runs", 5)?;
    let time = Duration::from_secs(arguments.number("seconds", 2)?);
    let clients = clients::measure(runs, time)?;
    let backing = Backing::start();
    let broadcasts = broadcasts::measure(&backing, runs).await?;
    let throttled = throttled::measure(&backing, runs, Duration::ZERO).await;
    let rooms = rooms::measure(&backing, runs).await;
    let ephemerals = ephemerals::measure(&backing, runs).await;
    let state = state::measure(&backing, runs).await;
    let ingest = functions::measure_ingest(&backing, runs).await;
    let server = ConnectionsServer::start(Duration::ZERO, None);
    let starts = functions::measure_starts(&backing, &server, runs.max(10)).await?;
    let rates = measure_rates(&backing, runs).await;
    // Last: it may have to be compiled, which nothing should be measured beside.
    let simulated = simulated::measure()?;
    let measured =
        Measured { runs, clients, broadcasts, ingest, starts, rates, simulated, throttled, rooms, ephemerals, state };

    let bars = bars::of(&measured);
    let report = report::markdown(&measured, &bars, &provenance::lines());
    println!("{report}");
    write("target/bench/results.json", &format!("{:#}\n", report::json(&bars)))?;
    write("tests/bench/RESULTS.md", &report)?;
    write("tests/bench/rooms.svg", &plot::rooms(&measured.broadcasts.rooms))
}

/// The broadcasts alone.
pub(crate) async fn run_broadcasts(arguments: &Arguments) -> Result<(), String> {
    let broadcasts = broadcasts::measure(&Backing::start(), arguments.number("runs", 5)?).await?;
    println!("{}", report::broadcasts(&broadcasts));
    Ok(())
}

async fn measure_rates(backing: &Backing, runs: usize) -> Vec<Rate> {
    let mut rates: Vec<_> =
        SIDE_BY_SIDE.map(|(environments, room)| Rate { environments, room, ..Rate::default() }).into();
    for rate in &rates {
        rate::seed(backing, rate.environments, rate.room);
    }
    for run in 0..runs {
        for rate in &mut rates {
            let scenario = rate::Scenario {
                environments: rate.environments,
                bucket: rate::BUCKET,
                max_posts_per_second: 0,
                latency: Duration::ZERO,
                concurrency: 64,
                room: rate.room,
                trace: false,
            };
            let measured = rate::measure(backing, &scenario).await;
            rate.goodput.push(measured.goodput);
            rate.side_by_side.push(measured.side_by_side);
            rate.waste.push(measured.waste);
            rate.seconds.push(measured.time.as_secs_f64());
            rate.undelivered.push(measured.undelivered as f64);
        }
        eprintln!("rate control: run {} of {runs}", run + 1);
    }
    rates
}

fn write(path: &str, text: &str) -> Result<(), String> {
    let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
    fs::create_dir_all(folder).and_then(|()| fs::write(path, text)).map_err(|error| format!("{path}: {error}"))
}

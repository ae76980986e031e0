//! Everything goes wrong at once, for a while: environments are killed, posts fail, tables and queues throttle, poison
//! comes, clients are cut off, rows are lost, the secret is rotated. Then it is over, and all must be as if it had
//! never been: each accepted message with one number, seen by every client once and in order, and no dead letters but
//! the poison.
//!
//! `make test` has half a minute of it; `make chaos MINUTES=10` as much as one likes, with a report in `tests/chaos`.

mod client;
mod faults;
#[allow(clippy::cast_precision_loss, reason = "places on a drawing")]
mod plot;
mod producers;
#[allow(clippy::cast_precision_loss, reason = "counts on a drawing")]
mod report;
mod samples;
mod services;
mod verdict;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use libtest_mimic::{Failed, Trial};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use crate::stacks::Stacks;
use crate::wait::seed;
use client::ChaosClient;
use samples::Sample;
use world::{ROOMS, World};

/// The variable with the minutes of a long run.
const MINUTES: &str = "ROOMCAST_CHAOS_MINUTES";

/// Half a minute in which nearly every fault has its turn.
const SHORT: Plan =
    Plan { lasts: Duration::from_secs(30), pause_ms: 500..4_000, calm_within: Duration::from_secs(150) };

/// Pauses of a long run, in which queues can drain, so that the plot shows the effect of each fault.
const LONG_PAUSE_MS: Range<u64> = 2_000..12_000;

const CLIENTS: usize = 25;

/// The pause between two looks at whether all is well.
const POLL: Duration = Duration::from_millis(200);

/// The lengths of the phases of a run.
#[derive(Clone)]
struct Plan {
    lasts: Duration,
    /// Milliseconds between two faults of the same troublemaker.
    pause_ms: Range<u64>,
    /// The time until all must be well after the faults.
    calm_within: Duration,
}

/// The result of a run.
struct Outcome {
    world: Arc<World>,
    seed: u64,
    lasted: Duration,
    calm_after: Duration,
    samples: Vec<Sample>,
}

/// The long run, which only takes place on request.
pub(crate) fn long_run(runtime: &Handle) -> Trial {
    let runtime = runtime.clone();
    let run = move || {
        let minutes: f64 = std::env::var(MINUTES)
            .map_or(Err(Failed::from(format!("{MINUTES} says how long"))), |text| Ok(text.parse()?))?;
        runtime.block_on(async {
            let lasts = Duration::from_secs_f64(minutes * 60.0);
            let plan = Plan { lasts, pause_ms: LONG_PAUSE_MS, calm_within: Duration::from_mins(5) };
            let outcome = run(&plan).await;
            report::write(&outcome, &Path::new(env!("CARGO_MANIFEST_DIR")).join("chaos")).await;
        });
        Ok(())
    };
    Trial::test("chaos::for_minutes", run).with_ignored_flag(std::env::var_os(MINUTES).is_none())
}

pub(crate) async fn after_half_a_minute_of_chaos_everybody_has_everything(_: &Stacks) {
    run(&SHORT).await;
}

async fn run(plan: &Plan) -> Outcome {
    let seed = seed();
    let mut random = Rng::with_seed(seed.0);
    let world = Arc::new(World::start(plan.pause_ms.clone()).await);
    producers::found(&world).await;
    crate::wait::until("each room has its first message", async || {
        verdict::logs(&world).await.values().all(|entries| !entries.is_empty()).then_some(())
    })
    .await;
    let mut clients: Vec<_> = (0..CLIENTS).map(|number| ChaosClient::new(&world, number, random.fork())).collect();
    let mut samples = Vec::new();
    let mut calm_after = Duration::ZERO;
    let storm = async {
        let calm_down = async {
            sleep(plan.lasts).await;
            world.calm_down();
        };
        tokio::join!(
            calm_down,
            faults::trouble_posts(Arc::clone(&world), random.fork()),
            faults::trouble_services(Arc::clone(&world), random.fork()),
            faults::cause_incidents(Arc::clone(&world), random.fork()),
            producers::write_records(Arc::clone(&world), random.fork()),
            join_all(clients.iter_mut().map(ChaosClient::live)),
        );
        let over = Instant::now();
        let calm = timeout(plan.calm_within, converge(&world, &mut clients)).await;
        if calm.is_err() {
            world.violation(format!("not calm within {:?}: {}", plan.calm_within, state_of(&world, &clients).await));
        }
        calm_after = over.elapsed();
    };
    tokio::select! {
        () = storm => {}
        () = samples::take(Arc::clone(&world), &mut samples) => {}
    }
    let wrong = verdict::violations(&world, &clients).await;
    if !wrong.is_empty() {
        let kept = world.stack.keep_state().join("chaos.txt");
        std::fs::write(&kept, history(&world, seed.0, &wrong)).expect("a file for the history");
        let shown: Vec<_> = wrong.iter().take(20).map(String::as_str).collect();
        panic!("{} violations, the history is in {}:\n{}", wrong.len(), kept.display(), shown.join("\n"));
    }
    Outcome { world, seed: seed.0, lasted: plan.lasts, calm_after, samples }
}

/// Waits until all clients have everything and the queues are empty, and then until one more message in each room has
/// reached everybody without being asked for.
async fn converge(world: &World, clients: &mut [ChaosClient]) {
    loop {
        join_all(clients.iter_mut().map(ChaosClient::step)).await;
        let heads = heads(world).await;
        let drained = samples::depths(world).await.iter().all(|depth| *depth == 0);
        let logged = world.books(|books| books.sent.values().filter(|sent| sent.accepted).count());
        let all = verdict::logs(world).await.values().map(Vec::len).sum::<usize>();
        if drained && logged <= all && clients.iter().all(|client| client.is_up_to_date(&heads)) {
            break;
        }
        sleep(POLL).await;
    }
    // After one more sync every client is a member again, whatever deleted its row.
    join_all(clients.iter_mut().map(ChaosClient::sync)).await;
    for room in ROOMS {
        producers::write_record(world, room, &format!("last-{room}"), "founder").await;
    }
    loop {
        // A client that missed something shortly before may have been closed for it.
        join_all(clients.iter_mut().filter(|client| client.is_cut()).map(ChaosClient::step)).await;
        let heads = heads(world).await;
        let last = verdict::logs(world).await;
        let all_logged = last.iter().all(|(room, entries)| entries.iter().any(|(_, id)| *id == format!("last-{room}")));
        let heard = clients.iter_mut().all(|client| {
            let rooms: Vec<_> = client.views.keys().copied().collect();
            rooms.into_iter().all(|room| client.receive_up_to(room) >= heads.get(room).copied())
        });
        if all_logged && heard && samples::depths(world).await.iter().all(|depth| *depth == 0) {
            return;
        }
        sleep(POLL).await;
    }
}

/// The number of the last message of each room.
async fn heads(world: &World) -> BTreeMap<&'static str, u64> {
    let logs = verdict::logs(world).await;
    logs.into_iter().map(|(room, entries)| (room, entries.last().map_or(0, |(seq, _)| *seq))).collect()
}

/// The depths of the queues, the heads of the logs, and the clients that are behind, for a report.
async fn state_of(world: &World, clients: &[ChaosClient]) -> String {
    let heads = heads(world).await;
    let behind: Vec<_> =
        clients.iter().filter(|client| !client.is_up_to_date(&heads)).map(ChaosClient::describe).collect();
    format!("queues {:?}, heads {heads:?}, clients behind: {behind:?}", samples::depths(world).await)
}

/// All that there is to tell of a run that went wrong.
fn history(world: &World, seed: u64, wrong: &[String]) -> String {
    world.books(|books| format!("ROOMCAST_SEED={seed}\n\n{}\n\n{books:#?}\n", wrong.join("\n")))
}

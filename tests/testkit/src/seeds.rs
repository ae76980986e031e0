//! Tests that run once for each of many seeds, which are always the same: a run of all tests says something of the
//! change, not of luck.
//!
//! `ROOMCAST_SEEDS=5000` tries so many new ones, drawn at random; `ROOMCAST_SEED=1234` repeats the run of one. A seed
//! decides everything that a test draws: what happens, in which order, and which faults. Which of two requests in
//! flight the operating system carries first it cannot decide, so a rare failure may take a few repetitions.

use std::any::Any;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use tokio::task::LocalSet;

/// The variable that names the one seed to run.
const SEED: &str = "ROOMCAST_SEED";

/// The variable that says how many seeds to run.
const SEEDS: &str = "ROOMCAST_SEEDS";

/// Runs that are under way at one time. They mostly wait, each for its own servers: with so many, two cores are busy.
const AT_ONCE: usize = 24;

/// Characters of a panic's text that are told.
const TEXT_CHARS: usize = 500;

/// Runs a test with `count` seeds, each on a runtime of its own where tasks need not be `Send`.
///
/// # Panics
/// When any run panics: with the seeds, and how to repeat them.
pub fn for_each_seed<F: Future<Output = ()>>(test: &str, count: usize, run: impl Fn(u64) -> F + Sync) {
    let seeds = seeds(count);
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(seeds.len()) {
            scope.spawn(|| {
                while let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run_one(&run, seed))) {
                        failed.lock().unwrap().push((seed, text_of(&*panic)));
                        // One is enough to look at: the rest need not run.
                        next.store(seeds.len(), Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let repeat: Vec<_> = failed.iter().map(|(seed, text)| format!("{SEED}={seed} ({text})")).collect();
    assert!(failed.is_empty(), "{test} failed; repeat it with {}", repeat.join(" or "));
}

/// The beginning of what a panic said: between backtraces, the line that says it first is hard to find.
fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no text").chars().take(TEXT_CHARS).collect()
}

fn run_one<F: Future<Output = ()>>(run: &(impl Fn(u64) -> F + Sync), seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, run(seed));
}

/// The first of the seeds, for a test that takes too long for several.
pub fn one() -> u64 {
    seeds(1)[0]
}

fn seeds(count: usize) -> Vec<u64> {
    let of = |name: &str| env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")));
    match (of(SEED), of(SEEDS)) {
        (Some(seed), _) => vec![seed],
        (None, Some(many)) => drawn_by(&mut Rng::new(), usize::try_from(many).unwrap()),
        (None, None) => drawn_by(&mut Rng::with_seed(0), count),
    }
}

fn drawn_by(random: &mut Rng, count: usize) -> Vec<u64> {
    // Short enough to be typed.
    std::iter::repeat_with(|| random.u64(..1_000_000_000_000)).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_run_once_and_the_failing_one_is_named() {
        let run = Mutex::new(Vec::new());
        for_each_seed("counting", 20, |seed| {
            let run = &run;
            async move { run.lock().unwrap().push(seed) }
        });
        assert_eq!(run.into_inner().unwrap().len(), 20);

        let seen = Mutex::new(0);
        let report = catch_unwind(AssertUnwindSafe(|| {
            for_each_seed("failing", 1, |seed| {
                *seen.lock().unwrap() = seed;
                async { panic!("scripted") }
            });
        }));
        let expected = format!("failing failed; repeat it with {SEED}={} (scripted)", seen.into_inner().unwrap());
        assert_eq!(report.unwrap_err().downcast_ref::<String>(), Some(&expected));
    }
}

//! The targets of the fuzzer.

mod broadcast;
mod ephemerals;
mod events;
mod frames;
mod jwks;
mod records;
mod rights;
mod shard_jobs;
mod tokens;

use tokio::runtime::{Builder, Runtime};

/// Code that reads input from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder of its corpus.
    pub name: &'static str,
    /// Reads an input; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Mutations that `cargo test` feeds it.
    pub mutations: u32,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "ephemerals", run: ephemerals::run, mutations: 3_000 },
    Target { name: "events", run: events::run, mutations: 3_000 },
    Target { name: "frames", run: frames::run, mutations: 4_000 },
    Target { name: "jwks", run: jwks::run, mutations: 1_000 },
    Target { name: "records", run: records::run, mutations: 3_000 },
    Target { name: "rights", run: rights::run, mutations: 4_000 },
    Target { name: "shard_jobs", run: shard_jobs::run, mutations: 3_000 },
    Target { name: "tokens", run: tokens::run, mutations: 1_000 },
];

/// Waits for a function's answer.
fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

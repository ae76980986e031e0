//! What is fuzzed.

mod broadcast;
mod frames;
mod records;
mod rights;
mod shard_jobs;

/// Something that reads what others wrote.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder of its corpus.
    pub name: &'static str,
    /// Reads an input; panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Mutations that `cargo test` feeds it.
    pub mutations: u32,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "frames", run: frames::run, mutations: 4_000 },
    Target { name: "records", run: records::run, mutations: 3_000 },
    Target { name: "rights", run: rights::run, mutations: 4_000 },
    Target { name: "shard_jobs", run: shard_jobs::run, mutations: 3_000 },
];

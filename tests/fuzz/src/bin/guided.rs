//! Fuzzes the target named by `FUZZ_TARGET`, guided by coverage. Its arguments are libFuzzer's; see `run` for how it
//! is built.
#![no_main]
#![allow(clippy::expect_used, clippy::panic, reason = "a fuzzer stops at what it cannot do")]

use std::{env, sync::LazyLock};

use fastrand::Rng;
use fuzz::{TARGETS, Target, mutate::mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").unwrap_or_default();
    let target = TARGETS.iter().find(|target| target.name == name);
    *target.unwrap_or_else(|| {
        panic!("FUZZ_TARGET={name}: must be one of {:?}", TARGETS.iter().map(|target| target.name).collect::<Vec<_>>())
    })
});

fuzz_target!(|data: &[u8]| {
    (TARGET.run)(data);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Rng::with_seed(seed.into());
    // libFuzzer's own mutations know what the target has compared its input with.
    if random.u8(..3) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mutated = mutate(&data[..size], max_size, &mut random);
    data[..mutated.len()].copy_from_slice(&mutated);
    mutated.len()
});

//! Every target with its kept corpus, and with mutations of it that are the same each time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test stops at what it finds")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;
use fuzz::{TARGETS, Target, corpus, mutate::mutate};

/// The most bytes of an input: mostly few, and sometimes more than the largest message.
const MOST: [usize; 5] = [500, 2_000, 8_000, 8_000, 140_000];

/// The percentage of mutations that start from a mutation, and not from the corpus.
const GOES_ON: u8 = 60;

/// The seed of the mutations: another one finds other faults.
const SEED: u64 = 9;

fn run(target: &Target, input: &[u8], what: &str) {
    let passed = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    assert!(
        passed.is_ok(),
        "{}, {what}: {}",
        target.name,
        input.escape_ascii().to_string().chars().take(2_000).collect::<String>()
    );
}

fn test(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let corpus = corpus::of(name);
    assert!(!corpus.is_empty());
    for (file, input) in &corpus {
        run(target, input, file);
    }
    let mut random = Rng::with_seed(SEED);
    let mut input = Vec::new();
    for mutation in 0..target.mutations {
        let goes_on = random.u8(..100) < GOES_ON;
        let from = if goes_on { &input } else { &random.choice(&corpus).unwrap().1 };
        input = mutate(from, *random.choice(&MOST).unwrap(), &mut random);
        run(target, &input, &format!("mutation {mutation}"));
    }
}

#[test]
fn ephemerals() {
    test("ephemerals");
}

#[test]
fn events() {
    test("events");
}

#[test]
fn frames() {
    test("frames");
}

#[test]
fn jwks() {
    test("jwks");
}

#[test]
fn records() {
    test("records");
}

#[test]
fn rights() {
    test("rights");
}

#[test]
fn shard_jobs() {
    test("shard_jobs");
}

#[test]
fn tokens() {
    test("tokens");
}

#[test]
fn every_target_is_tested_here() {
    let source = include_str!("bounded.rs");
    for target in TARGETS {
        assert!(source.contains(&format!("fn {}()", target.name)), "{}", target.name);
    }
}

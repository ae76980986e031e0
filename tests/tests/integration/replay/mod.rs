//! Paths of the model of a room's broadcast, replayed with the real function: each step of the model is a call that is
//! let go, a kill, or an end of time, and after each the tables and the clients have what the model says.
//!
//! Left out are the model's steps to shards, checkpoints in the middle of posting, late posts, an index that lags, and
//! a log that is remembered: every environment here is a cold one.

#[path = "../../model/delivery/broadcast/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the searches use the rest")]
mod broadcast;
mod environment;
mod gate;
mod paths;
mod replayer;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use fanout::connections_api::Outcome;
use fastrand::Rng;
use futures::FutureExt;
use serde_json::json;
use testkit::clock::TestClock;
use testkit::dynamodb::{ConnectionRow, DynamoDb};
use testkit::events::QueueRecord;
use tokio::task::LocalSet;

use broadcast::{Action, Scenario};
use environment::Environment;
use paths::{Interest, interests, scenario, shortest, walk};
use replayer::Replayer;

/// Walks at random.
const WALKS: u64 = 36;

/// Does work while the functions' time stands still.
fn without_time(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    // Paused time goes on by itself when there is nothing to do, but not while a blocking task runs.
    let (over, is_over) = std::sync::mpsc::channel::<()>();
    let working = async {
        let holding = tokio::task::spawn_blocking(move || is_over.recv());
        work.await;
        drop(over);
        let _ = holding.await;
    };
    LocalSet::new().block_on(&runtime, working);
}

fn replay(name: &str, scenario: &Scenario, path: Vec<Action>) {
    without_time(async {
        let mut replayer = Replayer::new(scenario);
        for (place, action) in path.iter().enumerate() {
            let stepping = AssertUnwindSafe(replayer.step(*action)).catch_unwind().await;
            assert!(stepping.is_ok(), "{name}: step {place} of\n{path:#?}\nfailed in {:#?}", replayer.world());
        }
        replayer.converge().await;
    });
}

/// Only after an append that took long are the members read again.
#[test]
fn an_append_that_takes_no_time_has_the_members_read_once() {
    without_time(async {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        dynamodb.seed(ConnectionRow::many("c", 3, "room"));
        let records = [QueueRecord::message("room", "m", &json!("m"))];
        let mut environment = Environment::start(&dynamodb, &clock, &records);
        while !environment.has_answered() {
            if environment.waiting().is_some() {
                environment.pass(Outcome::Delivered);
            }
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
        }
        assert_eq!(environment.answer().await, Vec::<String>::new());
        let calls = environment.endpoint.calls();
        assert_eq!(calls.iter().filter(|call| call.body["IndexName"].is_string()).count(), 1);
    });
}

#[test]
fn what_is_of_interest_is_as_in_the_model() {
    for Interest { name, scenario, is_there } in interests() {
        replay(name, &scenario, shortest(&scenario, is_there));
    }
}

#[test]
fn walks_at_random_are_as_in_the_model() {
    let scenario = scenario();
    for seed in 0..WALKS {
        replay(&format!("walk {seed}"), &scenario, walk(&scenario, &mut Rng::with_seed(seed)));
    }
}

//! Broadcasts in a room with state, compared with those in a room without: the writes of state go on beside the posts.

use std::time::Duration;

use serde_json::json;
use testkit::dynamodb::STATE_TABLE;
use testkit::events::{QueueRecord, queued_message};
use testkit::runtime_api::Environment;

use crate::arguments::Arguments;
use crate::batches::hand_over;
use crate::figures::Series;
use crate::machine::{Backing, ConnectionsServer};

/// The time of a post, as for the other rooms: without it there would be no posts for the writes to go on beside.
const LATENCY: Duration = Duration::from_millis(10);

/// The default of `FANOUT_CONCURRENCY`.
const CONCURRENCY: usize = 64;

/// The connections of each room, and the numbers by which the rooms are filled.
const CONNECTIONS: usize = 1_000;
const WITH: (&str, usize) = ("with-state", 83);
const WITHOUT: (&str, usize) = ("without-state", 84);

/// The keys of a batch: as many as are posted directly, since a full batch goes through the shard queue.
const KEYS: usize = 9;

/// Broadcasts to each room in each run.
const BROADCASTS: usize = 7;

/// Milliseconds of a broadcast.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) with: Series,
    pub(crate) without: Series,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let state = measure(&Backing::start(), arguments.number("runs", 5)?).await;
    let ratio = state.with.over(&state.without);
    let (with, without) = (state.with.median(), state.without.median());
    println!("with state {with:.1} ms, without {without:.1} ms: {:.2} times", ratio.median());
    Ok(())
}

/// Measures both kinds of rooms in turn, each in an environment of its own.
pub(crate) async fn measure(backing: &Backing, runs: usize) -> State {
    for (room, number) in [WITH, WITHOUT] {
        backing.seed_room(room, number, CONNECTIONS);
    }
    let server = ConnectionsServer::start(LATENCY, None);
    let mut state = State::default();
    for run in 0..runs {
        let fanout = || backing.fanout(&server, CONCURRENCY);
        let keeps = fanout().env("STATE_TABLE", STATE_TABLE).env("STATE_ROOMS", WITH.0).start().await.expect("fanout");
        let plain = fanout().start().await.expect("fanout");
        // The first broadcast opens connections.
        broadcast(&keeps, WITH.0).await;
        broadcast(&plain, WITHOUT.0).await;
        let (mut with, mut without) = (Series::default(), Series::default());
        for _ in 0..BROADCASTS {
            with.push(broadcast(&keeps, WITH.0).await);
            without.push(broadcast(&plain, WITHOUT.0).await);
        }
        state.with.push(with.median());
        state.without.push(without.median());
        eprintln!("state: run {} of {runs}", run + 1);
    }
    assert_eq!((backing.dynamodb.state(WITH.0).len(), backing.dynamodb.state(WITHOUT.0).len()), (KEYS, 0));
    state
}

/// Hands over a batch of keys; returns the milliseconds until everybody has it and it is acknowledged.
async fn broadcast(environment: &Environment, room: &str) -> f64 {
    let record = |number: usize| {
        let id = format!("{:x}", fastrand::u64(..));
        let mut body = queued_message(room, &id, "eu", &json!("x".repeat(100)));
        body["key"] = json!(format!("symbol-{number}"));
        QueueRecord::new(&id, room, body)
    };
    let batch: Vec<_> = (0..KEYS).map(record).collect();
    hand_over(environment, &batch).await.wall.as_secs_f64() * 1_000.0
}

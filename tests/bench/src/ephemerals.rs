//! Broadcasts on a full account, with and without ephemeral messages beside them.

use std::cell::Cell;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use serde_json::json;
use testkit::events::{QueueRecord, queue_batch};
use testkit::runtime_api::Environment;

use crate::arguments::Arguments;
use crate::batches::{hand_over, message_to};
use crate::figures::Series;
use crate::machine::{Account, Backing, ConnectionsServer};

/// The account of newer regions, with nothing saved up: its rate alone decides how long a broadcast takes, on any
/// machine.
const ACCOUNT: Account = Account { bucket: Some((2_500.0, 50.0)), ..Account::NONE };

/// Connections of the room that is broadcast to.
pub(crate) const ROOM: usize = 10_000;

/// Broadcasts that are timed, one after the other. They follow one that is not timed, in which the environments learn
/// that the account is full.
const BROADCASTS: usize = 2;

/// Environments that post ephemeral messages, the rooms of each, and the connections of a room: twice the posts that
/// the stack allows for ephemeral messages.
const ENVIRONMENTS: usize = 2;
const ROOMS: usize = 20;
const CONNECTIONS: usize = 50;

/// `EPHEMERAL_WINDOW_SECONDS`.
const WINDOW: Duration = Duration::from_secs(1);

/// The number by which the rooms are filled.
const NUMBER: usize = 83;

/// The most runs: each takes half a minute.
const RUNS: usize = 3;

#[derive(Default)]
pub(crate) struct Ephemerals {
    /// Seconds of the broadcasts.
    pub(crate) without: Series,
    pub(crate) with: Series,
    /// Posts of ephemeral messages in that time.
    pub(crate) posts: Series,
}

pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let ephemerals = measure(&Backing::start(), arguments.number("runs", RUNS)?).await;
    println!("{}", crate::report::ephemerals_beside(&ephemerals));
    Ok(())
}

pub(crate) async fn measure(backing: &Backing, runs: usize) -> Ephemerals {
    backing.seed_room("beside", NUMBER, ROOM);
    for room in 0..ENVIRONMENTS * ROOMS {
        backing.seed_room(&name(room), NUMBER + 1 + room, CONNECTIONS);
    }
    let mut ephemerals = Ephemerals::default();
    for run in 0..runs.min(RUNS) {
        let (without, _) = time_broadcasts(backing, 0).await;
        let (with, posts) = time_broadcasts(backing, ENVIRONMENTS).await;
        ephemerals.without.push(without);
        ephemerals.with.push(with);
        ephemerals.posts.push(posts as f64);
        eprintln!("ephemerals: run {} of {}", run + 1, runs.min(RUNS));
    }
    ephemerals
}

fn name(room: usize) -> String {
    format!("beside-{room}")
}

/// The seconds that the broadcasts take beside so many environments with ephemeral messages, and the posts of the
/// latter.
async fn time_broadcasts(backing: &Backing, beside: usize) -> (f64, u64) {
    let server = ConnectionsServer::of_account(&ACCOUNT);
    let fanout = backing.fanout(&server, 64).start().await.expect("fanout");
    let (is_done, function) = (Cell::new(false), backing.ephemeral(&server));
    let broadcasts = async {
        hand_over(&fanout, &[message_to("beside")]).await;
        let started = Instant::now();
        for _ in 0..BROADCASTS {
            hand_over(&fanout, &[message_to("beside")]).await;
        }
        is_done.set(true);
        started.elapsed().as_secs_f64()
    };
    let posting = (0..beside).map(async |number| {
        let environment = function.start().await.expect("ephemeral");
        post_until(&environment, number, &is_done).await
    });
    let (seconds, posts) = join(broadcasts, join_all(posting)).await;
    (seconds, posts.iter().sum())
}

/// Hands over a batch in each window; returns the posts that were made.
async fn post_until(environment: &Environment, number: usize, is_done: &Cell<bool>) -> u64 {
    let record = |room: usize| {
        let body = json!({ "roomId": name(room), "key": "typing", "data": true });
        QueueRecord::new("typing", &name(room), body)
    };
    let mut windows = 0;
    while !is_done.get() {
        let records: Vec<_> = (number * ROOMS..(number + 1) * ROOMS).map(record).collect();
        environment.invoke(&queue_batch(&records)).await.response();
        windows += 1;
        tokio::time::sleep(WINDOW).await;
    }
    environment.metrics(windows).await.iter().map(|line| line.count("EphemeralPosts")).sum()
}

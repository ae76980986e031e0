//! Environments that know nothing of each other, all posting to one account, in simulated time.

#![expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures::future::join_all;
use shared::{ConnectionId, RoomId, clock::SystemClock, store::connections::Member};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::{
    board::{Board, Broadcast},
    config::PostConfig,
    connections_api::{ConnectionsApi, Outcome},
    encode::Frame,
    gone,
    post::{PostState, Workers},
    tally::Tally,
};

/// The account: a token bucket, and what it was asked.
struct Account {
    rate: f64,
    burst: f64,
    tokens: f64,
    refilled: Instant,
    started: Instant,
    delivered: u64,
    throttled: u64,
    latency: Duration,
}

impl Account {
    fn new(rate: f64, burst: f64, latency: Duration) -> Rc<RefCell<Self>> {
        let now = Instant::now();
        Rc::new(RefCell::new(Self {
            rate,
            burst,
            tokens: burst,
            refilled: now,
            started: now,
            delivered: 0,
            throttled: 0,
            latency,
        }))
    }

    fn ask(&mut self) -> Outcome {
        let now = Instant::now();
        self.tokens = (self.tokens + self.rate * (now - self.refilled).as_secs_f64()).min(self.burst);
        self.refilled = now;
        if self.tokens < 1.0 {
            self.throttled += 1;
            return Outcome::Throttled { retry_after: None };
        }
        self.tokens -= 1.0;
        self.delivered += 1;
        Outcome::Delivered
    }

    /// What was delivered, as a share of what could have been.
    fn goodput(&self) -> f64 {
        let seconds = (Instant::now() - self.started).as_secs_f64();
        self.delivered as f64 / (self.burst + self.rate * seconds)
    }

    /// Posts answered 429, as a share of all posts.
    fn waste(&self) -> f64 {
        self.throttled as f64 / (self.delivered + self.throttled) as f64
    }
}

#[derive(Clone)]
struct AccountApi(Rc<RefCell<Account>>);

impl ConnectionsApi for AccountApi {
    async fn post(&self, _: &ConnectionId, _: &Frame) -> Outcome {
        let latency = self.0.borrow().latency;
        sleep(latency.mul_f64(0.5 + fastrand::f64())).await;
        self.0.borrow_mut().ask()
    }

    async fn close(&self, _: &ConnectionId) -> Outcome {
        Outcome::Delivered
    }
}

fn config(concurrency: usize) -> PostConfig {
    PostConfig {
        concurrency,
        max_per_second: 0,
        timeout: Duration::from_secs(3),
        max_attempts: 4,
        deadline_reserve: Duration::from_secs(2),
        gone_grace: Duration::ZERO,
    }
}

async fn broadcast(state: &PostState, account: &Rc<RefCell<Account>>, connections: usize) -> Tally {
    let board = Board::default();
    let (gone, _gone) = gone::channel();
    let (failing, _failing) = mpsc::unbounded_channel();
    let connections_api = AccountApi(account.clone());
    let workers =
        Workers { state, connections_api: &connections_api, clock: &SystemClock, board: &board, gone, failing };
    let room = RoomId::parse("r").unwrap();
    let key = board.open(Broadcast { room, frames: vec![Frame::new("{}".into())] });
    let member = Member { connection: ConnectionId::new("c"), joined_at: 0, expires_at: u64::MAX };
    board.put(key, vec![member; connections]);
    let serve = async {
        let tally = board.finish(key).await.unwrap();
        board.close();
        tally
    };
    tokio::join!(serve, workers.run()).0
}

/// Runs environments side by side; returns goodput, waste and deliveries that were given up.
async fn run(
    environments: usize,
    concurrency: usize,
    connections: usize,
    account: &Rc<RefCell<Account>>,
) -> (f64, f64, u64) {
    let states: Vec<_> = (0..environments).map(|_| PostState::new(config(concurrency))).collect();
    let broadcasts = states.iter().map(|state| broadcast(state, account, connections));
    let tallies = join_all(broadcasts).await;
    let undelivered = tallies.iter().map(|tally| tally.undelivered).sum();
    let account = account.borrow();
    (account.goodput(), account.waste(), undelivered)
}

#[tokio::test(start_paused = true)]
async fn the_accounts_rate_is_used_and_hardly_any_post_is_wasted() {
    fastrand::seed(1);
    let cases = [1, 2, 4].into_iter().flat_map(|environments| [(environments, 64, 2), (environments, 64, 5)]);
    for (environments, concurrency, millis) in cases.chain([(1, 256, 20), (2, 256, 20)]) {
        let account = Account::new(10_000.0, 5_000.0, Duration::from_millis(millis));
        let (goodput, waste, undelivered) = run(environments, concurrency, 120_000 / environments, &account).await;
        let case = format!("{environments} environments, {concurrency} in flight, {millis} ms");
        assert!(goodput >= 0.95, "{case}: goodput {goodput:.3}");
        assert!(waste < 0.02, "{case}: waste {waste:.4}");
        assert_eq!(undelivered, 0, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_account_is_used_as_well() {
    fastrand::seed(2);
    let account = Account::new(500.0, 250.0, Duration::from_millis(5));
    let (goodput, waste, undelivered) = run(2, 64, 4_000, &account).await;
    assert!(goodput >= 0.9, "goodput {goodput:.3}");
    // Most of it at once: the environments start at fifty times the account's rate.
    assert!(waste < 0.2, "waste {waste:.4}");
    assert_eq!(undelivered, 0);
}

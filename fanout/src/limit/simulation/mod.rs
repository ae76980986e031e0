//! Simulations of environments that know nothing of each other and post to one account, in simulated time. Each posts
//! through a real limiter; deliveries are made as in [`crate::broadcast`].

#![expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]

use std::{
    cell::{Cell, RefCell},
    mem,
    ops::{Range, RangeInclusive},
    rc::Rc,
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use shared::ConnectionId;
use tokio::{
    task::yield_now,
    time::{Instant, sleep},
};

use super::{ConsecutiveMisses, Order, RateLimiter, Turns, retry_delay};
use crate::connections_api::Outcome;

mod alone;
mod beside_ephemerals;
mod beside_presence;
mod together;

/// The most deliveries of a broadcast that are under way at the same time.
const MAX_PENDING: usize = 1_024;

/// `FANOUT_MAX_ATTEMPTS`.
const MAX_ATTEMPTS: u32 = 4;

/// `FANOUT_POST_TIMEOUT_MS`.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The length of the time bins in which deliveries are counted.
const BIN: Duration = Duration::from_millis(50);

/// The range of milliseconds that a post takes to the account, or its answer back: on average 5 ms both ways, or 10 ms.
const NEAR: RangeInclusive<u64> = 1..=4;
const FAR: RangeInclusive<u64> = 3..=7;

/// Posts per second of an account with room for everything.
const UNLIMITED: f64 = 1e9;

/// The account: a token bucket, and counts of the posts to it.
struct Account {
    rate: f64,
    burst: f64,
    tokens: f64,
    refilled: Instant,
    started: Instant,
    /// The share of posts that is refused whatever the rate.
    refused_at_random: f64,
    /// The posts per second that others make, from one moment to another.
    others: Option<(Range<Instant>, f64)>,
    passed: u32,
    refused: u32,
    /// The number of posts that passed in each bin of time.
    bins: Vec<u32>,
    /// The posts that have arrived in this millisecond and are not answered yet.
    arrivals: Vec<Rc<Cell<Option<Outcome>>>>,
}

impl Account {
    fn new(rate: f64) -> Rc<RefCell<Self>> {
        let now = Instant::now();
        Rc::new(RefCell::new(Self {
            rate,
            burst: rate / 2.0,
            tokens: rate / 2.0,
            refilled: now,
            started: now,
            refused_at_random: 0.0,
            others: None,
            passed: 0,
            refused: 0,
            bins: Vec::new(),
            arrivals: Vec::new(),
        }))
    }

    /// An account that refuses everything for a while.
    fn empty_for(rate: f64, time: Duration) -> Rc<RefCell<Self>> {
        let account = Self::new(rate);
        account.borrow_mut().tokens = -rate * time.as_secs_f64();
        account
    }

    /// Answers a post. Posts that arrive in the same millisecond, from all environments, are served in random order:
    /// otherwise the environment that is polled first would get every token that comes in.
    async fn ask(account: &RefCell<Self>) -> Outcome {
        let answer = Rc::new(Cell::new(None));
        account.borrow_mut().arrivals.push(answer.clone());
        yield_now().await;
        account.borrow_mut().serve_arrivals();
        answer.get().expect("all arrivals are served")
    }

    fn serve_arrivals(&mut self) {
        let mut arrivals = mem::take(&mut self.arrivals);
        fastrand::shuffle(&mut arrivals);
        for answer in arrivals {
            answer.set(Some(self.serve()));
        }
    }

    fn serve(&mut self) -> Outcome {
        let now = Instant::now();
        let others = self.others.as_ref().map_or(0.0, |(time, rate)| if time.contains(&now) { *rate } else { 0.0 });
        let refill = (self.rate - others) * (now - self.refilled).as_secs_f64();
        self.tokens = (self.tokens + refill).min(self.burst);
        self.refilled = now;
        if self.tokens < 1.0 || fastrand::f64() < self.refused_at_random {
            self.refused += 1;
            return Outcome::Throttled { retry_after: None };
        }
        self.tokens -= 1.0;
        self.passed += 1;
        count(&mut self.bins, self.started);
        Outcome::Delivered
    }

    /// The posts that passed, as a share of those that could have.
    fn goodput(&self) -> f64 {
        let seconds = (Instant::now() - self.started).as_secs_f64();
        f64::from(self.passed) / (self.burst + self.rate * seconds)
    }

    /// Posts answered 429, as a share of all posts.
    fn waste(&self) -> f64 {
        f64::from(self.refused) / f64::from(self.passed + self.refused)
    }

    /// The posts that passed in a range of seconds since the start, as a share of those that could have.
    fn goodput_in(&self, seconds: Range<f64>) -> f64 {
        sum(&self.bins, &seconds) / (self.rate * (seconds.end - seconds.start))
    }
}

fn count(bins: &mut Vec<u32>, started: Instant) {
    let bin = usize::try_from(started.elapsed().as_millis() / BIN.as_millis()).unwrap();
    bins.resize(bins.len().max(bin + 1), 0);
    bins[bin] += 1;
}

fn sum(bins: &[u32], seconds: &Range<f64>) -> f64 {
    let is_in = |bin: &usize| seconds.contains(&(*bin as f64 * BIN.as_secs_f64()));
    (0..bins.len()).filter(is_in).map(|bin| f64::from(bins[bin])).sum()
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Health {
    Healthy,
    /// Answers 429 whatever the account says.
    Slow,
    /// Never answers.
    Hanging,
}

struct Environment {
    account: Rc<RefCell<Account>>,
    limiter: RateLimiter,
    misses: ConsecutiveMisses,
    /// The range of milliseconds that a post takes to the account, and its answer back. They are whole, since timers
    /// keep those exactly.
    way: RangeInclusive<u64>,
    undelivered: Cell<u32>,
    /// The connections that missed a broadcast through their own fault.
    struck: RefCell<Vec<ConnectionId>>,
    /// The number of posts delivered in each bin of time since the account's start.
    bins: RefCell<Vec<u32>>,
}

impl Environment {
    fn new(account: &Rc<RefCell<Account>>, concurrency: usize, way: RangeInclusive<u64>) -> Self {
        Self {
            account: account.clone(),
            limiter: RateLimiter::new(concurrency, 0),
            misses: ConsecutiveMisses::default(),
            way,
            undelivered: Cell::new(0),
            struck: RefCell::default(),
            bins: RefCell::default(),
        }
    }

    /// Broadcasts one frame to a room; returns how long it took.
    async fn broadcast(&self, connections: usize) -> Duration {
        self.broadcast_among(connections, |_| Health::Healthy).await.0
    }

    /// Broadcasts one frame to a room; returns how long it took for all connections, and for the healthy ones.
    async fn broadcast_among(&self, connections: usize, health: impl Fn(usize) -> Health) -> (Duration, Duration) {
        let (start, turns, served) = (Instant::now(), self.limiter.turns(), Cell::new(Duration::ZERO));
        let deliveries = stream::iter(0..connections).for_each_concurrent(MAX_PENDING, |number| {
            let (health, turns, served) = (health(number), &turns, &served);
            async move {
                self.deliver(turns, number, health).await;
                if health == Health::Healthy {
                    served.set(start.elapsed());
                }
            }
        });
        deliveries.await;
        (start.elapsed(), served.get())
    }

    async fn deliver(&self, turns: &Turns<'_>, number: usize, health: Health) {
        let mut refused_since = None;
        let mut attempt = 0;
        loop {
            let permit = turns.acquire(if attempt == 0 { Order::First } else { Order::Next }).await;
            attempt += 1;
            let started = permit.started();
            let outcome = self.post(health).await;
            permit.record(outcome, attempt);
            let max_attempts = match outcome {
                Outcome::Delivered => break count(&mut self.bins.borrow_mut(), self.account.borrow().started),
                Outcome::Throttled { .. } => {
                    refused_since.get_or_insert(started);
                    self.limiter.max_attempts(MAX_ATTEMPTS)
                }
                _ => MAX_ATTEMPTS,
            };
            if attempt >= max_attempts {
                break self.give_up(number, refused_since);
            }
            sleep(retry_delay(attempt)).await;
        }
    }

    fn give_up(&self, number: usize, refused_since: Option<Instant>) {
        self.undelivered.set(self.undelivered.get() + 1);
        let is_own_fault = match refused_since {
            Some(since) => self.limiter.is_slow_connection(since),
            None => !self.limiter.is_struggling(),
        };
        if is_own_fault {
            let connection = ConnectionId::new(&number.to_string());
            let _ = self.misses.missed(&connection);
            self.struck.borrow_mut().push(connection);
        }
    }

    async fn post(&self, health: Health) -> Outcome {
        let way = Duration::from_millis(fastrand::u64(self.way.clone()));
        if health == Health::Hanging {
            sleep(TIMEOUT).await;
            return Outcome::TimedOut;
        }
        sleep(way).await;
        let outcome = match health {
            Health::Slow => Outcome::Throttled { retry_after: None },
            _ => Account::ask(&self.account).await,
        };
        sleep(way).await;
        outcome
    }
}

fn environments(
    count: usize,
    account: &Rc<RefCell<Account>>,
    concurrency: usize,
    way: &RangeInclusive<u64>,
) -> Vec<Environment> {
    (0..count).map(|_| Environment::new(account, concurrency, way.clone())).collect()
}

/// Lets environments broadcast to a room each; returns the number of deliveries that were given up.
async fn broadcast_together(environments: &[Environment], connections: usize) -> u32 {
    join_all(environments.iter().map(|environment| environment.broadcast(connections))).await;
    environments.iter().map(|environment| environment.undelivered.get()).sum()
}

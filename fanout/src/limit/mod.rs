//! The rate limiter: how many posts may be in flight, how fast they may start, and whose turn it is.
//!
//! - `FANOUT_CONCURRENCY` and `FANOUT_MAX_POSTS_PER_SECOND` are never exceeded.
//! - Without a 429 there is no limit in between: nothing is paced, and small rooms pay nothing.
//! - When 429s are the account's, posts are paced at a rate that is learnt from the answers.
//! - When timeouts are widespread, fewer posts are kept in flight.
//!
//! Posts wait in one queue. Only its head waits for a place in flight and for its moment at the current rate. No moment
//! is promised to a post that still waits: the rate may change meanwhile, and the waiting post may be dropped.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use tokio::time::{Instant, sleep_until};

mod backoff;
mod in_flight;
mod misses;
mod pacer;
mod queue;
mod rate;
mod retry_budget;
#[cfg(test)]
mod simulation;
mod suspect;
#[cfg(test)]
mod tests;
mod trial;

pub use backoff::{LONGEST_RETRY_AFTER, retry_delay, retry_delay_after};
pub use misses::ConsecutiveMisses;
pub use queue::Order;
pub use retry_budget::RetryBudget;

use crate::connections_api::Outcome;
use in_flight::{Before, InFlight};
use pacer::Pacer;
use queue::{Place, Queue, Room};
use rate::LearntRate;

/// The least number of attempts for a post while the account is throttled. A refusal is not the connection's fault
/// then, and at the rate that is being learnt nearly all posts pass.
const ATTEMPTS_WHILE_THROTTLED: u32 = 8;

/// Decides when posts start. There is one for each environment; what it learns outlives invocations.
#[derive(Debug)]
pub struct RateLimiter {
    /// The posts per second that are never exceeded; `None` means no cap.
    cap: Option<f64>,
    cap_pacer: RefCell<Pacer>,
    learnt: RefCell<LearntRate>,
    in_flight: RefCell<InFlight>,
    queue: Queue,
    /// Whether the head of the queue waits for a place in flight.
    is_place_wanted: Cell<bool>,
}

/// The turns of one broadcast among all those under way.
#[derive(Debug)]
pub struct Turns<'a> {
    limiter: &'a RateLimiter,
    room: Rc<Room>,
}

/// The permission to start a post now. It has used up its moment, and holds a place in flight until it is dropped.
#[derive(Debug)]
#[must_use = "a post is made with it"]
pub struct Permit<'a> {
    limiter: &'a RateLimiter,
    started: Instant,
    epoch: u32,
    before: Before,
}

/// The answer to the head of the queue that asks whether its post may start.
enum Start<'a> {
    Now(Permit<'a>),
    At(Instant),
    WhenPlaceIsFree,
}

impl RateLimiter {
    /// A limiter that keeps at most `max_in_flight` posts in flight (at least 1) and starts at most
    /// `max_posts_per_second` (0 means no cap), and 5 ms' worth more after waking up late.
    #[must_use]
    pub fn new(max_in_flight: usize, max_posts_per_second: u64) -> Self {
        let per_second = u32::try_from(max_posts_per_second).unwrap_or(u32::MAX);
        Self {
            cap: (per_second > 0).then(|| f64::from(per_second)),
            cap_pacer: RefCell::default(),
            learnt: RefCell::new(LearntRate::new()),
            in_flight: RefCell::new(InFlight::new(max_in_flight)),
            queue: Queue::default(),
            is_place_wanted: Cell::new(false),
        }
    }

    /// The turns of a broadcast that begins.
    #[must_use]
    pub fn turns(&self) -> Turns<'_> {
        Turns { limiter: self, room: Rc::default() }
    }

    /// Posts that may be in flight now.
    #[cfg(test)]
    fn in_flight_limit(&self) -> usize {
        self.in_flight.borrow().limit()
    }

    /// The most posts that were in flight at one time since this was asked last.
    pub fn take_most_in_flight(&self) -> usize {
        self.in_flight.borrow_mut().take_most_taken()
    }

    /// The rate in posts per second, while posts are paced.
    #[must_use]
    pub fn learnt_rate(&self) -> Option<u64> {
        self.learnt.borrow().rate(Instant::now())
    }

    /// Whether the account is throttled.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.learnt.borrow().is_throttled(Instant::now())
    }

    /// Whether so much goes wrong that no single connection is at fault for a missed broadcast.
    #[must_use]
    pub fn is_struggling(&self) -> bool {
        self.is_throttled() || self.in_flight.borrow().is_cut_lately(Instant::now())
    }

    /// Whether a connection that was answered 429 ever since `refused_since` (the start of its first refused attempt)
    /// is slow itself: posts to others that started since then passed. In case of doubt it is the account's fault,
    /// which must cost no connection anything.
    #[must_use]
    pub fn is_slow_connection(&self, refused_since: Instant) -> bool {
        !self.is_throttled() && self.learnt.borrow().is_slow_connection(refused_since)
    }

    /// Attempts for a post: `configured`, which is `FANOUT_MAX_ATTEMPTS`, or more while the account is throttled.
    #[must_use]
    pub fn max_attempts(&self, configured: u32) -> u32 {
        if self.is_throttled() { configured.max(ATTEMPTS_WHILE_THROTTLED) } else { configured }
    }

    /// Starts a post if there is a place in flight and its moment has come.
    fn start(&self) -> Start<'_> {
        let mut in_flight = self.in_flight.borrow_mut();
        if !in_flight.has_room() {
            self.is_place_wanted.set(true);
            return Start::WhenPlaceIsFree;
        }
        let now = Instant::now();
        let (mut learnt, mut cap_pacer) = (self.learnt.borrow_mut(), self.cap_pacer.borrow_mut());
        let learnt_due = learnt.due(now);
        if learnt_due.is_some() {
            learnt.hold(now);
        }
        let cap_due = self.cap.and_then(|cap| cap_pacer.due(now, cap));
        if let Some(due) = learnt_due.max(cap_due) {
            return Start::At(due);
        }
        if let Some(cap) = self.cap {
            cap_pacer.take(now, cap);
        }
        Start::Now(Permit { limiter: self, started: now, epoch: learnt.take(now), before: in_flight.take() })
    }
}

impl<'a> Turns<'a> {
    /// Waits until a post may start: for its turn, for a place in flight, and for its moment. Dropping the future
    /// leaves the queue.
    pub async fn acquire(&self, order: Order) -> Permit<'a> {
        if self.limiter.queue.is_empty()
            && let Start::Now(permit) = self.limiter.start()
        {
            return permit;
        }
        let place = self.limiter.queue.join(&self.room, order);
        let permit = self.head_starts(&place).await;
        place.serve();
        permit
    }

    async fn head_starts(&self, place: &Place<'_>) -> Permit<'a> {
        loop {
            if !place.is_head() {
                place.woken().await;
                continue;
            }
            match self.limiter.start() {
                Start::Now(permit) => return permit,
                Start::WhenPlaceIsFree => place.woken().await,
                Start::At(moment) => tokio::select! {
                    () = sleep_until(moment) => {}
                    () = place.woken() => {}
                },
            }
        }
    }
}

impl Permit<'_> {
    /// When the post started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Learns from the outcome of the post. `attempt` is its number among the attempts with this frame; the first is 1.
    pub fn record(self, outcome: Outcome, attempt: u32) {
        let now = Instant::now();
        let limiter = self.limiter;
        match outcome {
            Outcome::TimedOut => limiter.in_flight.borrow_mut().timed_out(now, self.started, self.before),
            // Nothing was posted.
            Outcome::Unreachable => {}
            outcome => {
                limiter.in_flight.borrow_mut().ended(outcome.is_answer());
                let is_refused = outcome.is_throttled();
                limiter.learnt.borrow_mut().answered(now, self.started, self.epoch, attempt, is_refused);
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.limiter.in_flight.borrow_mut().free();
        if self.limiter.is_place_wanted.take() {
            self.limiter.queue.wake_head();
        }
    }
}

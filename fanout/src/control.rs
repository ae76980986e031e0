//! How fast to post. The account has one rate for everything that it does with connections, and several environments
//! that know nothing of each other share it; each learns its part from what it is answered.
//!
//! - `FANOUT_CONCURRENCY` and `FANOUT_MAX_POSTS_PER_SECOND` are never exceeded.
//! - Without a 429 there is no limit in between: nothing is paced, and small rooms pay nothing.
//! - When 429s are widespread, posts are paced. The rate is cut by what was refused and a bit more, and grows back along
//!   a cubic (as TCP CUBIC's window does): fast at first, slowly around the rate that was refused, then faster and faster. So
//!   several environments come to share the account's rate, and take over what one of them leaves.
//! - When timeouts are widespread, fewer posts are kept in flight: halved, then one by one more.
//!
//! A single connection that is slow, or is sent to too often, answers 429 as well; it takes several to be widespread.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::connections_api::Outcome;

/// The time over which answers are judged.
const WINDOW: Duration = Duration::from_millis(50);

/// Answers from before a pause this long say nothing any more.
const IDLE: Duration = Duration::from_secs(1);

/// First attempts answered 429 (or posts timed out) from which on it is widespread: fewer may be one slow client.
const WIDESPREAD: u32 = 3;

/// Posts that the share of refused ones is judged by, at least.
const SAMPLE: u32 = 32;

/// The part of the rate that a cut takes besides what was refused, so that what waits for its retry finds room.
const DEPTH: f64 = 0.15;

/// The largest part of the rate that a cut takes for what was refused.
const CUT: f64 = 0.85;

/// Seconds after which a rate has grown back to its plateau; beyond, it grows as it did before, mirrored.
const RECOVERY: f64 = 0.3;

/// Seconds after a cut in which what is answered still comes from before it.
const SETTLE: f64 = 0.03;

/// How much of the growth does not depend on the rate, in posts per second each second for a plateau of 1, and with its
/// root for a larger one: environments with a small part of the account's rate grow relatively faster, until all parts are alike.
const FAIRNESS: f64 = 20.0;

/// Seconds without a cut after which the account has room enough: posts are not paced any more.
const FORGET: f64 = 3.0;

/// The slowest rate, in posts per second: below it, nothing would be learnt any more.
const SLOWEST: f64 = 10.0;

/// Posts in flight that are always allowed.
const LEAST_IN_FLIGHT: usize = 4;

#[cfg(test)]
mod simulation;

/// Decides when the next post may be made. One for each environment; lives longer than an invocation.
#[derive(Debug)]
pub struct Control {
    most_in_flight: usize,
    max_per_second: f64,
    cap: Pace,
    adaptive: RefCell<Adaptive>,
    in_flight: RefCell<Window>,
    in_flight_limit: Cell<usize>,
    limit_raised: Notify,
}

/// A post that may be made. Says which rate it was made at: what it is answered says nothing about a later one.
#[derive(Clone, Copy, Debug)]
pub struct Admission {
    epoch: u32,
}

/// The rate that is learnt from the answers.
#[derive(Debug)]
struct Adaptive {
    /// The cubic along which the rate grows; none while there is no need to pace.
    curve: Option<Curve>,
    pace: Pace,
    /// Counts the cuts.
    epoch: u32,
    /// What was answered of late to posts that were made since the last cut.
    answers: Answers,
    /// The rate before anything was refused.
    speed: f64,
    /// Posts that were not refused since the last cut.
    passed: u32,
}

#[derive(Debug)]
struct Answers {
    start: Instant,
    latest: Instant,
    posts: u32,
    throttled: u32,
    throttled_first: u32,
}

impl Answers {
    fn new(start: Instant) -> Self {
        Self { start, latest: start, posts: 0, throttled: 0, throttled_first: 0 }
    }

    /// Whether there are enough of them, over a time long enough, to judge by.
    fn are_complete(&self, now: Instant) -> bool {
        self.posts >= SAMPLE && now.duration_since(self.start) >= WINDOW
    }

    fn are_refusals_widespread(&self) -> bool {
        self.throttled_first >= WIDESPREAD
    }

    fn rate(&self, now: Instant) -> f64 {
        f64::from(self.posts) / now.duration_since(self.start).as_secs_f64().max(0.001)
    }
}

/// The rate after a cut: a cubic, `plateau * (1 + DEPTH * (t / RECOVERY - 1)^3)`, and a straight line.
#[derive(Clone, Copy, Debug)]
struct Curve {
    plateau: f64,
    start: Instant,
}

impl Curve {
    fn age(&self, now: Instant) -> f64 {
        now.duration_since(self.start).as_secs_f64()
    }

    fn rate(&self, now: Instant) -> f64 {
        let way = self.age(now) / RECOVERY - 1.0;
        let cubic = self.plateau * (1.0 + DEPTH * way.powi(3));
        (cubic + FAIRNESS * self.plateau.sqrt() * self.age(now)).max(SLOWEST)
    }
}

/// What was answered in a window.
#[derive(Debug)]
struct Window {
    start: Instant,
    posts: u32,
    timed_out: u32,
}

impl Window {
    fn new(start: Instant) -> Self {
        Self { start, posts: 0, timed_out: 0 }
    }
}

/// Each post has its moment, and none is made before it.
#[derive(Debug, Default)]
struct Pace {
    next: Cell<Option<Instant>>,
}

impl Pace {
    /// Takes the next moment at a rate; `None` is now.
    fn take(&self, now: Instant, per_second: f64) -> Option<Instant> {
        let moment = self.next.get().map_or(now, |next| next.max(now));
        self.next.set(Some(moment + Duration::from_secs_f64(per_second.recip())));
        (moment > now).then_some(moment)
    }
}

impl Control {
    /// A control that keeps at most `most_in_flight` posts in flight and starts at most `max_per_second` a second;
    /// 0 is no cap.
    #[must_use]
    pub fn new(most_in_flight: usize, max_per_second: u64) -> Self {
        let now = Instant::now();
        Self {
            most_in_flight,
            max_per_second: u32::try_from(max_per_second).map_or(f64::from(u32::MAX), f64::from),
            cap: Pace::default(),
            adaptive: RefCell::new(Adaptive::new(now)),
            in_flight: RefCell::new(Window::new(now)),
            in_flight_limit: Cell::new(most_in_flight),
            limit_raised: Notify::new(),
        }
    }

    /// Waits until a worker may work: of all workers, the first few do, as many as posts may be in flight.
    pub async fn turn(&self, worker: usize) {
        while !self.has_turn(worker) {
            self.limit_raised.notified().await;
        }
    }

    /// Whether a worker may work now.
    #[must_use]
    pub fn has_turn(&self, worker: usize) -> bool {
        worker < self.in_flight_limit.get()
    }

    /// Waits until the next post may be made.
    pub async fn admit(&self) -> Admission {
        let now = Instant::now();
        let adapted = self.adaptive.borrow_mut().take(now);
        let capped = if self.max_per_second > 0.0 { self.cap.take(now, self.max_per_second) } else { None };
        if let Some(moment) = adapted.max(capped) {
            sleep_until(moment).await;
        }
        Admission { epoch: self.adaptive.borrow().epoch }
    }

    /// Whether 429s are widespread.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        let now = Instant::now();
        self.adaptive.borrow().curve.is_some_and(|curve| curve.age(now) <= FORGET)
    }

    /// Whether so much goes wrong that it is no single connection's fault.
    #[must_use]
    pub fn is_struggling(&self) -> bool {
        self.is_throttled() || self.in_flight_limit.get() < self.most_in_flight
    }

    /// Learns from an answer. `first` says that it was a first attempt.
    pub fn record(&self, admission: Admission, outcome: Outcome, first: bool) {
        let now = Instant::now();
        let is_throttled = matches!(outcome, Outcome::Throttled { .. });
        self.adaptive.borrow_mut().record(now, admission, is_throttled, first);
        let mut window = self.in_flight.borrow_mut();
        window.posts += 1;
        window.timed_out += u32::from(outcome == Outcome::TimedOut);
        if now.duration_since(window.start) >= WINDOW {
            self.limit_in_flight(&window);
            *window = Window::new(now);
        }
    }

    fn limit_in_flight(&self, window: &Window) {
        let limit = self.in_flight_limit.get();
        if window.timed_out >= WIDESPREAD && window.timed_out * 10 >= window.posts {
            self.in_flight_limit.set((limit / 2).max(LEAST_IN_FLIGHT.min(self.most_in_flight)));
        } else if limit < self.most_in_flight {
            self.in_flight_limit.set(limit + 1);
            self.limit_raised.notify_waiters();
        }
    }
}

impl Adaptive {
    fn new(now: Instant) -> Self {
        Self { curve: None, pace: Pace::default(), epoch: 0, answers: Answers::new(now), speed: 0.0, passed: 0 }
    }

    /// Takes the next moment; `None` is now.
    fn take(&mut self, now: Instant) -> Option<Instant> {
        let curve = self.curve?;
        if curve.age(now) > FORGET {
            self.curve = None;
            return None;
        }
        self.pace.take(now, curve.rate(now))
    }

    fn record(&mut self, now: Instant, admission: Admission, is_throttled: bool, first: bool) {
        self.passed += u32::from(!is_throttled);
        if admission.epoch != self.epoch {
            return;
        }
        if now.duration_since(self.answers.latest) > IDLE {
            self.answers = Answers::new(now);
        }
        if is_throttled && self.answers.throttled == 0 {
            // From here on, the account has nothing left: now the share that is refused says by how much the rate is
            // too high.
            self.speed = self.answers.rate(now);
            self.answers = Answers::new(now);
        }
        let answers = &mut self.answers;
        answers.latest = now;
        answers.posts += 1;
        answers.throttled += u32::from(is_throttled);
        answers.throttled_first += u32::from(is_throttled && first);
        let (is_complete, is_widespread) = (answers.are_complete(now), answers.are_refusals_widespread());
        let has_sample = answers.posts >= SAMPLE;
        match self.curve {
            // Unpaced, each moment makes it worse.
            None if is_widespread && has_sample => {
                let refused = f64::from(self.answers.throttled) / f64::from(self.answers.posts);
                self.cut(now, self.speed * (1.0 - refused.min(CUT)));
            }
            Some(curve) if is_widespread && has_sample && curve.age(now) >= SETTLE => {
                // Refused then and now, the account had nothing left then and now: what passed in between is this
                // environment's part of its rate. Unless there was little to post.
                let passed = f64::from(self.passed) / curve.age(now);
                self.cut(now, passed.clamp(curve.rate(now) * (1.0 - CUT), curve.rate(now)));
            }
            _ if is_complete => self.answers = Answers::new(now),
            _ => {}
        }
    }

    /// Lowers the rate to below a plateau, to which it grows back.
    fn cut(&mut self, now: Instant, plateau: f64) {
        self.curve = Some(Curve { plateau, start: now });
        self.epoch = self.epoch.wrapping_add(1);
        self.answers = Answers::new(now);
        self.passed = 0;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const REFUSED: Outcome = Outcome::Throttled { retry_after: None };

    async fn post(control: &Control, outcome: Outcome) {
        let admission = control.admit().await;
        control.record(admission, outcome, true);
    }

    #[tokio::test(start_paused = true)]
    async fn the_cap_is_never_exceeded() {
        let control = Control::new(64, 100);
        let start = Instant::now();
        for made in 0..250_u32 {
            control.admit().await;
            let allowed = 1.0 + 100.0 * start.elapsed().as_secs_f64();
            assert!(f64::from(made) < allowed, "{made} posts before number {allowed}");
        }
        assert!(start.elapsed() < Duration::from_millis(2_600), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_paced_without_a_429_nor_for_one_slow_client() {
        let control = Control::new(64, 0);
        for post_number in 0..10_000 {
            // Refused again and again: one first attempt in each thousand posts, and its retries.
            let outcome = if post_number % 100 == 0 { REFUSED } else { Outcome::Delivered };
            let admission = control.admit().now_or_never().unwrap();
            control.record(admission, outcome, post_number % 1_000 == 0);
            tokio::time::advance(Duration::from_micros(100)).await;
        }
        assert!(!control.is_throttled() && !control.is_struggling());
    }

    #[tokio::test(start_paused = true)]
    async fn widespread_refusals_pace_posts_until_there_were_none_for_long() {
        let control = Control::new(64, 0);
        for _ in 0..200 {
            post(&control, REFUSED).await;
        }
        assert!(control.is_throttled());
        tokio::time::advance(Duration::from_secs_f64(FORGET + 0.1)).await;
        assert!(control.admit().now_or_never().is_some());
        assert!(!control.is_throttled());
    }

    #[tokio::test(start_paused = true)]
    async fn widespread_timeouts_halve_the_posts_in_flight_and_success_brings_them_back() {
        let control = Control::new(64, 0);
        let window = async |outcome| {
            for _ in 0..20 {
                post(&control, outcome).await;
            }
            tokio::time::advance(WINDOW).await;
            post(&control, outcome).await;
        };
        window(Outcome::TimedOut).await;
        assert!(control.has_turn(31) && !control.has_turn(32));
        for _ in 0..9 {
            window(Outcome::TimedOut).await;
        }
        assert!(control.has_turn(3) && !control.has_turn(4));
        window(Outcome::Delivered).await;
        assert!(control.has_turn(4) && !control.has_turn(5));
        for _ in 0..60 {
            window(Outcome::Delivered).await;
        }
        assert!(control.has_turn(63) && !control.is_struggling());
    }
}

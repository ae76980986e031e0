//! How fast to post. The account has one rate for everything that it does with connections, and several environments
//! that know nothing of each other share it; each learns its part from what it is answered.
//!
//! - `FANOUT_CONCURRENCY` and `FANOUT_MAX_POSTS_PER_SECOND` are never exceeded.
//! - Without a 429 there is no limit in between: nothing is paced, and small rooms pay nothing.
//! - When 429s are widespread, posts are paced. The rate is cut in proportion to what was refused, then creeps up again,
//!   first to where it was refused, then beyond. Several environments so oscillate around the account's rate.
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

use crate::outcome::Outcome;

/// The time over which outcomes are judged.
const WINDOW: Duration = Duration::from_millis(100);

/// First attempts answered 429 (or not at all) within a window from which on it is widespread: fewer may be one slow client.
const WIDESPREAD: u32 = 3;

/// The smallest and the largest part of the rate that one cut takes.
const CUT: (f64, f64) = (0.03, 0.5);

/// The part of the refused rate by which the rate creeps up in a window, times the number of windows without a cut.
const CREEP: f64 = 0.001;

/// The slowest rate, in posts per second: below it, nothing would be learnt any more.
const SLOWEST: f64 = 10.0;

/// Windows without a 429 after which the account has room enough: posts are not paced any more.
const WINDOWS_TO_FORGET: u32 = 300;

/// Posts in flight that are always allowed.
const LEAST_IN_FLIGHT: usize = 4;

/// Decides when the next post may be made. One for each environment; lives longer than an invocation.
#[derive(Debug)]
pub struct Control {
    most_in_flight: usize,
    cap: Pace,
    adaptive: RefCell<Adaptive>,
    in_flight_limit: Cell<usize>,
    limit_raised: Notify,
}

/// What is learnt from the answers.
#[derive(Debug)]
struct Adaptive {
    pace: Option<Pace>,
    /// The rate at which posts were last refused.
    refused_at: f64,
    quiet_windows: u32,
    window: Window,
}

/// What was answered in a window.
#[derive(Debug)]
struct Window {
    start: Instant,
    posts: u32,
    throttled: u32,
    timed_out: u32,
    /// First attempts among those that were throttled.
    throttled_first: u32,
    cut: bool,
}

impl Window {
    fn new(start: Instant) -> Self {
        Self { start, posts: 0, throttled: 0, timed_out: 0, throttled_first: 0, cut: false }
    }
}

/// A rate: each post has its moment, and none is made before it.
#[derive(Debug)]
struct Pace {
    /// Seconds between two posts; 0 is no limit.
    interval: Cell<f64>,
    next: Cell<Option<Instant>>,
}

impl Pace {
    fn new(per_second: f64) -> Self {
        let interval = if per_second > 0.0 { per_second.recip() } else { 0.0 };
        Self { interval: Cell::new(interval), next: Cell::new(None) }
    }

    fn rate(&self) -> f64 {
        self.interval.get().recip()
    }

    fn set_rate(&self, per_second: f64) {
        self.interval.set(per_second.recip());
    }

    /// Takes the next moment; `None` is now.
    fn take(&self, now: Instant) -> Option<Instant> {
        let interval = self.interval.get();
        if interval == 0.0 {
            return None;
        }
        let moment = self.next.get().map_or(now, |next| next.max(now));
        self.next.set(Some(moment + Duration::from_secs_f64(interval)));
        (moment > now).then_some(moment)
    }
}

impl Control {
    /// A control that keeps at most `most_in_flight` posts in flight and starts at most `max_per_second` a second;
    /// 0 is no cap.
    #[must_use]
    pub fn new(most_in_flight: usize, max_per_second: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "rates are far below 2^52")]
        let cap = Pace::new(max_per_second as f64);
        let adaptive = Adaptive { pace: None, refused_at: 0.0, quiet_windows: 0, window: Window::new(Instant::now()) };
        Self {
            most_in_flight,
            cap,
            adaptive: RefCell::new(adaptive),
            in_flight_limit: Cell::new(most_in_flight),
            limit_raised: Notify::new(),
        }
    }

    /// Waits until a worker may work: of all workers, the first few do, as many as posts may be in flight.
    pub async fn turn(&self, worker: usize) {
        while worker >= self.in_flight_limit.get() {
            self.limit_raised.notified().await;
        }
    }

    /// Whether a worker may work now.
    #[must_use]
    pub fn has_turn(&self, worker: usize) -> bool {
        worker < self.in_flight_limit.get()
    }

    /// Waits until the next post may be made.
    pub async fn admit(&self) {
        let now = Instant::now();
        let paced = self.adaptive.borrow().pace.as_ref().and_then(|pace| pace.take(now));
        let moment = self.cap.take(now).max(paced);
        if let Some(moment) = moment {
            sleep_until(moment).await;
        }
    }

    /// Whether 429s are widespread.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        self.adaptive.borrow().pace.is_some()
    }

    /// Whether so much goes wrong that it is no single connection's fault.
    #[must_use]
    pub fn is_struggling(&self) -> bool {
        self.is_throttled() || self.in_flight_limit.get() < self.most_in_flight
    }

    /// Learns from an answer. `first` says that it was a first attempt.
    pub fn record(&self, outcome: Outcome, first: bool) {
        let now = Instant::now();
        let mut adaptive = self.adaptive.borrow_mut();
        if now.duration_since(adaptive.window.start) >= WINDOW {
            self.end_window(&mut adaptive, now);
        }
        let window = &mut adaptive.window;
        window.posts += 1;
        match outcome {
            Outcome::Throttled { .. } => {
                window.throttled += 1;
                window.throttled_first += u32::from(first);
                if !window.cut && window.throttled_first >= WIDESPREAD {
                    adaptive.cut(now);
                }
            }
            Outcome::TimedOut => window.timed_out += 1,
            _ => {}
        }
    }

    fn end_window(&self, adaptive: &mut Adaptive, now: Instant) {
        let window = &adaptive.window;
        if window.timed_out >= WIDESPREAD && window.timed_out * 10 >= window.posts {
            self.in_flight_limit.set((self.in_flight_limit.get() / 2).max(LEAST_IN_FLIGHT.min(self.most_in_flight)));
        } else if self.in_flight_limit.get() < self.most_in_flight {
            self.in_flight_limit.set(self.in_flight_limit.get() + 1);
            self.limit_raised.notify_waiters();
        }
        adaptive.end_window(now);
    }
}

impl Adaptive {
    /// Lowers the rate: by what was refused, within bounds.
    fn cut(&mut self, now: Instant) {
        let window = &mut self.window;
        window.cut = true;
        self.quiet_windows = 0;
        let refused = f64::from(window.throttled) / f64::from(window.posts);
        if let Some(pace) = &self.pace {
            self.refused_at = pace.rate();
            pace.set_rate((pace.rate() * (1.0 - refused.clamp(CUT.0, CUT.1))).max(SLOWEST));
            return;
        }
        // The rate so far was whatever the machine could do.
        let elapsed = now.duration_since(window.start).max(Duration::from_millis(1)).as_secs_f64();
        let rate = (f64::from(window.posts) / elapsed).max(SLOWEST);
        self.refused_at = rate;
        self.pace = Some(Pace::new((rate * (1.0 - CUT.1)).max(SLOWEST)));
    }

    fn end_window(&mut self, now: Instant) {
        if let Some(pace) = &self.pace {
            if !self.window.cut {
                self.quiet_windows += 1;
                pace.set_rate(pace.rate() + self.refused_at * CREEP * f64::from(self.quiet_windows));
            }
            if self.quiet_windows >= WINDOWS_TO_FORGET {
                self.pace = None;
            }
        }
        self.window = Window::new(now);
    }
}

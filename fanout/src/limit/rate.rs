//! The rate that is learnt from the answers to posts. The account has one rate for all its connections, and
//! environments share it without knowing of each other.
//!
//! - **Unpaced**, until there are more than a few refusals: no post waits, and nothing is spent on pacing.
//! - **Draining**: a pause until the posts in flight are answered. How many those were, and how many of them passed,
//!   shows how fast the account takes posts.
//! - **Paced**: the rate changes after each window of answers. Refusals cut it; windows without any raise it, and the
//!   faster the more of them there were in a row. Answers to posts from before a change no longer count.
//!
//! An example: one environment posts at the account's whole rate, 10,000 a second, when others come and take 8,000. In
//! the next window 80 of 100 posts are refused, and the rate is cut to 2,000. From then on windows see few refusals or
//! none, while the rate grows a little and is cut by a twentieth again and again. When the others leave, windows have
//! no refusals at all, growth gathers pace, and about a second later the rate is 10,000 again.
//!
//! Refusals that have nothing to do with the rate would cut it again and again: see [`trial`](super::trial).
//!
//! Rejected, in a simulation with a hundred bars (time, goodput, waste, fairness), of which this design missed 2 even
//! without trials: CUBIC missed 23, additive increase with multiplicative decrease 38, the AWS SDKs' adaptive mode 43,
//! a rate like BBR's 44. A table row shared by throttled environments brought no gain.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    pacer::{DRAIN, Pacer},
    suspect::{Says, Suspect},
    trial::{Refused, Trials, Verdict},
};

/// The number of refusals from which on posts are paced; each other answer makes up for a part of one.
const EVIDENCE: f64 = 8.0;

/// The part of a refusal that an answer makes up for.
const FORGIVENESS: f64 = 1.0 / 32.0;

/// The least rate after the pause, in posts per second: a tenth of the smallest account's.
const START_RATE: f64 = 250.0;

/// Seconds of posts in a window: as long as a change of the rate takes to show in the answers.
const WINDOW: f64 = 0.03;

/// The fewest and the most answers in a window.
const WINDOW_ANSWERS: (f64, f64) = (2.0, 100.0);

/// The number of answers, all of them refused, after which the rate is cut to [`BLACKOUT_CUT`].
const BLACKOUT: u32 = 16;

/// The part of the rate that remains when no post passes.
const BLACKOUT_CUT: f64 = 0.25;

/// The smallest cut, as a part of the rate: posts that wait for their retry need room. `1 - BETA` of the rate remains.
const BETA: f64 = 0.05;

/// Growth after a window without refusals, in posts per second for each answer in it. It has three parts. This part is
/// constant.
const GROWTH: f64 = 0.15;

/// This part of the growth is [`FAIR_GROWTH_AT_MOST`] divided by the rate, but at most this. So environments with a
/// small part of the account's rate grow relatively faster, until all parts are alike.
const FAIR_GROWTH: f64 = 0.8;
const FAIR_GROWTH_AT_MOST: f64 = 120.0;

/// This part of the growth is multiplied by the square of (windows without refusals / [`CALM`]): after many of them,
/// somebody may have left.
const CALM_GROWTH: f64 = 0.25;

/// Windows without refusals after which growth gathers pace.
const CALM: f64 = 18.0;

/// The slowest rate, in posts per second.
const FLOOR: f64 = 10.0;

/// The time without waiting posts and refusals after which posts are not paced any more.
const FORGET: Duration = Duration::from_secs(3);

/// The pace of posts, as learnt from their answers.
#[derive(Debug)]
pub(super) struct LearntRate {
    phase: Phase,
    pacer: Pacer,
    suspect: Suspect,
    /// The number of changes of the rate. Answers to posts from an earlier epoch say nothing about the current rate.
    epoch: u32,
    window: Window,
    trials: Trials,
    /// The last time that a post waited for its moment or was refused.
    pressed: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Unpaced {
        /// Refusals that other answers have not made up for.
        evidence: f64,
    },
    Draining {
        until: Instant,
    },
    Paced {
        /// Posts per second.
        fill_rate: f64,
        growth: Growth,
    },
}

#[derive(Clone, Copy, Debug)]
enum Growth {
    /// No post has passed yet at this rate, which does not grow until one does.
    Hold,
    /// The rate doubles with each window.
    SlowStart,
    /// The rate grows with what passes.
    Steady {
        /// Windows since the latest refusal, or parts of one.
        calm: f64,
    },
}

/// The answers since the latest change.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    answers: u32,
    refused: u32,
    /// The sum of the answers' latencies, in seconds.
    latency: f64,
    /// Whether a post waited for its moment. If none did, the window says nothing about the rate.
    was_full: bool,
}

impl Window {
    fn add(&mut self, is_refused: bool, latency: Duration) {
        self.answers += 1;
        self.refused += u32::from(is_refused);
        self.latency += latency.as_secs_f64();
    }

    fn refused(&self) -> Refused {
        Refused { answers: self.answers, refused: self.refused }
    }

    /// The rate of the posts in flight, by Little's law: their number divided by the time that they take. The share
    /// that passed is cubed for caution: the account was at its limit, and other environments post as well.
    fn rate_in_flight(&self) -> f64 {
        let answers = f64::from(self.answers);
        let passed = 1.0 - self.refused().share();
        answers * answers / self.latency.max(0.001) * passed.powi(3)
    }
}

impl LearntRate {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Unpaced { evidence: 0.0 },
            pacer: Pacer::default(),
            suspect: Suspect::new(),
            epoch: 0,
            window: Window::default(),
            trials: Trials::default(),
            pressed: None,
        }
    }

    /// The moment of the next post; `None` means now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Instant> {
        self.advance(now);
        match self.phase {
            Phase::Unpaced { .. } => None,
            Phase::Draining { until } => Some(until),
            Phase::Paced { fill_rate, .. } => self.pacer.due(now, fill_rate),
        }
    }

    /// Notes that a post waits for its moment.
    pub(super) fn hold(&mut self, now: Instant) {
        self.pressed = Some(now);
        self.window.was_full = true;
    }

    /// Takes the moment of a post that starts now. Returns the epoch, which is passed to [`answered`](Self::answered)
    /// later.
    pub(super) fn take(&mut self, now: Instant) -> u32 {
        if let Phase::Paced { fill_rate, .. } = self.phase {
            self.pacer.take(now, fill_rate);
        }
        self.epoch
    }

    /// Learns from the answer to attempt number `attempt` (the first is 1) of a post that started at a moment, in an
    /// epoch.
    pub(super) fn answered(&mut self, now: Instant, started: Instant, epoch: u32, attempt: u32, is_refused: bool) {
        if let Phase::Draining { .. } = self.phase {
            self.window.add(is_refused, now - started);
        }
        let is_refused = match self.suspect.judge(started, attempt, is_refused) {
            Says::AccountTakes => false,
            Says::AccountRefuses => true,
            // During slow start any post that passes is a good sign. In a window, retries that pass would hide the
            // refusals.
            Says::Nothing if !is_refused && self.is_in_slow_start() => false,
            Says::Nothing => return,
        };
        match self.phase {
            Phase::Unpaced { evidence } => {
                let evidence = (evidence + if is_refused { 1.0 } else { -FORGIVENESS }).max(0.0);
                self.phase = Phase::Unpaced { evidence };
                if evidence >= EVIDENCE {
                    self.throttle(now);
                }
            }
            Phase::Draining { .. } => {}
            Phase::Paced { fill_rate, growth } => {
                if is_refused {
                    self.pressed = Some(now);
                }
                if epoch == self.epoch {
                    self.adapt(now, fill_rate, growth, is_refused, now - started);
                }
            }
        }
    }

    /// The rate in posts per second, while posts are paced.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is far from what u64 holds")]
    pub(super) fn rate(&self, now: Instant) -> Option<u64> {
        match self.phase {
            Phase::Paced { fill_rate, .. } if !self.is_forgotten(now) => Some(fill_rate as u64),
            _ => None,
        }
    }

    /// Whether the account is throttled now, or was a moment ago.
    pub(super) fn is_throttled(&self, now: Instant) -> bool {
        !matches!(self.phase, Phase::Unpaced { .. }) && !self.is_forgotten(now)
    }

    /// Whether a connection that was refused ever since a moment is slow itself.
    pub(super) fn is_slow_connection(&self, refused_since: Instant) -> bool {
        self.suspect.is_slow_connection(refused_since)
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.pressed.is_none_or(|pressed| now.duration_since(pressed) > FORGET)
    }

    fn is_in_slow_start(&self) -> bool {
        matches!(self.phase, Phase::Paced { growth: Growth::Hold | Growth::SlowStart, .. })
    }

    fn throttle(&mut self, now: Instant) {
        self.phase = Phase::Draining { until: now + DRAIN };
        self.pressed = Some(now);
        self.trials = Trials::default();
        self.start_epoch();
    }

    /// Goes from one phase to the next as time passes.
    fn advance(&mut self, now: Instant) {
        match self.phase {
            Phase::Draining { .. } | Phase::Paced { .. } if self.is_forgotten(now) => {
                self.phase = Phase::Unpaced { evidence: 0.0 };
            }
            Phase::Draining { until } if now >= until => {
                let fill_rate = self.window.rate_in_flight().max(START_RATE);
                self.phase = Phase::Paced { fill_rate, growth: Growth::Hold };
                self.pressed = Some(now);
                self.window = Window::default();
            }
            _ => {}
        }
    }

    fn adapt(&mut self, now: Instant, fill_rate: f64, growth: Growth, is_refused: bool, latency: Duration) {
        if self.trials.is_settling() {
            if self.trials.settle(now) {
                self.start_epoch();
            }
            return;
        }
        if matches!(growth, Growth::Hold) && !is_refused {
            self.pace(fill_rate, Growth::SlowStart);
            return self.start_epoch();
        }
        self.window.add(is_refused, latency);
        if self.is_window_complete(fill_rate, growth) {
            self.close_window(now, fill_rate, growth);
        }
    }

    fn is_window_complete(&self, fill_rate: f64, growth: Growth) -> bool {
        let refused = self.window.refused();
        if let Some(is_decided) = self.trials.is_decided(refused) {
            return is_decided;
        }
        if refused.is_everything() {
            return refused.answers >= BLACKOUT;
        }
        let (window, most) = match growth {
            // The number of answers is not limited here: the rate would double with each hundred, faster than refusals
            // can show.
            Growth::SlowStart if refused.refused == 0 => (WINDOW / 2.0, f64::INFINITY),
            Growth::SlowStart => (WINDOW / 2.0, WINDOW_ANSWERS.1),
            _ => (WINDOW, WINDOW_ANSWERS.1),
        };
        f64::from(refused.answers) >= (fill_rate * window).clamp(WINDOW_ANSWERS.0, most)
    }

    fn close_window(&mut self, now: Instant, fill_rate: f64, growth: Growth) {
        let refused = self.window.refused();
        let share = match self.trials.judge(now, fill_rate, refused) {
            Verdict::Set { fill_rate } => {
                self.pace(fill_rate, Growth::Steady { calm: 0.0 });
                return self.start_epoch();
            }
            Verdict::Unrelated { last_max_rate } => {
                self.pace(last_max_rate, Growth::SlowStart);
                return self.start_epoch();
            }
            Verdict::Related { share } => share,
        };
        if refused.is_everything() {
            self.pace(fill_rate * BLACKOUT_CUT, Growth::Hold);
            self.start_epoch();
        } else if share > 0.0 {
            self.pace(fill_rate * (1.0 - share.max(BETA)), Growth::Steady { calm: 0.0 });
            self.start_epoch();
        } else if !self.window.was_full {
            self.window = Window::default();
        } else if let Growth::Steady { calm } = growth {
            let answers = f64::from(refused.answers);
            let calm = calm + answers / (fill_rate * WINDOW).max(WINDOW_ANSWERS.0);
            self.pace(fill_rate + grown(fill_rate, answers, calm), Growth::Steady { calm });
            self.window = Window::default();
        } else {
            self.pace(fill_rate * 2.0, growth);
            self.start_epoch();
        }
    }

    fn pace(&mut self, fill_rate: f64, growth: Growth) {
        self.phase = Phase::Paced { fill_rate: fill_rate.max(FLOOR), growth };
    }

    /// Starts a new epoch: answers to posts from before say nothing any more.
    fn start_epoch(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        self.window = Window::default();
    }
}

/// The growth of the rate after a window without refusals, in posts per second: at most the rate itself, so that it no
/// more than doubles.
fn grown(fill_rate: f64, answers: f64, calm: f64) -> f64 {
    let fair = FAIR_GROWTH.min(FAIR_GROWTH_AT_MOST / fill_rate);
    let each = GROWTH + fair + CALM_GROWTH * (calm / CALM).powi(2);
    (answers * each).min(fill_rate)
}

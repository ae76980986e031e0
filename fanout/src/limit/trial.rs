//! Trials, which find refusals that have nothing to do with the rate: a share of all posts that is refused however few
//! posts there are. Cutting the rate for those would only make it slow, so the refused share is compared at two rates
//! before the rate is cut further.
//!
//! An example, with 10% refused at random: the rate falls from 9,000 to 8,100 to 7,300 and so on, while each window
//! sees a tenth refused. Below 4,500 a trial begins: a quarter of that rate is used until about 20 refusals are to be
//! expected at the same share. If a tenth is refused again (an account that was short would refuse nothing now), a
//! tenth is tolerated from then on, the rate is 9,000 again, and only refusals beyond a tenth cut it.

use tokio::time::Instant;

use super::pacer::DRAIN;

/// A trial is due when the rate has fallen to this part of the rate before the cuts.
const FALLEN: f64 = 0.5;

/// Refusals are counted, to compare with those of the trial, from this part of the rate before the cuts downwards.
const COUNTED: f64 = 0.7;

/// The least number of refusals to compare: with fewer it would be chance.
const SAMPLE: u32 = 20;

/// The largest refused share that is tolerated. An account that refuses more is in trouble, and fewer posts are right
/// whatever the reason.
const LARGEST_SHARE: f64 = 0.4;

/// The part of the rate that is used in a trial.
const TRIED: f64 = 0.25;

/// Refusals are related to the rate if their share falls to less than this part of what it was.
const RELATED: f64 = 0.5;

/// The expected number of refusals from which on it is no chance that there were none (1 in 50).
const NO_LUCK: f64 = 4.0;

/// Standard deviations by which a window's refused share may exceed the tolerated one.
const DEVIATIONS: f64 = 3.0;

/// Counts of posts that were answered and, among them, refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refused {
    pub(super) answers: u32,
    pub(super) refused: u32,
}

impl Refused {
    pub(super) fn share(self) -> f64 {
        f64::from(self.refused) / f64::from(self.answers.max(1))
    }

    pub(super) fn is_everything(self) -> bool {
        self.refused == self.answers
    }

    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.refused += other.refused;
    }
}

/// The conclusion from a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// This share of the posts was refused because of the rate.
    Related {
        /// From 0 to 1.
        share: f64,
    },
    /// The rate is set anew: a trial begins, or has found that refusals are related to the rate.
    Set {
        /// Posts per second.
        fill_rate: f64,
    },
    /// Refusals have nothing to do with the rate, which is set back to what it was before the cuts.
    Unrelated {
        /// Posts per second.
        last_max_rate: f64,
    },
}

/// Finds refusals that have nothing to do with the rate.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// The cuts since the last window without refusals.
    descent: Option<Descent>,
    trial: Option<Trial>,
    /// The share of posts that is refused whatever the rate.
    tolerated: f64,
}

#[derive(Clone, Copy, Debug)]
struct Descent {
    /// The rate before the first cut.
    last_max_rate: f64,
    refused: Refused,
}

#[derive(Clone, Copy, Debug)]
struct Trial {
    last_max_rate: f64,
    /// The rate and the refusals before the trial, to compare with.
    fill_rate: f64,
    refused: Refused,
    /// Until then, answers may be to posts from before the trial, or may be affected by those.
    settling: Option<Instant>,
}

impl Trials {
    /// Whether answers may still belong to the time before the trial.
    pub(super) fn is_settling(&self) -> bool {
        self.trial.is_some_and(|trial| trial.settling.is_some())
    }

    /// Ends that time if it is over now, and says whether it did.
    pub(super) fn settle(&mut self, now: Instant) -> bool {
        let Some(trial) = &mut self.trial else { return false };
        let is_over = trial.settling.is_some_and(|until| now >= until);
        if is_over {
            trial.settling = None;
        }
        is_over
    }

    /// Whether there are enough answers to decide the trial; `None` if there is no trial.
    pub(super) fn is_decided(&self, refused: Refused) -> Option<bool> {
        let trial = self.trial?;
        let expected = f64::from(refused.answers) * trial.refused.share();
        let enough = if refused.refused == 0 { NO_LUCK } else { f64::from(SAMPLE) };
        Some(expected >= enough)
    }

    /// Judges a window of posts that were made at a rate.
    pub(super) fn judge(&mut self, now: Instant, fill_rate: f64, refused: Refused) -> Verdict {
        if let Some(trial) = self.trial.take() {
            return self.conclude(trial, refused);
        }
        let share = self.excess(refused);
        if share == 0.0 || refused.is_everything() {
            self.descent = None;
            return Verdict::Related { share };
        }
        let descent = self.descent.get_or_insert(Descent { last_max_rate: fill_rate, refused: Refused::default() });
        if fill_rate <= descent.last_max_rate * COUNTED {
            descent.refused.add(refused);
        }
        let is_due = fill_rate <= descent.last_max_rate * FALLEN && descent.refused.refused >= SAMPLE;
        if is_due && descent.refused.share() <= LARGEST_SHARE {
            let Descent { last_max_rate, refused } = *descent;
            self.trial = Some(Trial { last_max_rate, fill_rate, refused, settling: Some(now + DRAIN) });
            self.descent = None;
            return Verdict::Set { fill_rate: fill_rate * TRIED };
        }
        Verdict::Related { share }
    }

    fn conclude(&mut self, trial: Trial, refused: Refused) -> Verdict {
        let (before, share) = (trial.refused.share(), refused.share());
        if share > LARGEST_SHARE {
            // The account has run short meanwhile: the rate stays where the trial has put it.
            return Verdict::Set { fill_rate: trial.fill_rate * TRIED };
        }
        if share < before * RELATED {
            return Verdict::Set { fill_rate: trial.fill_rate * (1.0 - before) };
        }
        let mut together = trial.refused;
        together.add(refused);
        self.tolerated = together.share();
        Verdict::Unrelated { last_max_rate: trial.last_max_rate }
    }

    /// The refused share beyond what is tolerated.
    fn excess(&mut self, refused: Refused) -> f64 {
        let (share, tolerated) = (refused.share(), self.tolerated);
        if tolerated == 0.0 {
            return share;
        }
        let answers = f64::from(refused.answers);
        if refused.refused == 0 && answers * tolerated >= NO_LUCK {
            self.tolerated = 0.0;
        }
        let deviation = (tolerated * (1.0 - tolerated) / answers).sqrt();
        if share <= tolerated + DEVIATIONS * deviation { 0.0 } else { (share - tolerated) / (1.0 - tolerated) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(answers: u32, refused: u32) -> Refused {
        Refused { answers, refused }
    }

    /// Cuts the rate for a tenth refused in each window, until a trial begins; returns the rates before it and in it.
    fn descend(trials: &mut Trials, now: Instant) -> (f64, f64) {
        let mut fill_rate = 9_000.0;
        loop {
            match trials.judge(now, fill_rate, refused(100, 10)) {
                Verdict::Related { share } => fill_rate *= 1.0 - share,
                Verdict::Set { fill_rate: tried } => return (fill_rate, tried),
                Verdict::Unrelated { .. } => panic!("no trial was made"),
            }
        }
    }

    #[test]
    fn a_share_that_does_not_fall_with_the_rate_is_tolerated_from_then_on() {
        let now = Instant::now();
        let mut trials = Trials::default();
        let (before, tried) = descend(&mut trials, now);
        assert!(before <= 4_500.0 && tried < before / 3.0, "{before} {tried}");
        assert!(trials.is_settling() && !trials.settle(now) && trials.settle(now + DRAIN));
        assert_eq!(trials.is_decided(refused(100, 9)), Some(false));
        assert_eq!(trials.is_decided(refused(210, 20)), Some(true));
        assert_eq!(trials.judge(now, tried, refused(210, 20)), Verdict::Unrelated { last_max_rate: 9_000.0 });
        assert_eq!(trials.judge(now, 9_000.0, refused(100, 14)), Verdict::Related { share: 0.0 });
        let Verdict::Related { share } = trials.judge(now, 9_000.0, refused(100, 55)) else { panic!("a verdict") };
        assert!((0.45..0.55).contains(&share), "{share}");
    }

    #[test]
    fn a_share_that_falls_with_the_rate_is_not_tolerated() {
        let now = Instant::now();
        let mut trials = Trials::default();
        let (before, tried) = descend(&mut trials, now);
        assert_eq!(trials.is_decided(refused(39, 0)), Some(false));
        assert_eq!(trials.is_decided(refused(50, 0)), Some(true), "none refused is soon clear");
        let Verdict::Set { fill_rate } = trials.judge(now, tried, refused(50, 0)) else { panic!("a verdict") };
        assert!((before * 0.85..before).contains(&fill_rate));
        assert_eq!(trials.judge(now, before, refused(100, 10)), Verdict::Related { share: 0.1 });
    }

    #[test]
    fn half_the_share_of_before_and_the_largest_one_are_still_tolerated() {
        for (answers, number) in [(400, 20), (100, 40)] {
            let now = Instant::now();
            let mut trials = Trials::default();
            let (_, tried) = descend(&mut trials, now);
            let verdict = trials.judge(now, tried, refused(answers, number));
            assert_eq!(verdict, Verdict::Unrelated { last_max_rate: 9_000.0 }, "{number} of {answers}");
        }
    }

    #[test]
    fn an_account_that_refuses_everything_meanwhile_is_short() {
        let now = Instant::now();
        let mut trials = Trials::default();
        let (_, tried) = descend(&mut trials, now);
        assert_eq!(trials.judge(now, tried, refused(200, 200)), Verdict::Set { fill_rate: tried });
    }

    #[test]
    fn what_is_tolerated_is_forgotten_when_nothing_is_refused_any_more() {
        let mut trials = Trials { tolerated: 0.1, ..Trials::default() };
        let now = Instant::now();
        let mut share_of = |number| trials.judge(now, 9_000.0, refused(100, number));
        assert_eq!(share_of(10), Verdict::Related { share: 0.0 });
        assert_eq!(share_of(0), Verdict::Related { share: 0.0 });
        assert_eq!(share_of(10), Verdict::Related { share: 0.1 });
    }
}

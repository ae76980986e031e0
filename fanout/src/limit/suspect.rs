//! Judgement of refusals: whether the account has no rate left for anybody, or one connection's client is slow or gets
//! too many posts. API Gateway answers 429 to both.

use std::collections::VecDeque;

use tokio::time::Instant;

/// The number of first attempts that are remembered, and of second attempts.
const REMEMBERED: usize = 16;

/// The number of refused ones among the remembered first attempts from which on it is the account's fault: so many
/// connections are not slow at the same time.
const CROWD: usize = 8;

/// The number of passed first attempts for each refused one from which on a refused connection is slow itself.
const OTHERS: usize = 4;

/// The results of the latest first and second attempts.
///
/// A slow connection's second attempt is refused too, whereas an account that is a little short refuses somebody else
/// the next time. So a refused first attempt counts against the account by the share of second attempts that pass.
#[derive(Debug)]
pub(super) struct Suspect {
    first_attempts: VecDeque<Attempt>,
    /// Whether each of the latest second attempts was refused.
    second_attempts: VecDeque<bool>,
    /// The sum of the parts of refusals that count against the account; each whole one is reported.
    suspicion: f64,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    started: Instant,
    is_refused: bool,
}

/// The meaning of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// The account takes posts.
    AccountTakes,
    /// The account refuses posts.
    AccountRefuses,
    /// Nothing about the account.
    Nothing,
}

impl Suspect {
    pub(super) fn new() -> Self {
        Self {
            first_attempts: VecDeque::with_capacity(REMEMBERED + 1),
            second_attempts: VecDeque::with_capacity(REMEMBERED + 1),
            suspicion: 0.0,
        }
    }

    /// Judges the answer to attempt number `attempt` (the first is 1) of a post that started at a moment.
    pub(super) fn judge(&mut self, started: Instant, attempt: u32, is_refused: bool) -> Says {
        let is_crowd = self.refused_first_attempts() >= CROWD;
        if attempt == 2 {
            remember(&mut self.second_attempts, is_refused);
        }
        if attempt > 1 && !is_crowd {
            return Says::Nothing;
        }
        remember(&mut self.first_attempts, Attempt { started, is_refused });
        if !is_refused {
            return Says::AccountTakes;
        }
        self.suspicion += if is_crowd { 1.0 } else { self.share_of_second_attempts_that_pass() };
        if self.suspicion < 1.0 {
            return Says::Nothing;
        }
        self.suspicion -= 1.0;
        Says::AccountRefuses
    }

    /// Whether a connection that was refused ever since a moment is slow itself: enough posts that started since then
    /// have passed. Its own refused attempt is among those remembered.
    pub(super) fn is_slow_connection(&self, refused_since: Instant) -> bool {
        let since = self.first_attempts.iter().filter(|attempt| attempt.started >= refused_since);
        let (refused, passed): (Vec<&Attempt>, Vec<&Attempt>) = since.partition(|attempt| attempt.is_refused);
        passed.len() >= OTHERS * refused.len().max(1)
    }

    fn refused_first_attempts(&self) -> usize {
        self.first_attempts.iter().filter(|attempt| attempt.is_refused).count()
    }

    /// Attempts that were not made yet count as passed: a new environment does not suspect connections.
    #[expect(clippy::cast_precision_loss, reason = "16 at most")]
    fn share_of_second_attempts_that_pass(&self) -> f64 {
        let refused = self.second_attempts.iter().filter(|is_refused| **is_refused).count();
        1.0 - refused as f64 / REMEMBERED as f64
    }
}

fn remember<T>(latest: &mut VecDeque<T>, one: T) {
    if latest.len() == REMEMBERED {
        latest.pop_front();
    }
    latest.push_back(one);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Judges attempts made one after another; returns how many were taken for the account's refusals.
    fn accusations(suspect: &mut Suspect, attempts: impl IntoIterator<Item = (u32, bool)>) -> usize {
        let judge = |(attempt, is_refused)| suspect.judge(Instant::now(), attempt, is_refused);
        attempts.into_iter().map(judge).filter(|says| *says == Says::AccountRefuses).count()
    }

    #[test]
    fn refusals_whose_retries_pass_are_the_accounts() {
        let attempts = (0..200).flat_map(|number| match number % 10 {
            0 => vec![(1, true), (2, false)],
            _ => vec![(1, false)],
        });
        assert!(accusations(&mut Suspect::new(), attempts) >= 19);
    }

    #[test]
    fn refusals_whose_retries_are_refused_are_one_connections() {
        let attempts = (0..1_000).flat_map(|number| match number % 10 {
            0 => vec![(1, true), (2, true), (3, true), (4, true)],
            _ => vec![(1, false)],
        });
        // The first few count against the account, until second attempts have been seen.
        assert!(accusations(&mut Suspect::new(), attempts) <= 8);
    }

    #[test]
    fn many_refused_first_attempts_are_the_accounts_at_once() {
        assert!(accusations(&mut Suspect::new(), vec![(1, true); 30]) >= 28);
    }

    #[test]
    fn a_connection_is_slow_only_when_others_passed_after_it_was_refused() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut suspect = Suspect::new();
        for millis in 0..10 {
            suspect.judge(at(millis), 1, false);
        }
        suspect.judge(at(10), 1, true);
        assert!(!suspect.is_slow_connection(at(10)), "what passed before says nothing");
        suspect.judge(at(11), 1, false);
        suspect.judge(at(12), 1, true);
        for millis in 13..16 {
            suspect.judge(at(millis), 1, false);
        }
        assert!(!suspect.is_slow_connection(at(10)), "others are refused as well");
        for millis in 16..22 {
            suspect.judge(at(millis), 1, false);
        }
        assert!(suspect.is_slow_connection(at(10)));
    }
}

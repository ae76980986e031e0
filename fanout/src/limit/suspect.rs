//! Whose fault a refusal is: the account's, which has no rate left for anybody, or one connection's, whose client is
//! slow or is sent to too often. API Gateway answers 429 to both.

use std::collections::VecDeque;

use tokio::time::Instant;

/// First and second attempts that are remembered, each.
const REMEMBERED: usize = 16;

/// Of the remembered first attempts, those refused from which on it is the account: so many connections are not slow at
/// the same time.
const CROWD: usize = 8;

/// First attempts that passed, for each one refused, from which on a connection that was refused is itself slow.
const OTHERS: usize = 4;

/// What became of the latest first and second attempts.
///
/// A slow connection is refused again when it is tried again. An account that is a little short refuses somebody else
/// the next time. So a refused first attempt counts against the account by the share of second attempts that pass.
#[derive(Debug)]
pub(super) struct Suspect {
    first_attempts: VecDeque<Attempt>,
    /// Of the latest second attempts, whether each was refused.
    second_attempts: VecDeque<bool>,
    /// Parts of refusals that are the account's, until they make a whole one.
    suspicion: f64,
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    started: Instant,
    is_refused: bool,
}

/// What an answer says.
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

    /// Judges the answer to an attempt (the first is 1) of a post that started at a moment.
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

    /// Whether a connection that was refused since a moment is slow itself: enough posts that were started since then
    /// have passed. Its own refused attempt is among those remembered.
    pub(super) fn is_slow_connection(&self, refused_since: Instant) -> bool {
        let since = self.first_attempts.iter().filter(|attempt| attempt.started >= refused_since);
        let (refused, passed): (Vec<&Attempt>, Vec<&Attempt>) = since.partition(|attempt| attempt.is_refused);
        passed.len() >= OTHERS * refused.len().max(1)
    }

    fn refused_first_attempts(&self) -> usize {
        self.first_attempts.iter().filter(|attempt| attempt.is_refused).count()
    }

    /// Attempts not yet made count as passing: a cold environment believes in clients.
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

    /// Judges attempts made one after another; says how many told of an account that refuses.
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
        // The first few, until it is known what becomes of second attempts.
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

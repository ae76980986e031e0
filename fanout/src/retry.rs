//! Retrying: when, and how often.

use std::{cell::Cell, time::Duration};

/// The longest wait before the second attempt; doubled for each further one.
const BASE: Duration = Duration::from_millis(50);

/// The longest wait, and the longest `Retry-After` that is honoured: a connection that needs more time than this is
/// better off with what its client recovers from the log.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long to wait before attempt number `attempt` + 1: "full jitter", so that retries do not come in waves. `None`
/// when the server asks for more patience than there is.
#[must_use]
pub fn backoff(attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
    let ceiling = BASE.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(LONGEST_WAIT);
    let jittered = ceiling.mul_f64(fastrand::f64());
    match retry_after {
        Some(wait) if wait > LONGEST_WAIT => None,
        Some(wait) => Some(wait + jittered),
        None => Some(jittered),
    }
}

/// Retries of failed posts, as a share of all posts: when everything fails, trying everything again only doubles the
/// load on what is failing. Throttled posts do not draw on it; for them the rate is lowered.
#[derive(Debug)]
pub struct RetryBudget {
    balance: Cell<f64>,
}

/// What a post adds to the budget.
const SHARE: f64 = 0.2;

/// What the budget holds at the most, and at first: failures that come together, in one moment, are all tried again.
const RESERVE: f64 = 256.0;

impl RetryBudget {
    /// Counts a post.
    pub fn deposit(&self) {
        self.balance.set((self.balance.get() + SHARE).min(RESERVE));
    }

    /// Takes a retry, if there is one left.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        let left = self.balance.get() - 1.0;
        if left < 0.0 {
            return false;
        }
        self.balance.set(left);
        true
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { balance: Cell::new(RESERVE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_below_their_ceilings() {
        for attempt in 1..=10 {
            let ceiling = Duration::from_millis(50 << (attempt - 1)).min(LONGEST_WAIT);
            assert!((0..100).all(|_| backoff(attempt, None).is_some_and(|wait| wait <= ceiling)));
        }
    }

    #[test]
    fn retry_after_is_honoured_within_reason() {
        let wait = Duration::from_secs(1);
        assert!(backoff(1, Some(wait)).is_some_and(|total| total >= wait));
        assert_eq!(backoff(1, Some(Duration::from_secs(60))), None);
    }

    #[test]
    fn when_everything_fails_a_fifth_is_tried_again() {
        let budget = RetryBudget::default();
        let retries = (0..10_000).filter(|_| {
            budget.deposit();
            budget.withdraw()
        });
        assert!((2_000..=2_260).contains(&retries.count()));
    }
}

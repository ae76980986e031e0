//! The share of posts that may be retries.

use std::cell::Cell;

/// The part of a retry that each post adds to the budget.
const SHARE: f64 = 0.2;

/// The most retries that the budget holds. It holds as many at first, so that a burst of failures can all be tried
/// again.
const RESERVE: f64 = 256.0;

/// Limits the retries of failed posts to a share of all posts: when everything fails, trying it all again would only
/// double the load on what is failing. Posts answered 429 do not draw on it; for them the rate is lowered.
#[derive(Debug)]
pub struct RetryBudget {
    balance: Cell<f64>,
}

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
    fn when_everything_fails_a_fifth_is_tried_again() {
        let budget = RetryBudget::default();
        let retries = (0..10_000).filter(|_| {
            budget.deposit();
            budget.withdraw()
        });
        assert!((2_000..=2_260).contains(&retries.count()));
    }
}

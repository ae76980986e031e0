//! The wait before a retry.

use std::time::Duration;

/// The longest `Retry-After` that is honoured. A connection that needs more time is better off with what its client
/// recovers from the log: an invocation has other rooms to serve.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(10);

/// Exponential backoff with full jitter: before attempt `n + 1`, a random part of `base * 2^(n - 1)`, never more than
/// `cap`. The jitter keeps retries from coming in waves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// The backoff of posts: 50 ms, doubled up to 2 s.
    pub const POSTS: Self = Self::new(Duration::from_millis(50), Duration::from_secs(2));

    /// A backoff that waits up to `base` before the second attempt, twice as long before each further one, and never
    /// longer than `cap`.
    #[must_use]
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The wait after attempt number `attempt` (the first is 1) has failed.
    #[must_use]
    pub fn wait(&self, attempt: u32) -> Duration {
        self.ceiling(attempt).mul_f64(fastrand::f64())
    }

    /// The wait after attempt number `attempt` was answered 429: at least what `Retry-After` asks for, with the jitter
    /// on top. `None` means giving up, since the server asks for more than [`LONGEST_RETRY_AFTER`].
    #[must_use]
    pub fn wait_at_least(&self, attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
        let least = retry_after.unwrap_or_default();
        (least <= LONGEST_RETRY_AFTER).then(|| least + self.wait(attempt))
    }

    fn ceiling(&self, attempt: u32) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        self.base.saturating_mul(1 << doublings).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_stay_below_their_cap() {
        let ceilings: Vec<u128> = (1..=8).map(|attempt| Backoff::POSTS.ceiling(attempt).as_millis()).collect();
        assert_eq!(ceilings, [50, 100, 200, 400, 800, 1_600, 2_000, 2_000]);
        assert_eq!(Backoff::POSTS.ceiling(u32::MAX), Duration::from_secs(2));
    }

    #[test]
    fn the_whole_range_below_the_ceiling_is_used() {
        fastrand::seed(1);
        let waits: Vec<Duration> = (0..1_000).map(|_| Backoff::POSTS.wait(2)).collect();
        assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(100)));
        assert!(waits.iter().any(|wait| *wait < Duration::from_millis(10)));
        assert!(waits.iter().any(|wait| *wait > Duration::from_millis(90)));
    }

    #[test]
    fn retry_after_is_honoured_up_to_ten_seconds() {
        let wait = |seconds| Backoff::POSTS.wait_at_least(1, Some(Duration::from_secs(seconds)));
        assert!(wait(3).is_some_and(|wait| wait >= Duration::from_secs(3)));
        assert!(wait(10).is_some_and(|wait| wait >= Duration::from_secs(10)));
        assert_eq!(wait(11), None);
        assert!(Backoff::POSTS.wait_at_least(1, None).is_some_and(|wait| wait <= Duration::from_millis(50)));
    }
}

//! The waits between attempts.

use std::time::Duration;

use tokio::time::sleep;

/// Exponential backoff with full jitter: the wait is anywhere between nothing and a ceiling that doubles with each
/// attempt. With full jitter those who were refused together do not come back together ("Exponential Backoff And
/// Jitter", AWS Architecture Blog).
///
/// With `base` 50 ms and `cap` 300 ms the ceilings are 50, 100, 200, 300, 300, ... ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The ceiling of the first wait.
    pub base: Duration,
    /// The largest ceiling.
    pub cap: Duration,
}

impl Backoff {
    /// The wait after the failed attempt with this number, counted from 0.
    #[must_use]
    pub fn delay(self, attempt: u32) -> Duration {
        self.ceiling(attempt).mul_f64(fastrand::f64())
    }

    /// Makes a call, and makes it again after these waits as long as `again` says so of its outcome, `attempts` times
    /// at the most. Returns the last outcome.
    pub async fn repeat<T>(self, attempts: u32, call: impl AsyncFn() -> T, again: impl Fn(&T) -> bool) -> T {
        let mut attempt = 0;
        loop {
            // Boxed, since calls of the SDK are large, and this is part of many futures.
            let outcome = Box::pin(call()).await;
            if attempt + 1 >= attempts || !again(&outcome) {
                return outcome;
            }
            sleep(self.delay(attempt)).await;
            attempt += 1;
        }
    }

    fn ceiling(self, attempt: u32) -> Duration {
        let factor = 2_u32.checked_pow(attempt).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::time::Instant;

    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(300) };

    #[test]
    fn ceilings_double_up_to_the_cap() {
        let ceilings: Vec<_> = (0..5).map(|attempt| BACKOFF.ceiling(attempt).as_millis()).collect();
        assert_eq!(ceilings, [50, 100, 200, 300, 300]);
        assert_eq!(BACKOFF.ceiling(u32::MAX), BACKOFF.cap);
        let long = Backoff { base: Duration::MAX, cap: Duration::from_secs(1) };
        assert_eq!(long.ceiling(40), long.cap);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_made_until_it_succeeds_and_only_so_often() {
        let calls = Cell::new(0);
        let call = async || {
            calls.set(calls.get() + 1);
            calls.get()
        };
        assert_eq!(BACKOFF.repeat(5, call, |outcome| *outcome < 3).await, 3);
        assert_eq!(BACKOFF.repeat(5, call, |_| true).await, 8, "five more");
        assert_eq!(BACKOFF.repeat(5, call, |_| false).await, 9);
        assert_eq!(BACKOFF.repeat(0, call, |_| true).await, 10, "once at the least");
    }

    #[tokio::test(start_paused = true)]
    async fn the_waits_between_the_calls_grow() {
        fastrand::seed(7);
        let calls = RefCell::new(Vec::new());
        BACKOFF.repeat(4, async || calls.borrow_mut().push(Instant::now()), |()| true).await;
        fastrand::seed(7);
        let waits = [0, 1, 2].map(|attempt| BACKOFF.delay(attempt));
        let calls = calls.take();
        for (wait, two) in waits.iter().zip(calls.windows(2)) {
            // The timer's steps are milliseconds.
            let waited = two[1] - two[0];
            assert!(waited >= *wait && waited <= *wait + Duration::from_millis(2), "{waited:?}, not {wait:?}");
        }
        assert_eq!(calls.len(), 4);
    }

    #[test]
    fn waits_are_spread_from_nothing_to_the_ceiling() {
        fastrand::seed(7);
        let mut quarters = [0; 4];
        for _ in 0..4_000 {
            let wait = BACKOFF.delay(1);
            assert!(wait <= Duration::from_millis(100));
            quarters[usize::try_from(wait.as_micros() / 25_000).unwrap().min(3)] += 1;
        }
        assert!(quarters.iter().all(|count| (800..1_200).contains(count)), "{quarters:?}");
    }
}

//! The token bucket that AWS throttles with.

use std::time::{Duration, Instant};

/// `burst` tokens at the start, refilled at `rate` a second up to `burst`; a request takes one or is refused.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    refilled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: f64, burst: f64, now: Instant) -> Self {
        Self { rate, burst, tokens: burst, refilled: now }
    }

    /// An empty bucket, which is refilled from a moment on.
    pub fn empty(rate: f64, burst: f64, from: Instant) -> Self {
        Self { rate, burst, tokens: 0.0, refilled: from }
    }

    /// Takes a token, when there is one. Times before an earlier call's refill nothing.
    pub fn try_take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled);
        if elapsed > Duration::ZERO {
            self.tokens = elapsed.as_secs_f64().mul_add(self.rate, self.tokens).min(self.burst);
            self.refilled = now;
        }
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_is_available_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(100.0, 5.0, start);
        assert_eq!((0..10).filter(|_| bucket.try_take(start)).count(), 5);
        let later = start + Duration::from_millis(31);
        assert_eq!((0..10).filter(|_| bucket.try_take(later)).count(), 3);
    }

    #[test]
    fn idle_time_fills_it_no_further_than_the_burst() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1_000.0, 5.0, start);
        let later = start + Duration::from_secs(60);
        assert_eq!((0..10).filter(|_| bucket.try_take(later)).count(), 5);
    }

    #[test]
    fn small_steps_add_up() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10_000.0, 1.0, start);
        assert!(bucket.try_take(start));
        let taken = (1..=1_000).filter(|step| bucket.try_take(start + Duration::from_micros(50) * *step)).count();
        assert!((499..=500).contains(&taken), "{taken}");
    }
}

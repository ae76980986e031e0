//! A wall clock that only moves when a test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shared::clock::Clock;

/// A clock to be shared: clones show the same time, each with the offset of its own machine.
#[derive(Clone, Debug)]
pub struct TestClock {
    micros: Arc<AtomicU64>,
    error_micros: Arc<AtomicI64>,
}

impl TestClock {
    /// A clock that shows the real time and then stands still.
    pub fn start() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        Self { micros: Arc::new(AtomicU64::new(u64::try_from(now).unwrap())), error_micros: Arc::default() }
    }

    /// Lets time pass, for all clones.
    pub fn advance(&self, by: Duration) {
        self.micros.fetch_add(u64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// The clock of another machine, ahead by so many milliseconds, or behind.
    #[must_use]
    pub fn ahead_by_millis(&self, millis: i64) -> Self {
        Self { micros: Arc::clone(&self.micros), error_micros: Arc::new(AtomicI64::new(millis * 1_000)) }
    }
}

impl Clock for TestClock {
    /// A microsecond passes with every call, so that no two times are the same.
    fn unix_micros(&self) -> u64 {
        let now = self.micros.fetch_add(1, Ordering::SeqCst);
        now.saturating_add_signed(self.error_micros.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_time_but_not_the_error() {
        let clock = TestClock::start();
        let (ahead, start) = (clock.ahead_by_millis(1_500), clock.unix_seconds());
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.clone().unix_seconds(), start + 60);
        assert!((start + 61..=start + 62).contains(&ahead.unix_seconds()));
        assert!(clock.unix_micros() < clock.unix_micros());
    }
}

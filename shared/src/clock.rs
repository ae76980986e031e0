//! The wall clock behind a trait, so that tests of retention and grace periods need not wait.

use std::time::{SystemTime, UNIX_EPOCH};

/// A source of the time.
pub trait Clock {
    /// Microseconds since the Unix epoch.
    fn unix_micros(&self) -> u64;

    /// Milliseconds since the Unix epoch.
    fn unix_millis(&self) -> u64 {
        self.unix_micros() / 1_000
    }

    /// Seconds since the Unix epoch.
    fn unix_seconds(&self) -> u64 {
        self.unix_micros() / 1_000_000
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn unix_micros(&self) -> u64 {
        // A clock before 1970 reads as 1970; u64 holds the microseconds of 584,000 years.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX)
    }
}

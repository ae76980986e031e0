//! The invocation's deadline.

use std::{
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::{Instant, sleep_until, timeout_at};

/// When an invocation must stop its work, and when it must have answered.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    stop: Instant,
    answer: Instant,
}

/// The work was not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the invocation's time is up")]
pub struct TimeIsUp;

/// Time for sending the answer itself.
const ANSWER: Duration = Duration::from_millis(250);

impl Deadline {
    /// From the deadline that Lambda gives, in milliseconds since the Unix epoch. Work stops `reserve` before it.
    #[must_use]
    pub fn new(unix_millis: u64, reserve: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_millis(unix_millis).saturating_sub(now);
        let start = Instant::now();
        Self { stop: start + left.saturating_sub(reserve), answer: start + left.saturating_sub(ANSWER) }
    }

    /// Waits until the work must stop.
    pub async fn stop(self) {
        sleep_until(self.stop).await;
    }

    /// Does work, unless it is not done when work must stop.
    ///
    /// # Errors
    /// When the work was not done in time; it is dropped.
    pub async fn work<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.stop, work).await.map_err(|_| TimeIsUp)
    }

    /// Finishes up, unless that is not done when the invocation must answer.
    ///
    /// # Errors
    /// When it was not done in time; it is dropped.
    pub async fn finish<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.answer, work).await.map_err(|_| TimeIsUp)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn in_millis(millis: u64) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(now.as_millis()).unwrap() + millis
    }

    #[tokio::test(start_paused = true)]
    async fn work_stops_a_reserve_before_the_deadline_and_finishing_goes_on() {
        let start = Instant::now();
        let deadline = Deadline::new(in_millis(10_000), Duration::from_secs(2));
        assert_eq!(deadline.work(pending::<()>()).await, Err(TimeIsUp));
        // The deadline is the wall clock's, which goes on meanwhile: less time may be left, never more.
        let worked = start.elapsed();
        assert!(worked <= Duration::from_millis(8_001), "{worked:?}");
        assert_eq!(deadline.finish(async { 7 }).await, Ok(7));
        assert_eq!(deadline.finish(pending::<()>()).await, Err(TimeIsUp));
        let finishing = start.elapsed().saturating_sub(worked);
        assert!((1_749..=1_751).contains(&finishing.as_millis()), "{finishing:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_lets_nothing_start() {
        let deadline = Deadline::new(0, Duration::from_secs(2));
        assert_eq!(deadline.work(pending::<()>()).await, Err(TimeIsUp));
    }
}

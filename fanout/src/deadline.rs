//! The deadline of an invocation, and the phases before it.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep_until, timeout_at};

/// The times at which the phases of an invocation end.
///
/// ```text
/// start ....... stop ........... drained ........ finished ........... answer ... deadline
///        work         what was          progress,          visibility         the answer
///                     begun ends        deletes            of records         travels
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    work_time: Duration,
    stop: Instant,
    drained: Instant,
    finished: Instant,
    answer: Instant,
}

/// Work that was not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the invocation's time is up")]
pub struct TimeIsUp;

/// The most time that is kept for sending the answer.
const ANSWER: Duration = Duration::from_millis(250);

impl Deadline {
    /// The phases from now to the deadline that Lambda gives, both in milliseconds since the Unix epoch. Work stops
    /// `reserve` before that, but never before half of the time has passed: every invocation gets further, however long
    /// the reserve is.
    #[must_use]
    pub fn new(now: u64, deadline: u64, reserve: Duration) -> Self {
        let left = Duration::from_millis(deadline.saturating_sub(now));
        let reserve = reserve.min(left / 2);
        let answer = ANSWER.min(reserve / 4);
        let start = Instant::now();
        Self {
            work_time: left.saturating_sub(reserve),
            stop: start + left.saturating_sub(reserve),
            drained: start + left.saturating_sub(reserve / 2 + answer / 2),
            finished: start + left.saturating_sub(reserve / 4 + answer / 2),
            answer: start + left.saturating_sub(answer),
        }
    }

    /// The time for work, counted from the start.
    #[must_use]
    pub fn work_time(self) -> Duration {
        self.work_time
    }

    /// Waits until the work must stop.
    pub async fn stopped(self) {
        sleep_until(self.stop).await;
    }

    /// Runs work until it is done or must stop.
    ///
    /// # Errors
    /// When the work was not done in time; it is dropped.
    pub async fn work<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.stop, work).await.map_err(|_| TimeIsUp)
    }

    /// Runs work, beyond the time when work must stop, which then begins nothing new but ends what it has begun.
    ///
    /// # Errors
    /// When it did not end in time; it is dropped.
    pub async fn drain<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.drained, work).await.map_err(|_| TimeIsUp)
    }

    /// Runs what finishes the work up. Time is left after it for [`conclude`](Self::conclude).
    ///
    /// # Errors
    /// When it was not done in time; it is dropped.
    pub async fn finish<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.finished, work).await.map_err(|_| TimeIsUp)
    }

    /// Runs the last thing before the answer.
    ///
    /// # Errors
    /// When it was not done in time; it is dropped.
    pub async fn conclude<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.answer, work).await.map_err(|_| TimeIsUp)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// A time of the wall clock, which the phases do not look at.
    const NOW: u64 = 1_800_000_000_000;

    /// The ends of the phases, in milliseconds from the start.
    async fn phases(deadline: Deadline) -> [u128; 4] {
        let start = Instant::now();
        assert_eq!(deadline.work(pending::<()>()).await, Err(TimeIsUp));
        let stop = start.elapsed().as_millis();
        assert_eq!(deadline.drain(pending::<()>()).await, Err(TimeIsUp));
        let drained = start.elapsed().as_millis();
        assert_eq!(deadline.finish(async { 7 }).await, Ok(7));
        assert_eq!(deadline.finish(pending::<()>()).await, Err(TimeIsUp));
        let finished = start.elapsed().as_millis();
        assert_eq!(deadline.conclude(async { 7 }).await, Ok(7));
        assert_eq!(deadline.conclude(pending::<()>()).await, Err(TimeIsUp));
        [stop, drained, finished, start.elapsed().as_millis()]
    }

    #[tokio::test(start_paused = true)]
    async fn work_stops_a_reserve_before_the_deadline_and_finishing_goes_on() {
        let deadline = Deadline::new(NOW, NOW + 30_000, Duration::from_secs(4));
        assert_eq!(phases(deadline).await, [26_000, 27_875, 28_875, 29_750]);
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_time_is_for_work_whatever_the_reserve() {
        let deadline = Deadline::new(NOW, NOW + 20_000, Duration::from_secs(60));
        assert_eq!(phases(deadline).await, [10_000, 14_875, 17_375, 19_750]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_lets_nothing_start() {
        let deadline = Deadline::new(NOW, NOW - 1, Duration::from_secs(2));
        assert_eq!(deadline.work(pending::<()>()).await, Err(TimeIsUp));
    }
}

//! The invocation's deadline.

use std::{
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::time::{Instant, sleep_until, timeout_at};

/// When an invocation must stop its work, and when it must have answered.
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

/// The work was not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the invocation's time is up")]
pub struct TimeIsUp;

/// Time for sending the answer itself, at the most.
const ANSWER: Duration = Duration::from_millis(250);

impl Deadline {
    /// From the deadline that Lambda gives, in milliseconds since the Unix epoch. Work stops `reserve` before it, but never
    /// before half of the time has passed: every invocation gets further, however long the reserve is.
    #[must_use]
    pub fn new(unix_millis: u64, reserve: Duration) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = Duration::from_millis(unix_millis).saturating_sub(now);
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

    /// Time for work, from the start on.
    #[must_use]
    pub fn work_time(self) -> Duration {
        self.work_time
    }

    /// Waits until the work must stop.
    pub async fn stopped(self) {
        sleep_until(self.stop).await;
    }

    /// Does work, unless it is not done when work must stop.
    ///
    /// # Errors
    /// When the work was not done in time; it is dropped.
    pub async fn work<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.stop, work).await.map_err(|_| TimeIsUp)
    }

    /// Lets work end that begins nothing new once it must stop.
    ///
    /// # Errors
    /// When it did not end in time; it is dropped.
    pub async fn drain<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.drained, work).await.map_err(|_| TimeIsUp)
    }

    /// Finishes up, in a time that leaves some for the last thing.
    ///
    /// # Errors
    /// When it was not done in time; it is dropped.
    pub async fn finish<F: Future>(self, work: F) -> Result<F::Output, TimeIsUp> {
        timeout_at(self.finished, work).await.map_err(|_| TimeIsUp)
    }

    /// Does the last thing, unless it is not done when the invocation must answer.
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

    fn in_millis(millis: u64) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(now.as_millis()).unwrap() + millis
    }

    /// How long the phases last, in milliseconds; the wall clock, from which they are counted, goes on by a few.
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

    fn assert_about(measured: [u128; 4], expected: [u128; 4]) {
        let is_about = |(measured, expected): (u128, u128)| measured <= expected + 2 && measured + 1_000 >= expected;
        assert!(measured.into_iter().zip(expected).all(is_about), "{measured:?} is not about {expected:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn work_stops_a_reserve_before_the_deadline_and_finishing_goes_on() {
        let measured = phases(Deadline::new(in_millis(30_000), Duration::from_secs(4))).await;
        assert_about(measured, [26_000, 27_875, 28_875, 29_750]);
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_time_is_for_work_whatever_the_reserve() {
        let measured = phases(Deadline::new(in_millis(20_000), Duration::from_secs(60))).await;
        assert_about(measured, [10_000, 14_875, 17_375, 19_750]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_has_passed_lets_nothing_start() {
        let deadline = Deadline::new(0, Duration::from_secs(2));
        assert_eq!(deadline.work(pending::<()>()).await, Err(TimeIsUp));
    }
}

//! The invocation's deadline.

use std::{
    future::Future,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lambda_runtime::Context;
use tokio::time::{Instant, timeout_at};

use crate::response::RouteError;

/// Time that is kept for the answer itself. A function that runs into its deadline answers nothing, and API Gateway
/// then sends an error that does not say which request it is about.
const ANSWER: Duration = Duration::from_secs(1);

/// The time at which an invocation must be done with its work.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A second before Lambda ends the invocation.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(Instant::now() + time_for_work(context.deadline, now))
    }

    /// Does the work of a route.
    ///
    /// # Errors
    /// When the work fails, or is not done in time; it is dropped then. A write that is under way may still be carried
    /// out.
    pub fn race<T>(
        self,
        work: impl Future<Output = Result<T, RouteError>>,
    ) -> impl Future<Output = Result<T, RouteError>> {
        // Not an `async fn`, whose future would hold the work itself, tens of kilobytes, beside its box.
        let working = self.in_time(work);
        async move { working.await.unwrap_or(Err(RouteError::TimeIsUp)) }
    }

    /// The outcome of work, or `None` if it is not done in time; it is dropped then. A call that is under way may still
    /// be carried out.
    pub fn in_time<T>(self, work: impl Future<Output = T>) -> impl Future<Output = Option<T>> {
        // Boxed: the SDK's futures are nested as deeply as the compiler allows.
        let work = Box::pin(work);
        async move { timeout_at(self.0, work).await.ok() }
    }
}

/// The time until a deadline in milliseconds since the Unix epoch, less the time for the answer.
fn time_for_work(deadline: u64, now: Duration) -> Duration {
    Duration::from_millis(deadline).saturating_sub(now).saturating_sub(ANSWER)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn a_second_is_kept_for_the_answer() {
        let now = Duration::from_secs(1_800_000_000);
        assert_eq!(time_for_work(1_800_000_010_000, now), Duration::from_secs(9));
        for deadline in [0, 1_799_999_999_000, 1_800_000_000_999] {
            assert_eq!(time_for_work(deadline, now), Duration::ZERO);
        }
    }

    #[tokio::test]
    async fn what_is_not_done_in_time_is_given_up() {
        let deadline = Deadline::of(&Context::default());
        assert!(deadline.race(ready(Ok(1))).await.is_ok());
        assert!(matches!(deadline.race(pending::<Result<(), _>>()).await, Err(RouteError::TimeIsUp)));
    }
}

//! The `sweeper` function: a part of the sweep at each call of its schedule. Each call goes on where the one before it
//! ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lambda_runtime::LambdaEvent;
use serde::de::IgnoredAny;
use shared::{
    clock::Clock,
    metrics::{
        Metrics,
        names::{EXAMINED, SWEPT},
    },
    queue::Queue,
    store::{StoreError, sweep::SweepPosition},
};

use crate::{
    presence::tick::Ticks,
    sweep::{Sweep, SweepError, Swept},
};

/// The time that must be left of an invocation when a page begins, besides the time for the page's calls: the retries
/// of a throttled call or two take some ten seconds.
const RESERVE: Duration = Duration::from_secs(16);

/// The reason why a call of the schedule failed.
#[derive(Debug, thiserror::Error)]
pub enum SweeperError {
    /// The sweep could not go on; the next call tries from the same row.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// The position could not be read or noted.
    #[error(transparent)]
    Position(#[from] StoreError),
}

/// The function's state.
#[derive(Debug)]
pub struct SweeperFunction<C, F, Q> {
    position: SweepPosition<C>,
    new_sweep: F,
    ticks: Ticks<C, Q>,
}

impl<C: Clock, F: Fn() -> Sweep<C>, Q: Queue> SweeperFunction<C, F, Q> {
    /// A function that keeps its position in `position`. Each call has a sweep of its own, which remembers nothing of
    /// the one before.
    pub fn new(position: SweepPosition<C>, new_sweep: F, ticks: Ticks<C, Q>) -> Self {
        Self { position, new_sweep, ticks }
    }

    /// Sweeps until the end of the table, or until the time is nearly up. What the event says does not matter.
    ///
    /// # Errors
    /// When it could not go on. What was done stays done, and the position is noted after each page.
    pub async fn handle(&self, event: LambdaEvent<IgnoredAny>, metrics: &Metrics) -> Result<Swept, SweeperError> {
        let ends_at = UNIX_EPOCH + Duration::from_millis(event.context.deadline);
        let (mut sweep, mut swept) = ((self.new_sweep)(), Swept::default());
        let mut position = self.position.load().await?;
        loop {
            let page = sweep.page(position.as_ref()).await;
            self.ticks.send(sweep.take_to_look_at(), metrics).await;
            let (page, next) = page?;
            swept.add(page);
            metrics.add(EXAMINED, page.examined as u64);
            metrics.add(SWEPT, page.deleted() as u64);
            self.position.save(next.as_ref()).await?;
            position = next;
            let left = ends_at.duration_since(SystemTime::now()).unwrap_or_default();
            if position.is_none() || left < sweep.longest_page() + RESERVE {
                let Swept { examined, gone, expired, renewed, young, unknown, calls } = swept;
                let is_complete = position.is_none();
                tracing::info!(examined, gone, expired, renewed, young, unknown, calls, is_complete, "swept");
                return Ok(swept);
            }
        }
    }
}

//! The handler of `presence`: it serves a batch of ticks, and says which of them must stay in the queue.

use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures::{StreamExt, stream};
use lambda_runtime::LambdaEvent;
use shared::{
    clock::{Clock, SystemClock},
    metrics::{
        Metrics,
        names::{RETURNED, TICKS_HIDDEN},
    },
    queue::{Hold, NotARecord, Queue, give_back},
};
use tokio::time::timeout;

use super::{
    environment::PresenceFunction,
    events::Bus,
    publish::Left,
    ticks::{self, RoomTicks, Tick},
};
use crate::deadline::Deadline;

/// Rooms of a batch that are served at the same time: each holds a page of its members in memory. A room that takes
/// long holds only one of these places.
const ROOMS_AT_ONCE: usize = 5;

/// The time for hiding a room's ticks after the invocation's time was up: half of what is kept for the answer.
const HIDE: Duration = Duration::from_millis(500);

/// The longest time for which ticks are hidden at once, in milliseconds: the longest time between two publications.
const LONGEST_HIDE: u64 = 900_000;

impl<Q: Queue, B: Bus, C: Clock> PresenceFunction<Q, B, C> {
    /// Serves one batch, several rooms at the same time, so that a slow one does not keep the others waiting. Says
    /// which ticks must stay in the queue: each room's ticks from the first one on that is not done.
    ///
    /// # Errors
    /// When the event is none of a queue's: the function is wired wrongly.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
        metrics: &Metrics,
    ) -> Result<SqsBatchResponse, NotARecord> {
        let deadline = Deadline::of(&event.context);
        let hold = Hold::new(SystemClock.unix_millis(), event.context.deadline);
        let rooms = ticks::read(event.payload.records)?;
        let left: Vec<&[Tick]> = stream::iter(&rooms)
            .map(async |room| &room.ticks[self.serve_in_time(room, hold, deadline, metrics).await..])
            .buffer_unordered(ROOMS_AT_ONCE)
            .collect()
            .await;
        let response = give_back(left.into_iter().flatten().map(|tick| tick.id.clone()));
        metrics.add(RETURNED, response.batch_item_failures.len() as u64);
        Ok(response)
    }

    /// As [`Self::serve_room`], within the invocation's time. If that is up, none of the room's ticks counts as done,
    /// as if the environment had been killed; but they need not wait for the visibility timeout.
    async fn serve_in_time(&self, room: &RoomTicks, hold: Hold, deadline: Deadline, metrics: &Metrics) -> usize {
        if let Some(first) = deadline.in_time(self.serve_room(room, hold, metrics)).await {
            return first;
        }
        let wait = wait_after_failure(room, 0);
        tracing::warn!(room = %room.room, wait_seconds = wait, "the time was up before a room's presence was published");
        // The result does not matter, but the answer must not be late.
        let _ = timeout(HIDE, self.hide(room, 0, wait)).await;
        0
    }

    /// Serves a room's ticks; says how many of them are done. The others are hidden until there is something to do for
    /// them.
    async fn serve_room(&self, room: &RoomTicks, hold: Hold, metrics: &Metrics) -> usize {
        let receipts = room.ticks.iter().map(|tick| &tick.receipt);
        if let Err(error) = hold.of(&self.ticks, receipts).await {
            tracing::warn!(room = %room.room, %error, "another consumer may have a room's ticks");
            self.hide(room, 0, wait_after_failure(room, 0)).await;
            return 0;
        }
        match self.publish(room, metrics).await {
            Ok(Left::Nothing) => room.ticks.len(),
            Ok(Left::Hidden { first, until }) => {
                let millis = until.saturating_sub(self.clock.unix_millis()).min(LONGEST_HIDE);
                let seconds = u32::try_from(millis.div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
                metrics.add(TICKS_HIDDEN, room.ticks[first..].len() as u64);
                self.hide(room, first, seconds).await;
                first
            }
            Err((first, error)) => {
                let wait = wait_after_failure(room, first);
                tracing::error!(room = %room.room, wait_seconds = wait, %error, "a room's ticks stay in the queue");
                self.hide(room, first, wait).await;
                first
            }
        }
    }

    /// Hides ticks for so many seconds. One that cannot be hidden comes back when its visibility timeout is over.
    async fn hide(&self, room: &RoomTicks, first: usize, seconds: u32) {
        let handles: Vec<String> = room.ticks[first..].iter().map(|tick| tick.receipt.handle.clone()).collect();
        for error in self.ticks.postpone(&handles, seconds).await.into_iter().filter_map(Result::err) {
            tracing::warn!(room = %room.room, %error, "a tick comes back after its visibility timeout");
        }
    }
}

/// For how many seconds a room's ticks are hidden after the one at this place has failed.
fn wait_after_failure(room: &RoomTicks, first: usize) -> u32 {
    room.ticks.get(first).map_or(1, |tick| tick.receipt.wait_after_failure())
}

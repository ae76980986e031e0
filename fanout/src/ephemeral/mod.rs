//! Ephemeral messages: from a batch of their queue to posts. They are delivered at most once, rarely twice, and never
//! delay what is logged.
//!
//! Their function has environments, a rate and a limiter of its own. Where broadcasts would wait, ephemeral messages
//! give way:
//!
//! | when | the message is |
//! |---|---|
//! | it is older than [`newest::STALE_AFTER`], or becomes so before it is posted | dropped |
//! | its sender has a newer one with the same key | dropped |
//! | its room's frame is full | dropped |
//! | its room is large, which is where a frame costs most | dropped |
//! | the [allowance] does not pay for its frame | dropped |
//! | the account refuses posts, as [`refusals`] remembers | dropped |
//!
//! The remaining messages of a room go out in one frame, with one post for each connection. Nothing is written to any
//! table: the row of a connection that is gone stays.
//!
//! Rejected: the room's FIFO group. There an ephemeral message would take one of the ten places in a batch and hold the
//! group while it is posted, for little gain, since outside of hot rooms hardly a frame would be shared with logged
//! messages. Rejected as well: the rate limiter of broadcasts, where ephemeral messages and broadcasts would wait for
//! each other.

pub mod allowance;
pub mod config;
pub mod dropped;
pub mod newest;
pub mod post;
pub mod refusals;

use std::{cell::Cell, convert::Infallible, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures::{StreamExt, stream};
use lambda_runtime::LambdaEvent;
use shared::{
    ConnectionId, RoomId,
    clock::{Clock, SystemClock},
    metrics::{Metrics, names::EPHEMERALS_POSTED},
    store::{
        StoreError,
        connections::{ALL_SLOTS, ConnectionTable},
        room_size,
    },
};

use self::{
    dropped::Dropped,
    post::{Frame, Poster},
};
use crate::{broadcast::members::Members, connections_api::ConnectionsApi, deadline::Deadline};

/// Rooms that are served side by side, so that some are posted to while others are read.
const ROOMS_AT_ONCE: usize = 16;

/// The state of an environment.
#[derive(Debug)]
pub struct EphemeralFunction<A, C> {
    /// The connection table.
    pub connections: ConnectionTable<C>,
    /// Rooms with more connections get no ephemeral messages.
    pub most_members: u64,
    /// Posts to connections.
    pub poster: Poster<A, C>,
    /// The time.
    pub clock: C,
    /// Time kept before an invocation's deadline.
    pub deadline_reserve: Duration,
}

impl<A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> EphemeralFunction<A, C> {
    /// Serves one batch, its rooms in random order: otherwise it would always be the same rooms that the allowance does
    /// not reach. No record goes back to the queue, whatever became of it.
    ///
    /// # Errors
    /// Never.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
        metrics: &Metrics,
    ) -> Result<SqsBatchResponse, Infallible> {
        // Lambda's deadline is one of its own clock.
        let deadline = Deadline::new(SystemClock.unix_millis(), event.context.deadline, self.deadline_reserve);
        let mut rooms = newest::by_room(event.payload.records, self.clock.unix_millis(), metrics);
        fastrand::shuffle(&mut rooms);
        let left = Cell::new(rooms.iter().map(|room| room.messages.len() as u64).sum());
        let count = |counter, messages| {
            metrics.add(counter, messages);
            left.set(left.get() - messages);
        };
        let serving = stream::iter(rooms).for_each_concurrent(ROOMS_AT_ONCE, |room| async move {
            let frame = Frame::of(&room);
            count(Dropped::Full.counter(), room.messages.len() as u64 - frame.messages);
            let counter = match self.post(&room.room, &frame, metrics).await {
                Ok(()) => EPHEMERALS_POSTED,
                Err(cause) => {
                    tracing::debug!(room = %room.room, messages = frame.messages, ?cause, "ephemeral messages dropped");
                    cause.counter()
                }
            };
            count(counter, frame.messages);
        });
        if deadline.work(serving).await.is_err() {
            tracing::warn!(
                messages = left.get(),
                "the invocation's time was up before all ephemeral messages were posted"
            );
            count(Dropped::Old.counter(), left.get());
        }
        Ok(SqsBatchResponse::default())
    }

    async fn post(&self, room: &RoomId, frame: &Frame, metrics: &Metrics) -> Result<(), Dropped> {
        // The room is not read when its frame would be dropped anyway.
        self.poster.may_post()?;
        let connections = self.read(room).await.map_err(|error| {
            tracing::warn!(%room, %error, "a room was not read for its ephemeral messages");
            Dropped::Failed
        })?;
        self.poster.post(frame, &connections.ok_or(Dropped::Large)?, metrics).await
    }

    /// The room's connections whose rows have not expired: those may be of ended tokens. `None` when the first page
    /// shows that there are too many.
    async fn read(&self, room: &RoomId) -> Result<Option<Vec<ConnectionId>>, StoreError> {
        let mut members = Members::open(&self.connections, room, ALL_SLOTS).await?;
        if room_size::estimate(members.page(), members.is_last_page()) > self.most_members {
            return Ok(None);
        }
        let mut connections = Vec::new();
        let now = self.clock.unix_seconds();
        while let Some(member) = members.next().await? {
            if member.expires_at > now {
                connections.push(member.connection);
            }
        }
        Ok(Some(connections))
    }
}

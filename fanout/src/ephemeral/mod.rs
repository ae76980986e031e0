//! Ephemeral messages: from a batch of their queue to posts. At most once, now and then twice, and never in the way of what is
//! logged.
//!
//! They have an environment, a rate and a limiter of their own, which gives way instead of waiting:
//!
//! | what | becomes of the message |
//! |---|---|
//! | it is older than [`newest::OLDEST`], or is so before it is posted | dropped |
//! | its sender has a newer one with the same key | dropped |
//! | its room's frame is full | dropped |
//! | its room is large, which is where a frame costs most | dropped |
//! | the [allowance] does not pay for its frame | dropped |
//! | the account refuses posts, as [`refusals`] remembers | dropped |
//!
//! What is left of a room goes out as one frame, one post a connection. A row of a connection that is gone stays: nothing is
//! written anywhere.
//!
//! Rejected: the room's FIFO group. There an ephemeral message would take one of the ten places of a batch, and hold the group
//! while it is posted; and it would have little to ride on, since outside of hot rooms hardly a frame has company. Rejected as
//! well: the rate limiter of broadcasts, in which it would wait for a turn, and other posts for its own.

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
    clock::Clock,
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

/// Rooms that are served side by side: while one is read the others are posted to.
const ROOMS_AT_ONCE: usize = 16;

/// The function's state. One for each environment.
#[derive(Debug)]
pub struct EphemeralFunction<A, C> {
    /// The connection table.
    pub connections: ConnectionTable<C>,
    /// Connections above which a room gets none.
    pub most_members: u64,
    /// Posts to connections.
    pub poster: Poster<A, C>,
    /// The time.
    pub clock: C,
    /// Time kept before an invocation's deadline.
    pub deadline_reserve: Duration,
}

impl<A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> EphemeralFunction<A, C> {
    /// Serves one batch, its rooms in random order, so that none is always the one that is not paid for. Nothing of it
    /// comes back, whatever became of it.
    ///
    /// # Errors
    /// Never.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
        metrics: &Metrics,
    ) -> Result<SqsBatchResponse, Infallible> {
        let deadline = Deadline::new(event.context.deadline, self.deadline_reserve);
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
        // Else a room would be read for nothing.
        self.poster.may_post()?;
        let connections = self.read(room).await.map_err(|error| {
            tracing::warn!(%room, %error, "a room was not read for its ephemeral messages");
            Dropped::Failed
        })?;
        self.poster.post(frame, &connections.ok_or(Dropped::Large)?, metrics).await
    }

    /// The room's connections; `None` when there are too many, as the first page tells.
    async fn read(&self, room: &RoomId) -> Result<Option<Vec<ConnectionId>>, StoreError> {
        let mut members = Members::open(&self.connections, room, ALL_SLOTS).await?;
        if room_size::estimate(members.page(), members.is_last_page()) > self.most_members {
            return Ok(None);
        }
        let mut connections = Vec::new();
        while let Some(member) = members.next().await? {
            connections.push(member.connection);
        }
        Ok(Some(connections))
    }
}

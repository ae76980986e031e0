//! Posts of ephemeral messages: one attempt each, as long as the allowance and the account permit it.

use std::cell::RefCell;

use futures::{StreamExt, stream};
use shared::{
    ConnectionId,
    clock::Clock,
    frame::ephemeral,
    limits::FRAME_BYTES,
    metrics::{Metrics, names::EPHEMERAL_POSTS},
};
use tokio::sync::Semaphore;

use super::{
    allowance::Allowance,
    dropped::Dropped,
    newest::{RoomMessages, STALE_AFTER},
    refusals::Refusals,
};
use crate::{
    connections_api::{ConnectionsApi, Outcome},
    frame::EncodedFrame,
};

/// A room's messages, as many as one frame holds.
#[derive(Debug)]
pub struct Frame {
    /// The frame.
    pub encoded: EncodedFrame,
    /// The messages in it.
    pub messages: u64,
    /// When the newest of them was accepted, in milliseconds since the Unix epoch.
    pub newest: u64,
}

impl Frame {
    /// Encodes the newest messages that fit a frame of 32 KiB, which API Gateway bills as one message.
    #[must_use]
    pub fn of(room: &RoomMessages) -> Self {
        let mut bytes = ephemeral::envelope_len(&room.room);
        let mut entries: Vec<Vec<u8>> = Vec::new();
        for message in &room.messages {
            let entry = ephemeral::encode_entry(message);
            let more = entry.len() + usize::from(!entries.is_empty());
            if bytes + more <= FRAME_BYTES {
                bytes += more;
                entries.push(entry);
            }
        }
        let newest = room.messages.iter().map(|message| message.sent_at).max().unwrap_or_default();
        let encoded = EncodedFrame::new(ephemeral::frame(&room.room, &entries).into());
        Self { encoded, messages: entries.len() as u64, newest }
    }
}

/// Posts frames. There is one for each environment: it remembers its allowance and which posts were refused.
#[derive(Debug)]
pub struct Poster<A, C> {
    api: A,
    clock: C,
    /// The places of posts in flight, as many as `FANOUT_CONCURRENCY` says.
    places: Semaphore,
    concurrency: usize,
    allowance: RefCell<Allowance>,
    refusals: RefCell<Refusals>,
}

impl<A: ConnectionsApi, C: Clock> Poster<A, C> {
    /// The poster of a new environment, in a stack that makes so many posts a second for ephemeral messages.
    pub fn new(api: A, clock: C, concurrency: usize, stack_posts_per_second: u32) -> Self {
        let allowance = RefCell::new(Allowance::new(stack_posts_per_second, clock.unix_micros()));
        let places = Semaphore::new(concurrency);
        Self { api, clock, places, concurrency, allowance, refusals: RefCell::default() }
    }

    /// Whether a frame could be posted now.
    ///
    /// # Errors
    /// When it would be dropped.
    pub fn may_post(&self) -> Result<(), Dropped> {
        let now = self.clock.unix_micros();
        self.not_silent(now)?;
        if self.allowance.borrow_mut().can_pay(now) { Ok(()) } else { Err(Dropped::Budget) }
    }

    /// Posts a frame to connections, once each, beside other frames.
    ///
    /// # Errors
    /// When the frame was dropped, perhaps after some posts: the allowance did not pay for it, posts were refused
    /// meanwhile, or its messages grew too old.
    pub async fn post(&self, frame: &Frame, connections: &[ConnectionId], metrics: &Metrics) -> Result<(), Dropped> {
        let now = self.clock.unix_micros();
        self.not_silent(now)?;
        let connections: Vec<_> = {
            let refusals = self.refusals.borrow();
            connections.iter().filter(|connection| !refusals.is_left_alone(connection, now)).collect()
        };
        if !self.allowance.borrow_mut().pay(connections.len(), now) {
            return Err(Dropped::Budget);
        }
        let posts = stream::iter(connections).map(|connection| self.post_to(frame, connection, metrics));
        let mut posts = posts.buffer_unordered(self.concurrency);
        let mut result = Ok(());
        while let Some(posted) = posts.next().await {
            result = result.and(posted);
        }
        result
    }

    async fn post_to(&self, frame: &Frame, connection: &ConnectionId, metrics: &Metrics) -> Result<(), Dropped> {
        // The semaphore is never closed, so this always is a place.
        let _place = self.places.acquire().await;
        let now = self.clock.unix_micros();
        self.not_silent(now)?;
        if now / 1_000 > frame.newest + STALE_AFTER {
            return Err(Dropped::Old);
        }
        metrics.add(EPHEMERAL_POSTS, 1);
        match self.api.post(connection, &frame.encoded).await {
            Outcome::Throttled { retry_after } => {
                self.refusals.borrow_mut().refused(connection, retry_after, self.clock.unix_micros());
            }
            outcome if outcome.concerns_everybody() => {
                tracing::error!(?outcome, "nobody can be posted to");
                self.refusals.borrow_mut().failed(self.clock.unix_micros());
                return Err(Dropped::Failed);
            }
            // A connection that does not have this frame gets the next one.
            _ => {}
        }
        Ok(())
    }

    fn not_silent(&self, now: u64) -> Result<(), Dropped> {
        self.refusals.borrow().silence(now).map_or(Ok(()), Err)
    }
}

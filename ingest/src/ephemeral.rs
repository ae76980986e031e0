//! Ephemeral messages on their way in. They go to a queue of their own, whatever the sink of other messages is.

use std::cell::RefCell;

use shared::{Ephemeral, clock::Clock, queue::ephemeral::EphemeralSink};

use crate::{response::RouteError, shares::EphemeralShares};

/// The queue of ephemeral messages, and what is left of their shares.
#[derive(Debug)]
pub struct Ephemerals<E> {
    sink: E,
    shares: RefCell<EphemeralShares>,
}

impl<E: EphemeralSink> Ephemerals<E> {
    /// A queue with full shares.
    pub fn new(sink: E, shares: EphemeralShares) -> Self {
        Self { sink, shares: RefCell::new(shares) }
    }

    /// Takes a message's share and puts it into the queue: one network call.
    ///
    /// # Errors
    /// When its sender sends too many, or the queue does not take it.
    pub async fn put(&self, message: &Ephemeral, clock: &impl Clock) -> Result<(), RouteError> {
        self.shares.borrow_mut().take(&message.from, &message.room, clock.unix_micros())?;
        Ok(self.sink.put(message).await?)
    }
}

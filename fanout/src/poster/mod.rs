//! Posting to connections.

pub mod direct;
mod multiplexed;
pub mod sdk;
mod signature;
mod signer;
mod wire;

use std::future::Future;

use shared::ConnectionId;

use crate::{encode::Frame, outcome::Outcome};

/// The @connections API, as the fan-out sees it.
pub trait Poster {
    /// What one worker posts with.
    type Lane: Lane;

    /// Takes a lane for a worker: one that is open from an earlier broadcast, or a new one.
    fn lane(&self) -> Self::Lane;

    /// Takes a lane back, to be used again. A lane that was dropped in the middle of a post never comes back.
    fn put_back(&self, lane: Self::Lane);

    /// Closes a connection, so that its client connects anew and resumes. Best effort.
    fn close(&self, connection: &ConnectionId) -> impl Future<Output = Outcome>;
}

/// What one worker posts with, one post after the other.
pub trait Lane {
    /// Posts a frame to a connection: one attempt, within the time for an attempt.
    fn post(&mut self, connection: &ConnectionId, frame: &Frame) -> impl Future<Output = Outcome>;
}

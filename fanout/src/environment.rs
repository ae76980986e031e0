//! The state that an environment of `fanout` or `shards` keeps from one invocation to the next.

use std::time::Duration;

use shared::store::connections::ConnectionTable;

use crate::{broadcast::Broadcaster, congestion::Notes, layout::Layouts, log::LogWriter, state::StateWriter};

/// The state of an environment.
#[derive(Debug)]
pub struct FanoutFunction<Q, A, C> {
    /// The connection table.
    pub connections: ConnectionTable<C>,
    /// The room logs.
    pub log: LogWriter<C>,
    /// The rooms' state.
    pub state: StateWriter<C>,
    /// Notes of groups that are behind.
    pub congestion: Notes,
    /// The queue that feeds the function.
    pub source_queue: Q,
    /// Records of a full batch of that queue.
    pub batch_size: usize,
    /// The queue of jobs for shards.
    pub shard_queue: Q,
    /// The dead-letter queue.
    pub dead_letters: Q,
    /// The choice between direct posts and shards for each room.
    pub layouts: Layouts,
    /// Posts to connections.
    pub broadcaster: Broadcaster<A, C>,
    /// The time.
    pub clock: C,
    /// Time kept before an invocation's deadline for finishing up.
    pub deadline_reserve: Duration,
}

//! The state that an environment of `presence` keeps from one invocation to the next.

use shared::store::{connections::ConnectionTable, presence::PresenceTable};

use super::{config::PresenceSettings, pace::Budget};

/// The function's state. One for each environment.
#[derive(Debug)]
pub struct PresenceFunction<Q, B, C> {
    /// The rows of what is published, and those of members.
    pub presence: PresenceTable<C>,
    /// The connections of rooms, members or not.
    pub connections: ConnectionTable<C>,
    /// The rooms' queue, where publications go.
    pub broadcasts: Q,
    /// The queue of ticks.
    pub ticks: Q,
    /// The bus of lifecycle events.
    pub bus: B,
    /// The posts that the environment may spend on publications.
    pub budget: Budget,
    /// The rooms that are published, and how often.
    pub settings: PresenceSettings,
    /// The time.
    pub clock: C,
}

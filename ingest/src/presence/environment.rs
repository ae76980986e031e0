//! What an environment of `presence` keeps from one invocation to the next.

use shared::store::{connections::ConnectionTable, presence::PresenceTable};

use super::{config::PresenceSettings, pace::Budget};

/// The function's state. One for each environment.
#[derive(Debug)]
pub struct PresenceFunction<Q, B, C> {
    /// What is published, and the members' rows.
    pub presence: PresenceTable<C>,
    /// The connections of rooms.
    pub connections: ConnectionTable<C>,
    /// The rooms' queue, where publications go.
    pub broadcasts: Q,
    /// The queue of ticks.
    pub ticks: Q,
    /// Where lifecycle events go.
    pub bus: B,
    /// What the environment may spend on publications.
    pub budget: Budget,
    /// Which rooms, and how often.
    pub settings: PresenceSettings,
    /// The time.
    pub clock: C,
}

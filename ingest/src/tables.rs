//! The tables of `session`.

use shared::store::{connections::ConnectionTable, log::LogTable, presence::PresenceTable, subjects::SubjectTable};

/// What the function reads and writes.
#[derive(Debug)]
pub struct Tables<C> {
    /// Which connections are in which rooms.
    pub connections: ConnectionTable<C>,
    /// Which connections a subject has.
    pub subjects: SubjectTable<C>,
    /// The rooms' logs.
    pub log: LogTable<C>,
    /// What is published of who is present in the rooms.
    pub presence: PresenceTable<C>,
}

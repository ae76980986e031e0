//! The tables of `session`.

use shared::store::{connections::ConnectionTable, log::LogTable, presence::PresenceTable, subjects::SubjectTable};

/// The tables that the function reads and writes.
#[derive(Debug)]
pub struct Tables<C> {
    /// The connections in rooms.
    pub connections: ConnectionTable<C>,
    /// The connections of subjects.
    pub subjects: SubjectTable<C>,
    /// The rooms' logs.
    pub log: LogTable<C>,
    /// The presence of rooms, as it is published.
    pub presence: PresenceTable<C>,
}

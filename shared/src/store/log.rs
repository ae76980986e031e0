//! The room log: numbered messages.

use std::future::Future;

use super::StoreError;
use crate::{message::LoggedMessage, room::RoomId};

/// Entries in one append: the limit of `TransactWriteItems`, 100, less the row that starts a log.
pub const APPEND_BATCH: usize = 99;

/// A message in the log.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The message and its number.
    pub logged: LoggedMessage,
    /// When it was appended, in milliseconds since the Unix epoch.
    pub appended_at: u64,
    /// When it expires, in seconds since the Unix epoch. Never earlier than the entry before it.
    pub expires_at: u64,
}

impl LogEntry {
    /// The entry's number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.logged.seq
    }
}

/// Part of a log.
#[derive(Debug)]
pub struct LogPage {
    /// The entries, in the order asked for.
    pub entries: Vec<LogEntry>,
    /// Whether there are more in that direction.
    pub more: bool,
}

/// Why entries were not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another entry has one of the numbers, or another writer is at it: read the head again.
    #[error("another writer has appended to the log")]
    Conflict,
    /// The table did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the start of a log is written against, so that two writers cannot both start it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// The entries follow the head.
    Continue,
    /// The log is empty, or about to be: the entries start it anew, or carry it on. `previous` is the start that the
    /// writer read with [`LogStore::start`]; the first entry's number takes its place.
    Start {
        /// What the last such append has left, if it is still known.
        previous: Option<u64>,
    },
}

/// The log table. All reads are strongly consistent and leave out what has expired, whether or not the table has
/// deleted it already: entries expire in order, deletions come in any.
pub trait LogStore: Send + Sync + 'static {
    /// The newest entries with a smaller seq than `before`, descending.
    fn latest(
        &self,
        room: &RoomId,
        before: Option<u64>,
        limit: u32,
    ) -> impl Future<Output = Result<LogPage, StoreError>> + Send;

    /// The oldest entries from `seq` on, ascending.
    fn from(&self, room: &RoomId, seq: u64, limit: u32) -> impl Future<Output = Result<LogPage, StoreError>> + Send;

    /// The first number of the last append that started the room's log or carried it on, if it is still known.
    fn start(&self, room: &RoomId) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// Appends all entries (at most [`APPEND_BATCH`]) or none; their numbers must be free.
    fn append(
        &self,
        room: &RoomId,
        entries: &[LogEntry],
        how: Append,
    ) -> impl Future<Output = Result<(), AppendError>> + Send;
}

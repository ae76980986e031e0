//! The room log: numbered messages. The `Messages` table: PK `roomId`, SK `seq`.
//!
//! Entries have the numbers from 1 on. A room's other rows have numbers that no entry has:
//!
//! | `seq` | row |
//! |---|---|
//! | 0 | the fence: where the log was started last, or carried on near its end |
//! | -1 | progress: how far the room's broadcasts have been posted |
//! | -2 - k | the same for shard k of the room |
//! | -1,000,000 | the head: the newest entry, also after it has expired |

mod append;
mod head;
mod progress;
mod read;
mod row;

use std::{num::NonZeroU16, sync::Arc};

use aws_sdk_dynamodb::Client;

use super::StoreError;
use crate::{
    clock::Clock,
    item::{Item, number, text},
    message::LoggedMessage,
    room::RoomId,
};

pub use append::Fence;
pub use head::{FoundHeads, LogHead};
pub use progress::{Progress, ProgressOf};

/// The time after an append, in milliseconds, for which the table may show it in part: what is missing of it later is
/// gone. It is a matter of milliseconds; the rest is for clocks that differ. No message is kept for less than twice as
/// long.
const IN_PART_MILLIS: u64 = 30_000;

/// A message in the log.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The message and its number.
    pub logged: LoggedMessage,
    /// The number of the first entry that was appended together with it.
    pub append_start: u64,
    /// The last number before it, in an entry at which numbers jump because the log was started anew: no message lies
    /// between the two, so whoever has everything up to that number has missed nothing. Unknown if the log had been
    /// silent for longer than a month.
    pub previous: Option<u64>,
    /// When it was appended, in milliseconds since the Unix epoch.
    pub appended_at: u64,
    /// When it expires, in seconds since the Unix epoch. Never earlier than the entry before it.
    pub expires_at: u64,
    /// Its layout.
    pub layout: Layout,
    /// Every number below this one is finished with: acknowledged or given up. 0 says nothing.
    pub floor: u64,
    /// The number up to which the room's state was complete when this was appended: entries with a key between that
    /// number and this one may be missing in the state. Every entry of an append with keys has it, and so have the
    /// entries after it until the state is complete.
    pub state_at: Option<u64>,
}

impl LogEntry {
    /// The entry's number.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.logged.seq
    }

    /// The number up to which the room's state is complete, as far as the entry tells: its own number if nothing may be
    /// missing. An entry with a key and without [`LogEntry::state_at`] was appended by a writer that kept no state.
    #[must_use]
    pub fn state_complete_to(&self) -> u64 {
        let before = self.seq().saturating_sub(1);
        match self.state_at {
            Some(state_at) => state_at.min(before),
            None if self.logged.message.key.is_some() => before,
            None => self.seq(),
        }
    }
}

/// The way in which an entry goes out. It is kept in the entry, so that a redelivery does the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// From the function that has appended it to every connection.
    #[default]
    Direct,
    /// In jobs, one for each of so many shards of the room.
    Shards(NonZeroU16),
}

/// A page of a log.
#[derive(Debug, Default)]
pub struct LogPage {
    /// The entries, in the order asked for.
    pub entries: Vec<LogEntry>,
    /// Whether there are more in that direction. A page that says so has at least one entry.
    pub more: bool,
    /// About how many bytes the table has read for it, expired rows included.
    pub bytes: usize,
    /// Numbers in this part of the log that are taken by rows which cannot be read. Nobody gets them, and no other
    /// message can have them.
    pub unreadable: Vec<u64>,
}

impl LogPage {
    /// The read units that it took, strongly consistent, about.
    #[must_use]
    pub fn read_units(&self) -> usize {
        self.bytes.div_ceil(UNIT_BYTES).max(1)
    }

    /// Adds what was read next.
    fn add(&mut self, next: Self) {
        self.entries.extend(next.entries);
        self.more = next.more;
        self.bytes += next.bytes;
        self.unreadable.extend(next.unreadable);
    }
}

/// Bytes that DynamoDB reads for one read unit, strongly consistent.
const UNIT_BYTES: usize = 4 * 1024;

/// The reason why entries were not appended.
#[derive(Debug, thiserror::Error)]
pub enum LogTableError {
    /// Another entry has one of the numbers, or another transaction is writing one of the rows. The head must be read
    /// again.
    #[error("another writer has appended to the log")]
    Conflict,
    /// The table did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The condition of an append, besides that its numbers are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// Nothing: the entries follow the head.
    Continue,
    /// The fence. The log is empty, or about to be, and the entries start it anew or carry it on: of two writers who
    /// find it so only one may write.
    Fenced {
        /// The number at which the log was started last, as the writer has read with [`LogTable::fence`]; the first
        /// entry's number takes its place.
        expected: Option<u64>,
    },
}

/// The log table. Reads are strongly consistent unless they say otherwise, and leave out what has expired, whether or
/// not the table has deleted it already: entries expire in order, but DynamoDB deletes them in any.
///
/// An append of several entries is a transaction, and a `Query` may see some rows of a transaction before others
/// ("Isolation levels for transactions", DynamoDB Developer Guide). Pages of entries do not show that: they are read
/// again until the append is there from its start on.
#[derive(Clone, Debug)]
pub struct LogTable<C> {
    client: Client,
    table: Arc<str>,
    clock: C,
}

impl<C: Clock> LogTable<C> {
    /// The table with this name.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), clock }
    }

    /// Whether the table may still show what was appended at this time in part.
    #[must_use]
    pub fn may_be_in_part(&self, appended_at: u64) -> bool {
        self.clock.unix_millis() < appended_at + IN_PART_MILLIS
    }

    /// One of a room's rows besides its entries.
    async fn row(
        &self,
        room: &RoomId,
        sort_key: impl ToString,
        operation: &'static str,
    ) -> Result<Option<Item>, StoreError> {
        let get = self.client.get_item().table_name(&*self.table);
        let get = get.key("roomId", text(room.as_str())).key("seq", number(sort_key)).consistent_read(true);
        Ok(get.send().await.map_err(StoreError::of_call(operation))?.item)
    }
}

//! The head of a log, in a row of its own. A client that has everything learns so for half a read unit, however large
//! the newest message is; and the row outlives the messages.

use std::{collections::HashMap, time::Duration};

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::LogTable;
use crate::{
    backoff::Backoff,
    clock::Clock,
    item::{Item, Unreadable, UnreadableRows, number, read_number, read_text, text},
    room::RoomId,
    store::{
        StoreError,
        batch_read::{BatchRead, BatchRows, READ_BATCH},
    },
};

/// The row's sort key, below those of the shards' progress.
const SORT_KEY: i64 = -1_000_000;

/// The time for which the row outlives the newest entry, in seconds: for that long it can be said whether a client
/// that was away has missed anything of an expired log.
const OUTLIVES_SECONDS: u64 = 30 * 24 * 60 * 60;

/// A read of several logs' heads. Its waits are short, because a `sync` waits with it.
const READ: BatchRead = BatchRead {
    operation: "BatchGetItem of logs' heads",
    rounds: 3,
    backoff: Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(200) },
};

/// The newest entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// The entry's number.
    pub seq: u64,
    /// When it was appended, in milliseconds since the Unix epoch.
    pub appended_at: u64,
    /// When it expires, and the log with it, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// The heads of some logs.
#[derive(Debug, Default)]
pub struct FoundHeads {
    /// The heads of those logs that have one.
    pub found: HashMap<RoomId, LogHead>,
    /// Rooms whose row the table did not read because it was throttling.
    pub unread: Vec<RoomId>,
}

impl<C: Clock> LogTable<C> {
    /// Notes the newest entry of a room's log, unless a newer one is noted. A writer does this before its messages
    /// count as posted. Otherwise a client that a message has not reached could take itself to have everything.
    ///
    /// # Errors
    /// When the table does not take it.
    pub async fn save_head(&self, room: &RoomId, head: LogHead) -> Result<(), StoreError> {
        let saved = self
            .client
            .put_item()
            .table_name(&*self.table)
            .item("roomId", text(room.as_str()))
            .item("seq", number(SORT_KEY))
            .item("newest", number(head.seq))
            .item("appendedAt", number(head.appended_at))
            .item("logExpiresAt", number(head.expires_at))
            .item("expiresAt", number(head.expires_at + OUTLIVES_SECONDS))
            .condition_expression("attribute_not_exists(seq) OR newest < :newest")
            .expression_attribute_values(":newest", number(head.seq))
            .send()
            .await;
        StoreError::unless_condition_failed("PutItem of a log's head", saved).map(drop)
    }

    /// The newest entry of a room's log, also for a while after it has expired; strongly consistent.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn head(&self, room: &RoomId) -> Result<Option<LogHead>, StoreError> {
        let row = self.row(room, SORT_KEY, "GetItem of a log's head").await?;
        let mut unreadable = UnreadableRows::default();
        let head = row.and_then(|item| read_head(&item).map_err(|row| unreadable.add(row)).ok());
        unreadable.warn(room);
        Ok(head)
    }

    /// Whether the log with this head has not expired.
    #[must_use]
    pub fn is_lasting(&self, head: &LogHead) -> bool {
        head.expires_at > self.clock.unix_seconds()
    }

    /// The newest entries of several logs, eventually consistent. A log that nothing was appended to for longer than a
    /// month has none.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn heads(&self, rooms: &[RoomId]) -> Result<FoundHeads, StoreError> {
        let mut heads = FoundHeads::default();
        for rooms in rooms.chunks(READ_BATCH) {
            self.read_heads(rooms, &mut heads).await?;
        }
        Ok(heads)
    }

    async fn read_heads(&self, rooms: &[RoomId], heads: &mut FoundHeads) -> Result<(), StoreError> {
        let keys = rooms
            .iter()
            .map(|room| Item::from([("roomId".into(), text(room.as_str())), ("seq".into(), number(SORT_KEY))]))
            .collect();
        let keys = KeysAndAttributes::builder().set_keys(Some(keys));
        let BatchRows { rows, unread } = READ.read(&self.client, &self.table, keys).await?;
        // A row that was asked for by its key has the key.
        let room_of = |item: &Item| RoomId::parse(read_text(item, "roomId").ok()?).ok();
        for (room, item) in rows.iter().filter_map(|item| Some((room_of(item)?, item))) {
            let mut unreadable = UnreadableRows::default();
            match read_head(item) {
                Ok(head) => drop(heads.found.insert(room, head)),
                Err(row) => {
                    unreadable.add(row);
                    unreadable.warn(&room);
                }
            }
        }
        heads.unread.extend(unread.iter().filter_map(room_of));
        Ok(())
    }
}

fn read_head(item: &Item) -> Result<LogHead, Unreadable> {
    Ok(LogHead {
        seq: read_number(item, "newest")?,
        appended_at: read_number(item, "appendedAt")?,
        expires_at: read_number(item, "logExpiresAt")?,
    })
}

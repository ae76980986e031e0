//! The presence of rooms: what was last published, and the members' rows.
//!
//! The published list is a row of the `Connections` table that is in no index: PK `connectionId` = `presence/ROOM`, SK
//! `roomId` = the room. Members are connections' rows with the attribute `memberOf`; `members-index` (HASH `memberOf`,
//! RANGE `userId`) has them sorted by subject.

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{Client, types::KeysAndAttributes};

use super::{
    StoreError,
    batch_read::{BatchRead, BatchRows, READ_BATCH},
};
use crate::{
    backoff::Backoff,
    clock::Clock,
    item::{Item, Unreadable, number, read_text, text},
    room::RoomId,
};

mod index;
mod row;

pub use index::{IndexCursor, IndexPage, ListedPage, PresentRow};
pub use row::{LastChange, PresenceRow, Standing, Told};

use row::{read_row, read_standing, read_version, to_item};

/// The name that the template gives the index of members.
pub const MEMBERS_INDEX: &str = "members-index";

/// The prefix of the keys of these rows. No connection has such an id.
pub(super) const KEY_PREFIX: &str = "presence/";

/// The time for which a row is kept after it was last written, in seconds. That is longer than any lease; longer than
/// a tick stays in its queue, since a tick that comes back tells from the row what was not told the first time; and
/// long enough for a sweep to come by.
const KEPT_SECONDS: u64 = 2 * 24 * 60 * 60;

/// A read of several rooms' standings.
const STANDINGS: BatchRead = BatchRead {
    operation: "BatchGetItem of rooms' presence",
    rounds: 4,
    backoff: Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(500) },
};

const GET: &str = "GetItem of a room's presence";
const PUT: &str = "PutItem of a room's presence";
const NOTE: &str = "UpdateItem of a room's presence";

/// The presence of rooms, in the table of connections.
#[derive(Clone, Debug)]
pub struct PresenceTable<C> {
    client: Client,
    table: Arc<str>,
    clock: C,
}

impl<C: Clock> PresenceTable<C> {
    /// The rows in the table of connections with this name.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), clock }
    }

    /// The published row of a room; strongly consistent. A row that cannot be read counts as one without a list: its
    /// version is needed, because the next row takes its place.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn get(&self, room: &RoomId) -> Result<Option<PresenceRow>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&*self.table)
            .key("connectionId", text(key(room)))
            .key("roomId", text(room.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::of_call(GET))?;
        Ok(output.item.and_then(|item| match read_row(&item) {
            Ok(row) => Some(row),
            Err(Unreadable(attribute)) => {
                tracing::warn!(%room, attribute, "a room's presence cannot be read, and counts as one without a list");
                read_version(&item)
                    .inspect_err(|_| tracing::error!(%room, "the version of a room's presence cannot be read"))
                    .ok()
            }
        }))
    }

    /// The state of presence in those of some rooms of which anything was published; eventually consistent. Rows that
    /// are throttled are asked for again, and left out in the end.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn standings<'a>(
        &self,
        rooms: impl IntoIterator<Item = &'a RoomId>,
    ) -> Result<HashMap<RoomId, Standing>, StoreError> {
        let rooms: Vec<&RoomId> = rooms.into_iter().collect();
        let mut standings = HashMap::new();
        for rooms in rooms.chunks(READ_BATCH) {
            let key = |room: &&RoomId| {
                Item::from([("connectionId".into(), text(key(room))), ("roomId".into(), text(room.as_str()))])
            };
            let keys = KeysAndAttributes::builder().set_keys(Some(rooms.iter().map(key).collect()));
            // "count" is a reserved word for DynamoDB.
            let keys =
                keys.projection_expression("roomId, rev, #count, readAt").expression_attribute_names("#count", "count");
            let BatchRows { rows, unread } = STANDINGS.read(&self.client, &self.table, keys).await?;
            standings.extend(rows.iter().filter_map(|item| {
                let room = RoomId::parse(read_text(item, "roomId").ok()?).ok()?;
                Some((room, read_standing(item).ok()?))
            }));
            if !unread.is_empty() {
                tracing::warn!("the presence of some rooms was not read, because the table throttles");
            }
        }
        Ok(standings)
    }

    /// Publishes: puts a row in place of the one with the version `replaces`, or where there is none. Returns false if
    /// there is another row by now: somebody else has published meanwhile, or an earlier attempt of this call was
    /// carried out.
    ///
    /// # Errors
    /// When the table does not take it, or throttles. It may be there all the same.
    pub async fn publish(&self, room: &RoomId, row: &PresenceRow, replaces: Option<u64>) -> Result<bool, StoreError> {
        let mut item = to_item(row);
        item.insert("connectionId".into(), text(key(room)));
        item.insert("roomId".into(), text(room.as_str()));
        item.insert("expiresAt".into(), number(self.expires_at()));
        let put = self.client.put_item().table_name(&*self.table).set_item(Some(item));
        let put = match replaces {
            Some(rev) => put.condition_expression("rev = :rev").expression_attribute_values(":rev", number(rev)),
            None => put.condition_expression("attribute_not_exists(rev)"),
        };
        Ok(StoreError::unless_condition_failed(PUT, put.send().await)?.is_some())
    }

    /// Notes that the members' rows were read and found as they were published in `rev`. Does nothing if the row has
    /// another version by now.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn note_look(&self, room: &RoomId, rev: u64, read_at: u64, next_at: u64) -> Result<(), StoreError> {
        let noted = self
            .client
            .update_item()
            .table_name(&*self.table)
            .key("connectionId", text(key(room)))
            .key("roomId", text(room.as_str()))
            .update_expression("SET readAt = :readAt, nextAt = :nextAt, expiresAt = :expiresAt")
            .condition_expression("rev = :rev")
            .expression_attribute_values(":rev", number(rev))
            .expression_attribute_values(":readAt", number(read_at))
            .expression_attribute_values(":nextAt", number(next_at))
            .expression_attribute_values(":expiresAt", number(self.expires_at()))
            .send()
            .await;
        StoreError::unless_condition_failed(NOTE, noted).map(drop)
    }

    fn expires_at(&self) -> u64 {
        self.clock.unix_seconds() + KEPT_SECONDS
    }
}

fn key(room: &RoomId) -> String {
    format!("{KEY_PREFIX}{room}")
}

//! The connections of a room: read by its index in the order of their slots, and deleted.

use std::{collections::HashMap, ops::RangeInclusive};

use aws_sdk_dynamodb::types::KeysAndAttributes;

use super::{BACKOFF, ConnectionTable, ROUNDS};
use crate::{
    clock::Clock,
    connection::ConnectionId,
    item::{Item, Unreadable, UnreadableRows, number, read_number, read_text, text},
    room::RoomId,
    store::{
        StoreError,
        batch_read::{BatchRead, BatchRows, READ_BATCH},
    },
};

/// Every slot: a whole room.
pub const ALL_SLOTS: RangeInclusive<u16> = 0..=u16::MAX;

/// A read of the subjects of some connections.
const SUBJECTS: BatchRead = BatchRead { operation: "BatchGetItem of connections", rounds: ROUNDS, backoff: BACKOFF };

/// A connection in a room, as the room's index shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The connection.
    pub connection: ConnectionId,
    /// When it joined, in milliseconds since the Unix epoch.
    pub joined_at: u64,
    /// When its row expires, in seconds since the Unix epoch; the connection itself is gone by then.
    pub expires_at: u64,
}

/// A page of a room's members.
#[derive(Debug)]
pub struct MemberPage {
    /// The members, in the order of their slots.
    pub members: Vec<Member>,
    /// The start of the next page, if there is one.
    pub next: Option<Cursor>,
}

/// The start of a page of a room. Opaque.
#[derive(Clone, Debug)]
pub struct Cursor(Item);

impl<C: Clock> ConnectionTable<C> {
    /// Reads at most `limit` members of a room whose slots lie in a range. The index follows the table within
    /// moments, not at once: a join that is not there yet is made good by the joiner's `sync`.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn page(
        &self,
        room: &RoomId,
        slots: RangeInclusive<u16>,
        cursor: Option<Cursor>,
        limit: u32,
    ) -> Result<MemberPage, StoreError> {
        let page = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(&*self.room_index)
            .key_condition_expression("roomId = :room AND slot BETWEEN :first AND :last")
            .expression_attribute_values(":room", text(room.as_str()))
            .expression_attribute_values(":first", number(slots.start()))
            .expression_attribute_values(":last", number(slots.end()))
            .projection_expression("connectionId, joinedAt, expiresAt")
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(cursor.map(|cursor| cursor.0))
            .send()
            .await
            .map_err(StoreError::of_call("Query of a room"))?;
        let mut members = Vec::with_capacity(page.items().len());
        let mut unreadable = UnreadableRows::default();
        for item in page.items() {
            match read_member(item) {
                Ok(member) => members.push(member),
                Err(row) => unreadable.add(row),
            }
        }
        unreadable.warn(room);
        Ok(MemberPage { members, next: page.last_evaluated_key.map(Cursor) })
    }

    /// The subjects of some connections in a room, as far as they are known; eventually consistent.
    ///
    /// # Errors
    /// When the table does not answer, or throttles for longer.
    pub async fn subjects(
        &self,
        room: &RoomId,
        connections: &[ConnectionId],
    ) -> Result<HashMap<ConnectionId, String>, StoreError> {
        let mut subjects = HashMap::new();
        for connections in connections.chunks(READ_BATCH) {
            let key = |connection: &ConnectionId| {
                Item::from([("connectionId".into(), text(connection.as_str())), ("roomId".into(), text(room.as_str()))])
            };
            let keys = KeysAndAttributes::builder().set_keys(Some(connections.iter().map(key).collect()));
            let keys = keys.projection_expression("connectionId, userId");
            let BatchRows { rows, unread } = SUBJECTS.read(&self.client, &self.table, keys).await?;
            subjects.extend(rows.iter().filter_map(|item| {
                let connection = ConnectionId::new(read_text(item, "connectionId").ok()?);
                Some((connection, read_text(item, "userId").ok()?.to_owned()))
            }));
            if !unread.is_empty() {
                let left = format!("{} rows were still unread after {ROUNDS} rounds", unread.len());
                return Err(StoreError::throttled(SUBJECTS.operation, left));
            }
        }
        Ok(subjects)
    }

    /// Deletes the rows of at most [`DELETE_BATCH`](super::DELETE_BATCH) connections in a room, in one request if the
    /// table takes it.
    ///
    /// # Errors
    /// When the table does not take it; some rows may be deleted.
    pub async fn remove(&self, room: &RoomId, connections: &[ConnectionId]) -> Result<(), StoreError> {
        self.delete(connections.iter().map(|connection| (connection.as_str(), room.as_str()))).await
    }
}

fn read_member(item: &Item) -> Result<Member, Unreadable> {
    Ok(Member {
        connection: ConnectionId::new(read_text(item, "connectionId")?),
        joined_at: read_number(item, "joinedAt")?,
        expires_at: read_number(item, "expiresAt")?,
    })
}

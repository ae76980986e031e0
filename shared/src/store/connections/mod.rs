//! Connections in rooms. The `Connections` table has a row for each connection and room: PK `connectionId`, SK
//! `roomId`; index `roomId-index`: HASH `roomId`, RANGE `slot`. Calls by connection are here, those by room in `room`;
//! the rows of those who are present have more attributes, see `members`.

mod members;
mod room;

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    error::BuildError,
    operation::{
        delete_item::builders::DeleteItemFluentBuilder, put_item::builders::PutItemFluentBuilder,
        query::builders::QueryFluentBuilder,
    },
    types::{DeleteRequest, Select, WriteRequest},
};

use super::StoreError;
use crate::{
    backoff::Backoff,
    clock::Clock,
    connection::ConnectionId,
    item::{number, read_number, read_optional_number, read_text, text},
    limits::CONNECTION_TTL_SECONDS,
    room::RoomId,
    subject::Subject,
};

pub use members::Membership;
pub(super) use members::is_present;
pub use room::{ALL_SLOTS, Cursor, Member, MemberPage};

/// The name that the template gives the room index.
pub const ROOM_INDEX: &str = "roomId-index";

/// Rows in one delete request: the limit of `BatchWriteItem`.
pub const DELETE_BATCH: usize = 25;

/// Calls for a batch at most: the first, and those for what the table did not process because it was throttling.
const ROUNDS: u32 = 8;

/// The waits between those calls.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(3) };

/// Rows of a connection that one query reads: hardly any client is in more rooms. At up to some 430 bytes each, they
/// take six read units.
const MEMBERSHIPS: i32 = 100;

const DELETE: &str = "BatchWriteItem of connections";

const ROOMS: &str = "Query of a connection's rooms";

const PUT: &str = "PutItem of a connection";

const LEAVE: &str = "DeleteItem of a connection";

/// The known fields of a connection's row in a room. Times are in seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRow {
    /// When the row expires; the connection itself is gone by then.
    pub expires_at: u64,
    /// Until when the connection is present, if presence or lifecycle events count it there.
    pub present_until: Option<u64>,
    /// Whether a `sync` has put the row back: of what was listed of its connection it knows nothing.
    pub put_back: bool,
}

/// A room that a connection is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRow {
    /// The room's name.
    pub room: String,
    /// Whether presence or lifecycle events count the connection there.
    pub is_present: bool,
}

/// The connection table: one row for each connection and room.
#[derive(Clone, Debug)]
pub struct ConnectionTable<C> {
    client: Client,
    table: Arc<str>,
    room_index: Arc<str>,
    clock: C,
}

/// A connection that joins a room.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    /// The connection that joins.
    pub connection: &'a ConnectionId,
    /// The room.
    pub room: &'a RoomId,
    /// The connection's subject.
    pub subject: &'a Subject,
    /// When the connection ends at the latest, in seconds since the Unix epoch.
    pub ends_at: u64,
}

impl<C: Clock> ConnectionTable<C> {
    /// The table with this name; its room index has the usual one.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), room_index: ROOM_INDEX.into(), clock }
    }

    /// The same table with a room index of another name.
    #[must_use]
    pub fn with_room_index(self, index: &str) -> Self {
        Self { room_index: index.into(), ..self }
    }

    /// Puts a connection into a room; again is fine. A throttled write is tried again by the SDK, as often as any call.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn join(&self, joining: Joining<'_>) -> Result<(), StoreError> {
        self.put_of(joining, self.expiry(joining.ends_at)).send().await.map_err(StoreError::of_call(PUT))?;
        Ok(())
    }

    /// When the row of a connection that ends at `ends_at` at the latest expires, in seconds since the Unix epoch.
    fn expiry(&self, ends_at: u64) -> u64 {
        ends_at.min(self.clock.unix_seconds() + CONNECTION_TTL_SECONDS)
    }

    fn put_of(&self, joining: Joining<'_>, expires_at: u64) -> PutItemFluentBuilder {
        let Joining { connection, room, subject, .. } = joining;
        self.client
            .put_item()
            .table_name(&*self.table)
            .item("connectionId", text(connection.as_str()))
            .item("roomId", text(room.as_str()))
            .item("userId", text(subject.as_str()))
            .item("joinedAt", number(self.clock.unix_millis()))
            .item("slot", number(connection.slot()))
            .item("expiresAt", number(expires_at))
    }

    /// The rows of a connection in some rooms, given in ascending order, and perhaps those in rooms between them.
    /// Eventually consistent. How much it reads is bounded, however many rooms the connection is in. A throttled read
    /// is tried again by the SDK, as often as any call, before it is an error.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn memberships<'a>(
        &self,
        connection: &ConnectionId,
        rooms: impl DoubleEndedIterator<Item = &'a RoomId> + Clone,
    ) -> Result<HashMap<RoomId, KnownRow>, StoreError> {
        let mut memberships = HashMap::new();
        let Some(last) = rooms.clone().next_back() else { return Ok(memberships) };
        let mut next = rooms.clone().next();
        while let Some(first) = next {
            let page = self
                .client
                .query()
                .table_name(&*self.table)
                .key_condition_expression("connectionId = :connection AND roomId BETWEEN :first AND :last")
                .expression_attribute_values(":connection", text(connection.as_str()))
                .expression_attribute_values(":first", text(first.as_str()))
                .expression_attribute_values(":last", text(last.as_str()))
                .projection_expression("roomId, expiresAt, presentUntil, putBack")
                .limit(MEMBERSHIPS)
                .send()
                .await
                .map_err(StoreError::of_call("Query of a connection's memberships"))?;
            memberships.extend(page.items().iter().filter_map(|item| {
                // A row that cannot be read is left out, and so put again.
                let room = RoomId::parse(read_text(item, "roomId").ok()?).ok()?;
                let expires_at = read_number(item, "expiresAt").ok()?;
                let present_until = read_optional_number(item, "presentUntil").ok()?;
                Some((room, KnownRow { expires_at, present_until, put_back: item.contains_key("putBack") }))
            }));
            // The next query begins with the next room that was asked for.
            let read_up_to = page.last_evaluated_key.as_ref().and_then(|key| read_text(key, "roomId").ok());
            next = read_up_to.and_then(|read| rooms.clone().find(|room| room.as_str() > read));
        }
        Ok(memberships)
    }

    /// The number of rooms that a connection is in, counted up to `limit`. A throttled read is tried again by the SDK,
    /// as often as any call.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn count(&self, connection: &ConnectionId, limit: u32) -> Result<u32, StoreError> {
        let (mut count, mut start) = (0, None);
        loop {
            let left = i32::try_from(limit.saturating_sub(count)).unwrap_or(i32::MAX);
            let rows = self.rows_of(connection).select(Select::Count).limit(left).set_exclusive_start_key(start);
            let page = rows.send().await.map_err(StoreError::of_call(ROOMS))?;
            count += u32::try_from(page.count()).unwrap_or_default();
            start = page.last_evaluated_key;
            // A page ends at a megabyte, too: 650 rows of members with the longest names and data.
            if start.is_none() || count >= limit {
                return Ok(count);
            }
        }
    }

    /// Takes a connection out of a room; again is fine. A throttled write is tried again by the SDK, as often as any
    /// call.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn leave(&self, connection: &ConnectionId, room: &RoomId) -> Result<(), StoreError> {
        self.delete_of(connection, room).send().await.map_err(StoreError::of_call(LEAVE))?;
        Ok(())
    }

    fn delete_of(&self, connection: &ConnectionId, room: &RoomId) -> DeleteItemFluentBuilder {
        self.client
            .delete_item()
            .table_name(&*self.table)
            .key("connectionId", text(connection.as_str()))
            .key("roomId", text(room.as_str()))
    }

    /// The rooms that a connection is in, strongly consistent.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn rooms(&self, connection: &ConnectionId) -> Result<Vec<RoomRow>, StoreError> {
        let mut rooms = Vec::new();
        let mut start = None;
        loop {
            let rows =
                self.rows_of(connection).projection_expression("roomId, memberOf").set_exclusive_start_key(start);
            let page = rows.send().await.map_err(StoreError::of_call(ROOMS))?;
            rooms.extend(page.items().iter().filter_map(|item| {
                // The room is the sort key: it is there, and a text.
                let room = read_text(item, "roomId").ok()?.to_owned();
                Some(RoomRow { room, is_present: is_present(item) })
            }));
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(rooms);
            }
        }
    }

    /// Takes a connection out of some rooms. What the table does not process because it throttles is asked for again,
    /// for some six seconds at the most.
    ///
    /// # Errors
    /// When the table does not answer, or throttles for longer; it may be out of some rooms already.
    pub async fn leave_rooms(&self, connection: &ConnectionId, rooms: &[RoomRow]) -> Result<(), StoreError> {
        for batch in rooms.chunks(DELETE_BATCH) {
            self.delete(batch.iter().map(|row| (connection.as_str(), row.room.as_str()))).await?;
        }
        Ok(())
    }

    /// A query of a connection's rows, strongly consistent.
    fn rows_of(&self, connection: &ConnectionId) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&*self.table)
            .key_condition_expression("connectionId = :connection")
            .expression_attribute_values(":connection", text(connection.as_str()))
            .consistent_read(true)
    }

    async fn delete(&self, keys: impl IntoIterator<Item = (&str, &str)>) -> Result<(), StoreError> {
        let requests = keys.into_iter().map(|(connection, room)| delete_request(connection, room));
        let mut pending = requests.collect::<Result<Vec<_>, _>>().map_err(StoreError::not_built(DELETE))?;
        for round in 0..ROUNDS {
            if pending.is_empty() {
                return Ok(());
            }
            if round > 0 {
                tokio::time::sleep(BACKOFF.delay(round - 1)).await;
            }
            let batch = self.client.batch_write_item().request_items(&*self.table, pending);
            let output = batch.send().await.map_err(StoreError::of_call(DELETE))?;
            pending = output.unprocessed_items.unwrap_or_default().remove(&*self.table).unwrap_or_default();
        }
        if pending.is_empty() {
            return Ok(());
        }
        let left = format!("{} rows were still unprocessed after {ROUNDS} rounds", pending.len());
        Err(StoreError::throttled(DELETE, left))
    }
}

fn delete_request(connection: &str, room: &str) -> Result<WriteRequest, BuildError> {
    let key = DeleteRequest::builder().key("connectionId", text(connection)).key("roomId", text(room)).build()?;
    Ok(WriteRequest::builder().delete_request(key).build())
}

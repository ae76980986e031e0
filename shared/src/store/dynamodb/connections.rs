//! The `Connections` table: PK `connectionId`, SK `roomId`; index `roomId-index`: HASH `roomId`, RANGE `slot`.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use aws_sdk_dynamodb::{
    Client,
    types::{DeleteRequest, WriteRequest},
};

use super::{
    failed,
    item::{Item, number, read_number, read_text, text},
};
use crate::{
    clock::Clock,
    connection::ConnectionId,
    limits::CONNECTION_TTL_SECONDS,
    room::RoomId,
    store::{
        StoreError,
        connections::{ConnectionStore, DELETE_BATCH, Member, MemberPage},
    },
    subject::Subject,
};

/// The name that the template gives the room index.
pub const ROOM_INDEX: &str = "roomId-index";

/// Rounds of a batch delete: the first, and those for what the table did not process because it was throttling.
const DELETE_ROUNDS: u32 = 8;

/// The longest wait before the second round; doubled for each further one.
const DELETE_BACKOFF: Duration = Duration::from_millis(50);

/// Where a page of a room starts. Opaque.
#[derive(Debug)]
pub struct Cursor(Item);

/// The connection table in DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoConnections<C> {
    client: Client,
    table: Arc<str>,
    room_index: Arc<str>,
    clock: C,
}

impl<C: Clock> DynamoConnections<C> {
    /// A store over a table whose room index has the usual name.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), room_index: ROOM_INDEX.into(), clock }
    }

    /// With a room index of another name.
    #[must_use]
    pub fn with_room_index(self, index: &str) -> Self {
        Self { room_index: index.into(), ..self }
    }

    async fn rooms_of(&self, connection: &ConnectionId) -> Result<Vec<String>, StoreError> {
        let mut rooms = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .client
                .query()
                .table_name(&*self.table)
                .key_condition_expression("connectionId = :connection")
                .expression_attribute_values(":connection", text(connection.as_str()))
                .projection_expression("roomId")
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(failed("Query of a connection's rooms"))?;
            for item in page.items() {
                rooms.push(read_text(item, "roomId")?.to_owned());
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                return Ok(rooms);
            }
        }
    }

    async fn delete(&self, keys: impl IntoIterator<Item = (&str, &str)>) -> Result<(), StoreError> {
        let mut pending = keys
            .into_iter()
            .map(|(connection, room)| delete_request(connection, room))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed("BatchWriteItem of connections"))?;
        for round in 0..DELETE_ROUNDS {
            if pending.is_empty() {
                return Ok(());
            }
            if round > 0 {
                tokio::time::sleep(DELETE_BACKOFF.mul_f64(f64::from(1 << (round - 1)) * fastrand::f64())).await;
            }
            let output = self
                .client
                .batch_write_item()
                .request_items(&*self.table, pending)
                .send()
                .await
                .map_err(failed("BatchWriteItem of connections"))?;
            pending = output.unprocessed_items.unwrap_or_default().remove(&*self.table).unwrap_or_default();
        }
        if pending.is_empty() {
            return Ok(());
        }
        let source = format!("{} rows were still unprocessed after {DELETE_ROUNDS} rounds", pending.len()).into();
        Err(StoreError { operation: "BatchWriteItem of connections", source })
    }
}

fn delete_request(connection: &str, room: &str) -> Result<WriteRequest, aws_sdk_dynamodb::error::BuildError> {
    let key = DeleteRequest::builder().key("connectionId", text(connection)).key("roomId", text(room)).build()?;
    Ok(WriteRequest::builder().delete_request(key).build())
}

fn read_member(item: &Item) -> Result<Member, StoreError> {
    Ok(Member {
        connection: ConnectionId::new(read_text(item, "connectionId")?),
        joined_at: read_number(item, "joinedAt")?,
        expires_at: read_number(item, "expiresAt")?,
    })
}

impl<C: Clock> ConnectionStore for DynamoConnections<C> {
    type Cursor = Cursor;

    async fn join(&self, connection: &ConnectionId, room: &RoomId, subject: &Subject) -> Result<(), StoreError> {
        self.client
            .put_item()
            .table_name(&*self.table)
            .item("connectionId", text(connection.as_str()))
            .item("roomId", text(room.as_str()))
            .item("userId", text(subject.as_str()))
            .item("joinedAt", number(self.clock.unix_millis()))
            .item("slot", number(connection.slot().into()))
            .item("expiresAt", number(self.clock.unix_seconds() + CONNECTION_TTL_SECONDS))
            .send()
            .await
            .map_err(failed("PutItem of a connection"))?;
        Ok(())
    }

    async fn leave(&self, connection: &ConnectionId, room: &RoomId) -> Result<(), StoreError> {
        self.client
            .delete_item()
            .table_name(&*self.table)
            .key("connectionId", text(connection.as_str()))
            .key("roomId", text(room.as_str()))
            .send()
            .await
            .map_err(failed("DeleteItem of a connection"))?;
        Ok(())
    }

    async fn leave_all(&self, connection: &ConnectionId) -> Result<usize, StoreError> {
        let rooms = self.rooms_of(connection).await?;
        for batch in rooms.chunks(DELETE_BATCH) {
            self.delete(batch.iter().map(|room| (connection.as_str(), room.as_str()))).await?;
        }
        Ok(rooms.len())
    }

    async fn page(
        &self,
        room: &RoomId,
        slots: RangeInclusive<u16>,
        cursor: Option<Cursor>,
        limit: u32,
    ) -> Result<MemberPage<Cursor>, StoreError> {
        let page = self
            .client
            .query()
            .table_name(&*self.table)
            .index_name(&*self.room_index)
            .key_condition_expression("roomId = :room AND slot BETWEEN :first AND :last")
            .expression_attribute_values(":room", text(room.as_str()))
            .expression_attribute_values(":first", number((*slots.start()).into()))
            .expression_attribute_values(":last", number((*slots.end()).into()))
            .projection_expression("connectionId, joinedAt, expiresAt")
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(cursor.map(|cursor| cursor.0))
            .send()
            .await
            .map_err(failed("Query of a room"))?;
        let members = page.items().iter().map(read_member).collect::<Result<_, _>>()?;
        Ok(MemberPage { members, next: page.last_evaluated_key.map(Cursor) })
    }

    async fn remove(&self, room: &RoomId, connections: &[ConnectionId]) -> Result<(), StoreError> {
        self.delete(connections.iter().map(|connection| (connection.as_str(), room.as_str()))).await
    }
}

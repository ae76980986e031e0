//! The connections of subjects: rows of the `Connections` table that are in no room and so in no index: PK
//! `connectionId` = `subject/<sub>`, SK `roomId` = the connection. No connection has such an id.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;

use super::StoreError;
use crate::{
    clock::Clock,
    connection::ConnectionId,
    item::{Item, number, read_number, read_text, text},
    limits::CONNECTION_TTL_SECONDS,
    subject::Subject,
};

/// The longest time that a handshake takes, in milliseconds: the function behind it has 15 seconds. Until it is over
/// the @connections API says 410, as of a connection that is gone.
const HANDSHAKE: u64 = 20_000;

/// A connection of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectConnection {
    /// Its id.
    pub id: ConnectionId,
    /// Whether its handshake may still be under way.
    pub is_new: bool,
}

/// The prefix of the keys of these rows.
pub(super) const KEY_PREFIX: &str = "subject/";

/// The connections of subjects.
#[derive(Clone, Debug)]
pub struct SubjectTable<C> {
    client: Client,
    table: Arc<str>,
    clock: C,
}

impl<C: Clock> SubjectTable<C> {
    /// The rows in the table of connections with this name.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), clock }
    }

    /// Adds a connection, which ends at `ends_at` at the latest, in seconds since the Unix epoch.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn add(&self, subject: &Subject, connection: &ConnectionId, ends_at: u64) -> Result<(), StoreError> {
        let expires_at = ends_at.min(self.clock.unix_seconds() + CONNECTION_TTL_SECONDS);
        self.client
            .put_item()
            .table_name(&*self.table)
            .item("connectionId", text(key(subject)))
            .item("roomId", text(connection.as_str()))
            .item("joinedAt", number(self.clock.unix_millis()))
            .item("expiresAt", number(expires_at))
            .send()
            .await
            .map_err(StoreError::of_call("PutItem of a subject's connection"))?;
        Ok(())
    }

    /// A subject's connections, the oldest first; any `limit` of them if there are more. Some may be gone. Rows that
    /// have expired are passed over: those of connections that outlive their tokens stay for hours, and must not take
    /// the places of others.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn connections(&self, subject: &Subject, limit: u32) -> Result<Vec<SubjectConnection>, StoreError> {
        self.connections_expiring_after(self.clock.unix_seconds(), subject, limit).await
    }

    /// As [`SubjectTable::connections`], with those whose rows have expired, and without a limit.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn all_connections(&self, subject: &Subject) -> Result<Vec<SubjectConnection>, StoreError> {
        self.connections_expiring_after(0, subject, u32::MAX).await
    }

    async fn connections_expiring_after(
        &self,
        time: u64,
        subject: &Subject,
        limit: u32,
    ) -> Result<Vec<SubjectConnection>, StoreError> {
        // A row that cannot be read counts for nothing, and expires.
        let read = |item: &Item| {
            let joined_at: u64 = read_number(item, "joinedAt").ok()?;
            let expires_at: u64 = read_number(item, "expiresAt").ok()?;
            (expires_at > time).then_some((joined_at, ConnectionId::new(read_text(item, "roomId").ok()?)))
        };
        let (mut connections, mut start) = (Vec::new(), None);
        loop {
            let page = self
                .client
                .query()
                .table_name(&*self.table)
                .key_condition_expression("connectionId = :subject")
                .expression_attribute_values(":subject", text(key(subject)))
                .limit(i32::try_from(limit).unwrap_or(i32::MAX))
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(StoreError::of_call("Query of a subject's connections"))?;
            connections.extend(page.items().iter().filter_map(read));
            start = page.last_evaluated_key;
            if start.is_none() || connections.len() >= limit as usize {
                break;
            }
        }
        connections.sort();
        connections.truncate(limit as usize);
        let now = self.clock.unix_millis();
        let connection = |(joined_at, id)| SubjectConnection { id, is_new: now < joined_at + HANDSHAKE };
        Ok(connections.into_iter().map(connection).collect())
    }

    /// Removes a connection; again is fine.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn remove(&self, subject: &Subject, connection: &ConnectionId) -> Result<(), StoreError> {
        self.client
            .delete_item()
            .table_name(&*self.table)
            .key("connectionId", text(key(subject)))
            .key("roomId", text(connection.as_str()))
            .send()
            .await
            .map_err(StoreError::of_call("DeleteItem of a subject's connection"))?;
        Ok(())
    }
}

fn key(subject: &Subject) -> String {
    format!("{KEY_PREFIX}{}", subject.as_str())
}

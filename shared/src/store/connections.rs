//! Which connections are in which rooms.

use std::{future::Future, ops::RangeInclusive};

use super::StoreError;
use crate::{connection::ConnectionId, room::RoomId, subject::Subject};

/// Every slot: a whole room.
pub const ALL_SLOTS: RangeInclusive<u16> = 0..=u16::MAX;

/// Rows in one delete request: the limit of `BatchWriteItem`.
pub const DELETE_BATCH: usize = 25;

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

/// Part of a room.
#[derive(Debug)]
pub struct MemberPage<C> {
    /// The members.
    pub members: Vec<Member>,
    /// Where the next page starts, if there is one.
    pub next: Option<C>,
}

/// The connection table: one row for each connection and room.
pub trait ConnectionStore: Send + Sync + 'static {
    /// Where a page starts.
    type Cursor: Send + 'static;

    /// Puts a connection into a room; again is fine.
    fn join(
        &self,
        connection: &ConnectionId,
        room: &RoomId,
        subject: &Subject,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a connection out of a room; again is fine.
    fn leave(&self, connection: &ConnectionId, room: &RoomId) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Takes a connection out of every room. Says out of how many.
    fn leave_all(&self, connection: &ConnectionId) -> impl Future<Output = Result<usize, StoreError>> + Send;

    /// Reads at most `limit` members of a room whose slots lie in a range. The index follows the table within
    /// moments, not at once: a join that is not there yet is made good by the joiner's `sync`.
    fn page(
        &self,
        room: &RoomId,
        slots: RangeInclusive<u16>,
        cursor: Option<Self::Cursor>,
        limit: u32,
    ) -> impl Future<Output = Result<MemberPage<Self::Cursor>, StoreError>> + Send;

    /// Deletes the rows of at most [`DELETE_BATCH`] connections in a room, in one request where the table takes it.
    fn remove(
        &self,
        room: &RoomId,
        connections: &[ConnectionId],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

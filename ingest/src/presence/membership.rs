//! The rows that say who is present in which rooms.

use std::collections::BTreeSet;

use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    metrics::Metrics,
    presence::Listing,
    queue::Queue,
    rooms::RoomPatterns,
    store::{
        StoreError,
        connections::{ConnectionTable, KnownRow, Membership},
    },
};

use super::tick::Ticks;
use crate::grant::Grant;

/// The rooms that have presence or lifecycle events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceRooms {
    /// `PRESENCE_ROOMS`: those whose members see each other, if they want to be seen.
    pub listed: RoomPatterns,
    /// `LIFECYCLE_ROOMS`: those of which events tell backends. Every connection in them counts as present.
    pub lifecycle: RoomPatterns,
    /// `PRESENCE_LEASE_SECONDS`: how long a connection is present without a sync.
    pub lease_seconds: u64,
}

impl PresenceRooms {
    /// Whether there are none.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.listed.is_empty() && self.lifecycle.is_empty()
    }

    /// Whether a room is one of them.
    #[must_use]
    pub fn include(&self, room: &RoomId) -> bool {
        self.listed.matches(room) || self.lifecycle.matches(room)
    }
}

/// The result of renewing a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The row lasts longer, or was put anew.
    Done {
        /// Whether a tick must be sent.
        is_changed: bool,
    },
    /// There is the row of a present connection, put a moment ago, which the read before had not seen yet.
    Needless,
}

/// Presence, as the routes keep it.
#[derive(Debug)]
pub struct Presence<C, Q> {
    /// The rooms that have it.
    pub rooms: PresenceRooms,
    ticks: Ticks<C, Q>,
}

impl<C: Clock, Q: Queue> Presence<C, Q> {
    /// Presence in these rooms; `ticks` tells of changes.
    pub fn new(rooms: PresenceRooms, ticks: Ticks<C, Q>) -> Self {
        Self { rooms, ticks }
    }

    /// Sends a tick to those of some rooms that are among [`Self::rooms`]: somebody may have come or gone.
    pub async fn tick(&self, rooms: impl IntoIterator<Item = RoomId>, metrics: &Metrics) {
        let rooms: BTreeSet<_> = rooms.into_iter().filter(|room| self.rooms.include(room)).collect();
        self.ticks.send(rooms, metrics).await;
    }

    /// Puts a connection into a room, listed if it wants that and the room has a list; says whether a tick must be
    /// sent.
    ///
    /// A tick follows for every present connection. Even a row that is the same as before is now its subject's newest,
    /// and so its data become the subject's.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn put(
        &self,
        connections: &ConnectionTable<C>,
        (connection, grant): (&ConnectionId, &Grant),
        room: &RoomId,
        listing: Option<&Listing>,
    ) -> Result<bool, StoreError> {
        let (subject, ends_at) = (&grant.subject, grant.ends_at());
        let has_list = self.rooms.listed.matches(room);
        let listing = listing.filter(|_| has_list);
        if listing.is_some() || self.rooms.lifecycle.matches(room) {
            let membership = Membership { lease_seconds: self.rooms.lease_seconds, listing };
            connections.join_as_present(connection, room, subject, ends_at, membership).await?;
            return Ok(true);
        }
        if has_list {
            return connections.join_as_absent(connection, room, subject, ends_at).await;
        }
        connections.join(connection, room, subject, ends_at).await?;
        Ok(false)
    }

    /// Takes a connection out of a room. The room goes into `changed` if a tick must be sent, even if there is an
    /// error: the row may be deleted all the same.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn take_out(
        &self,
        connections: &ConnectionTable<C>,
        connection: &ConnectionId,
        room: &RoomId,
        changed: &mut BTreeSet<RoomId>,
    ) -> Result<(), StoreError> {
        if !self.rooms.include(room) {
            return connections.leave(connection, room).await;
        }
        let left = connections.leave_as_present(connection, room).await;
        if left.as_ref().copied().unwrap_or(true) {
            changed.insert(room.clone());
        }
        left.map(drop)
    }

    /// Renews a row that is about to expire, without losing what is listed of its connection. A row that is gone, or
    /// whose connection is not present, is put anew.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn renew(
        &self,
        connections: &ConnectionTable<C>,
        (connection, grant): (&ConnectionId, &Grant),
        room: &RoomId,
        (row, now_seconds): (Option<KnownRow>, u64),
    ) -> Result<Renewal, StoreError> {
        let (subject, ends_at, lease_seconds) = (&grant.subject, grant.ends_at(), self.rooms.lease_seconds);
        if !self.rooms.include(room) {
            connections.join(connection, room, subject, ends_at).await?;
            return Ok(Renewal::Done { is_changed: false });
        }
        if let Some(row) = row
            && let Some(present_until) = row.present_until
        {
            let how = (Some(ends_at), false);
            if connections.stay_present(connection, room, row, lease_seconds, how).await? {
                return Ok(Renewal::Done { is_changed: present_until <= now_seconds });
            }
        }
        let is_counted = self.rooms.lifecycle.matches(room);
        let counted_for = is_counted.then_some(lease_seconds);
        let is_put = connections.put_back(connection, room, subject, ends_at, counted_for).await?;
        Ok(if is_put { Renewal::Done { is_changed: is_counted } } else { Renewal::Needless })
    }
}

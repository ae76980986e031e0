//! The rows that say who is present in which rooms.

use std::collections::BTreeSet;

use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    metrics::Metrics,
    presence::Listing,
    queue::Queue,
    store::{
        StoreError,
        connections::{ConnectionTable, Joining, KnownRow, Membership},
        presence::PresenceTable,
    },
};

use super::{recent::Recent, rooms::PresenceRooms, tick::Ticks};
use crate::{event::Caller, tables::Tables};

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
    pub(super) connections: ConnectionTable<C>,
    pub(super) published: PresenceTable<C>,
    pub(super) recent: Recent<C>,
    ticks: Ticks<C, Q>,
}

impl<C: Clock + Clone, Q: Queue> Presence<C, Q> {
    /// Presence in no rooms.
    pub fn none(tables: &Tables<C>, clock: C) -> Self {
        Self {
            rooms: PresenceRooms::default(),
            connections: tables.connections.clone(),
            published: tables.presence.clone(),
            recent: Recent::new(clock.clone()),
            ticks: Ticks::new(None, clock),
        }
    }

    /// The same in these rooms; `ticks` tells of changes.
    #[must_use]
    pub fn in_rooms(self, rooms: PresenceRooms, ticks: Ticks<C, Q>) -> Self {
        Self { rooms, ticks, ..self }
    }
}

impl<C: Clock, Q: Queue> Presence<C, Q> {
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
    pub async fn put(&self, caller: Caller<'_>, room: &RoomId, listing: Option<&Listing>) -> Result<bool, StoreError> {
        let joining = joining(caller, room);
        let has_list = self.rooms.listed.matches(room);
        let listing = listing.filter(|_| has_list);
        if listing.is_some() || self.rooms.lifecycle.matches(room) {
            let membership = Membership { lease_seconds: self.rooms.lease_seconds, listing };
            self.connections.join_as_present(joining, membership).await?;
            return Ok(true);
        }
        if has_list {
            return self.connections.join_as_absent(joining).await;
        }
        self.connections.join(joining).await?;
        Ok(false)
    }

    /// Takes a connection out of a room. The room goes into `changed` if a tick must be sent, even if there is an
    /// error: the row may be deleted all the same.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn take_out(
        &self,
        connection: &ConnectionId,
        room: &RoomId,
        changed: &mut BTreeSet<RoomId>,
    ) -> Result<(), StoreError> {
        if !self.rooms.include(room) {
            return self.connections.leave(connection, room).await;
        }
        let left = self.connections.leave_as_present(connection, room).await;
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
        caller: Caller<'_>,
        room: &RoomId,
        row: Option<KnownRow>,
        now_seconds: u64,
    ) -> Result<Renewal, StoreError> {
        let (joining, lease_seconds) = (joining(caller, room), self.rooms.lease_seconds);
        if !self.rooms.include(room) {
            self.connections.join(joining).await?;
            return Ok(Renewal::Done { is_changed: false });
        }
        if let Some(present_until) = row.and_then(|row| row.present_until)
            && self.connections.renew_present(joining, lease_seconds).await?
        {
            return Ok(Renewal::Done { is_changed: present_until <= now_seconds });
        }
        let is_counted = self.rooms.lifecycle.matches(room);
        let is_put = self.connections.put_back(joining, is_counted.then_some(lease_seconds)).await?;
        Ok(if is_put { Renewal::Done { is_changed: is_counted } } else { Renewal::Needless })
    }
}

fn joining<'a>(Caller { connection, grant }: Caller<'a>, room: &'a RoomId) -> Joining<'a> {
    Joining { connection, room, subject: &grant.subject, ends_at: grant.ends_at() }
}

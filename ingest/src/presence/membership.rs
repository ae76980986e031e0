//! Who is present in which rooms, and the rows that say so.

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
        connections::{ConnectionTable, MemberTimes, Membership},
    },
};

use super::tick::Ticks;
use crate::grant::Grant;

/// Which rooms have presence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresenceRooms {
    /// `PRESENCE_ROOMS`: those whose members see each other, if they want to be seen.
    pub listed: RoomPatterns,
    /// `LIFECYCLE_ROOMS`: those of which events tell backends; everybody in them counts.
    pub lifecycle: RoomPatterns,
    /// `PRESENCE_LEASE_SECONDS`: for how long a connection is present that is not heard of.
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

/// What came of the renewal of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It lasts longer, or was put anew.
    Done {
        /// Whether a tick must tell.
        is_changed: bool,
    },
    /// There is a member's row that was put a moment ago, and not seen yet.
    Needless,
}

/// Presence, as the routes keep it.
#[derive(Debug)]
pub struct Presence<C, Q> {
    /// Where.
    pub rooms: PresenceRooms,
    ticks: Ticks<C, Q>,
}

impl<C: Clock, Q: Queue> Presence<C, Q> {
    /// In these rooms, with what tells of changes.
    pub fn new(rooms: PresenceRooms, ticks: Ticks<C, Q>) -> Self {
        Self { rooms, ticks }
    }

    /// Tells that somebody may have come to some rooms or gone from them, of those that are among [`Self::rooms`].
    pub async fn tick(&self, rooms: impl IntoIterator<Item = RoomId>, metrics: &Metrics) {
        let rooms: BTreeSet<_> = rooms.into_iter().filter(|room| self.rooms.include(room)).collect();
        self.ticks.send(rooms, metrics).await;
    }

    /// Puts a connection into a room, there to be listed if that is wanted and the room has a list; says whether a tick must tell.
    ///
    /// Of one that is present a tick tells in any case: even a row like the one before is the newest of its subject now, and so its
    /// data are the subject's.
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

    /// Takes a connection out of a room; into `changed` goes the room if a tick must tell, also when there is an error: the row may be
    /// deleted all the same.
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

    /// Makes a row last longer that is about to expire, without losing what is listed of its connection; one that is gone, or of one
    /// who is not present, is put anew.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn renew(
        &self,
        connections: &ConnectionTable<C>,
        (connection, grant): (&ConnectionId, &Grant),
        room: &RoomId,
        (times, now_seconds): (Option<MemberTimes>, u64),
    ) -> Result<Renewal, StoreError> {
        let (subject, ends_at, lease_seconds) = (&grant.subject, grant.ends_at(), self.rooms.lease_seconds);
        if !self.rooms.include(room) {
            connections.join(connection, room, subject, ends_at).await?;
            return Ok(Renewal::Done { is_changed: false });
        }
        if let Some(times) = times
            && let Some(present_until) = times.present_until
        {
            let how = (Some(ends_at), false);
            if connections.stay_present(connection, room, times, lease_seconds, how).await? {
                return Ok(Renewal::Done { is_changed: present_until <= now_seconds });
            }
        }
        let is_counted = self.rooms.lifecycle.matches(room);
        let counted_for = is_counted.then_some(lease_seconds);
        let is_put = connections.put_back(connection, room, subject, ends_at, counted_for).await?;
        Ok(if is_put { Renewal::Done { is_changed: is_counted } } else { Renewal::Needless })
    }
}

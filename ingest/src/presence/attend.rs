//! The part of a member's `sync` that is for presence. It renews the member's leases, says where the rooms' presence
//! stands, and asks for a tick to rooms whose members nobody has read for half a lease. So a member that is there gets
//! those noticed whose leases have ended. With a lease of 1,200 s:
//!
//! ```text
//! 0 s joined    480 s from here on a sync renews    540 s the next sync, at the latest    1,200 s the lease would end
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, future::join, stream};
use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    frame::server::PresenceStanding,
    queue::Queue,
    store::{StoreError, connections::KnownRow, presence::Standing},
};

use super::membership::Presence;

/// Leases that are renewed at once.
const RENEWED_AT_ONCE: usize = 10;

/// The result of a `sync` for presence.
#[derive(Debug, Default)]
pub struct Attended {
    /// The state of presence in those of the rooms asked about of which anything was published.
    pub standings: BTreeMap<RoomId, PresenceStanding>,
    /// The rooms to which a tick must be sent.
    pub changed: BTreeSet<RoomId>,
    /// Whether the table has throttled a call.
    pub throttled: bool,
}

impl<C: Clock, Q: Queue> Presence<C, Q> {
    /// The longest time from one `sync` of a member to the next, in milliseconds. Each such `sync` renews the lease, so
    /// that one of them may be missed.
    #[must_use]
    pub fn longest_beat(&self) -> u64 {
        self.rooms.lease_seconds * 1_000 * 9 / 20
    }

    /// Serves the presence of a connection that syncs. `rows` are its rows in rooms; `asked` are the rooms of whose
    /// presence the client wants to know. What fails is left out, and done by the next `sync`.
    pub async fn attend(
        &self,
        connection: &ConnectionId,
        rows: &HashMap<&RoomId, &KnownRow>,
        asked: Option<&BTreeSet<RoomId>>,
        now_millis: u64,
    ) -> Attended {
        let present: BTreeSet<_> =
            rows.iter().filter(|(_, row)| row.present_until.is_some()).map(|(room, _)| *room).collect();
        let looked_at: BTreeSet<_> = present.iter().copied().chain(asked.into_iter().flatten()).collect();
        let standings = async {
            if looked_at.is_empty() {
                Ok(HashMap::new())
            } else {
                self.published.standings(looked_at.iter().copied()).await
            }
        };
        let renewals = self.renew_leases(connection, rows, now_millis / 1_000);
        let (standings, mut attended) = join(standings, renewals).await;
        match standings {
            Ok(standings) => {
                let unseen = looked_at.iter().filter(|room| {
                    let standing = standings.get(**room);
                    // A client that is not a member, but asks about a room that has some, gets them looked at, too.
                    let is_watched = present.contains(*room) || standing.is_some_and(|standing| standing.count > 0);
                    is_watched && self.is_unseen(standing, now_millis)
                });
                attended.changed.extend(unseen.map(|room| RoomId::clone(room)));
                attended.standings = asked
                    .into_iter()
                    .flatten()
                    .filter_map(|room| {
                        let Standing { rev, count, .. } = *standings.get(room)?;
                        Some((room.clone(), PresenceStanding { rev, count }))
                    })
                    .collect();
            }
            Err(error) => attended.note(&error),
        }
        attended
    }

    /// Whether nobody has read a room's members for half a lease.
    fn is_unseen(&self, standing: Option<&Standing>, now_millis: u64) -> bool {
        standing.is_none_or(|standing| standing.read_at + self.rooms.lease_seconds * 500 <= now_millis)
    }

    async fn renew_leases(&self, connection: &ConnectionId, rows: &HashMap<&RoomId, &KnownRow>, now: u64) -> Attended {
        let lease = self.rooms.lease_seconds;
        let renewals = rows.iter().filter_map(|(room, row)| {
            // In rooms whose lifecycle events count everybody, rows count, too, that were put before the room had such
            // events.
            let also_absent = self.rooms.lifecycle.matches(room);
            let until = row.present_until.or(also_absent.then_some(0))?;
            // A connection is present no longer than its row lasts, so such a lease cannot be renewed.
            let is_due = until <= now + lease * 3 / 5 && until < row.expires_at.min(now + lease);
            is_due.then_some(async move {
                (*room, until, self.connections.renew_lease(connection, room, row, lease, also_absent).await)
            })
        });
        let mut attended = Attended::default();
        let mut renewals = std::pin::pin!(stream::iter(renewals).buffer_unordered(RENEWED_AT_ONCE));
        while let Some((room, until, renewed)) = renewals.next().await {
            match renewed {
                // The lease had ended, and the connection counted as gone.
                Ok(true) if until <= now => drop(attended.changed.insert(room.clone())),
                Ok(_) => {}
                Err(error) => attended.note(&error),
            }
        }
        attended
    }
}

impl Attended {
    fn note(&mut self, error: &StoreError) {
        tracing::warn!(%error, "presence is left out of a sync");
        self.throttled |= error.is_throttled();
    }
}

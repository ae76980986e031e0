//! What a member's `sync` does for presence: it renews the member's leases, tells where the rooms' presence stands, and sees to it that
//! somebody looks at rooms at which nobody has looked for half a lease. So the living find the dead.
//!
//! ```text
//! 0 joined    480 from now on a sync renews    540 the first one, at the latest    1,200 the row would count no more
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, future::join, stream};
use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    frame::server::PresenceStanding,
    queue::Queue,
    store::{
        StoreError,
        connections::{ConnectionTable, MemberTimes},
        presence::{PresenceTable, Standing},
    },
};

use super::membership::Presence;

/// Leases that are renewed at once.
const RENEWED_AT_ONCE: usize = 10;

/// What came of it.
#[derive(Debug, Default)]
pub struct Attended {
    /// Where the presence of those rooms stands of which that was asked, and anything was published.
    pub standings: BTreeMap<RoomId, PresenceStanding>,
    /// The rooms of which a tick must tell.
    pub changed: BTreeSet<RoomId>,
    /// Whether the table has throttled a call.
    pub throttled: bool,
}

impl<C: Clock, Q: Queue> Presence<C, Q> {
    /// When a member syncs at the latest, in milliseconds from now on: each such `sync` renews its lease, so that one may be late by a
    /// whole beat.
    #[must_use]
    pub fn longest_beat(&self) -> u64 {
        self.rooms.lease_seconds * 1_000 * 9 / 20
    }

    /// Does what a `sync` of a connection with these rows does, besides what it does in any room; `asked` are the rooms of whose
    /// presence the client wants to know. What fails is left out: the next `sync` does it.
    pub async fn attend(
        &self,
        (connections, table): (&ConnectionTable<C>, &PresenceTable<C>),
        connection: &ConnectionId,
        rows: &HashMap<&RoomId, &MemberTimes>,
        asked: Option<&BTreeSet<RoomId>>,
        now_millis: u64,
    ) -> Attended {
        let present: BTreeSet<_> =
            rows.iter().filter(|(_, times)| times.present_until.is_some()).map(|(room, _)| *room).collect();
        let looked_at: BTreeSet<_> = present.iter().copied().chain(asked.into_iter().flatten()).collect();
        let standings = async {
            if looked_at.is_empty() { Ok(HashMap::new()) } else { table.standings(looked_at.iter().copied()).await }
        };
        let renewals = self.renew_leases(connections, connection, rows, now_millis / 1_000);
        let (standings, mut attended) = join(standings, renewals).await;
        match standings {
            Ok(standings) => {
                let unseen = looked_at.iter().filter(|room| {
                    let standing = standings.get(**room);
                    // Who sees a list and is not in it sees to those who are.
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

    /// Whether nobody has looked at a room's members for half a lease.
    fn is_unseen(&self, standing: Option<&Standing>, now_millis: u64) -> bool {
        standing.is_none_or(|standing| standing.read_at + self.rooms.lease_seconds * 500 <= now_millis)
    }

    async fn renew_leases(
        &self,
        connections: &ConnectionTable<C>,
        connection: &ConnectionId,
        rows: &HashMap<&RoomId, &MemberTimes>,
        now: u64,
    ) -> Attended {
        let lease = self.rooms.lease_seconds;
        let renewals = rows.iter().filter_map(|(room, times)| {
            // Where everybody counts, rows do that were put before it was so.
            let also_absent = self.rooms.lifecycle.matches(room);
            let until = times.present_until.or(also_absent.then_some(0))?;
            // None is present for longer than its row lasts.
            let is_due = until <= now + lease * 3 / 5 && until < times.expires_at.min(now + lease);
            is_due.then_some(async move {
                let how = (None, also_absent);
                (*room, until, connections.stay_present(connection, room, **times, lease, how).await)
            })
        });
        let mut attended = Attended::default();
        let mut renewals = std::pin::pin!(stream::iter(renewals).buffer_unordered(RENEWED_AT_ONCE));
        while let Some((room, until, renewed)) = renewals.next().await {
            match renewed {
                // Until now it was taken for gone.
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
        self.throttled |= matches!(error, StoreError::Throttled { .. });
    }
}

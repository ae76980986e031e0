//! The sweep: deletes rows of the table of connections that were left behind, because `$disconnect` is best effort and the table
//! deletes what has expired hours or days late. The function `sweeper` does it by a schedule, an operator by hand.
//!
//! It also comes by what is published of rooms, and so finds those that nobody living would have looked at.
//!
//! Sweeps may run side by side: each deletes a row only as it has read it, so that a row that was put again stays.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    num::NonZeroU32,
    time::Duration,
};

use futures::{StreamExt, stream};
use serde::Serialize;
use shared::{
    ConnectionId, RoomId,
    backoff::Backoff,
    clock::Clock,
    store::{
        StoreError,
        scan::{Row, RowKey, RowTable},
    },
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until},
};

use crate::connections_api::{ApiError, ConnectionsApi, Standing};

/// Rows in a page: what a sweep that ends early does once more.
const PAGE: u32 = 100;

/// Calls under way at one time: enough for the rate when one takes a tenth of a second.
const CALLS: usize = 16;

/// How long before a row counts as expired, in seconds: clocks disagree.
const EXPIRED_SINCE: u64 = 600;

/// How long after the first 410 the second is asked for.
pub const CONFIRM_AFTER: Duration = Duration::from_secs(1);

/// The waits of a call that is throttled, and how often it is tried.
const THROTTLED: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(8) };
const ROUNDS: u32 = 5;

/// Connections of which is remembered what the API said, so that each is asked for once however many rooms it is in.
const REMEMBERED: usize = 200_000;

/// How a sweep goes about.
#[derive(Clone, Copy, Debug)]
pub struct SweepSettings {
    /// Calls of the @connections API a second, which are taken from what broadcasts may use.
    pub per_second: NonZeroU32,
    /// Younger rows stay: a handshake still under way answers 410.
    pub gone_grace_ms: u64,
    /// How long after the first 410 the second is asked for: [`CONFIRM_AFTER`], unless time is a test's.
    pub confirm_after: Duration,
    /// `PRESENCE_LEASE_SECONDS`: in a room where anybody lives, somebody has looked at the members since.
    pub lease_seconds: u64,
    /// Deletes nothing.
    pub is_dry: bool,
}

/// What became of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Swept {
    /// Rows that were read.
    pub examined: usize,
    /// Rows whose connection is gone, deleted or, in a dry run, to be deleted.
    pub gone: usize,
    /// Rows that had expired, deleted or to be deleted.
    pub expired: usize,
    /// Rows that were put again meanwhile, and stay.
    pub renewed: usize,
    /// Rows too young to be asked for.
    pub young: usize,
    /// Connections of which the API did not say whether they are there; their rows stay.
    pub unknown: usize,
    /// Calls of the @connections API that were answered.
    pub calls: usize,
}

impl Swept {
    /// Adds what became of others.
    pub fn add(&mut self, other: Self) {
        let Self { examined, gone, expired, renewed, young, unknown, calls } = other;
        self.examined += examined;
        self.gone += gone;
        self.expired += expired;
        self.renewed += renewed;
        self.young += young;
        self.unknown += unknown;
        self.calls += calls;
    }

    /// Rows that were deleted, or would have been.
    #[must_use]
    pub fn deleted(self) -> usize {
        self.gone + self.expired
    }
}

/// Why a sweep cannot go on. What was done stays done.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The table does not answer, or throttles.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The API refuses every call, or throttles for longer.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// A sweep under way.
#[derive(Debug)]
pub struct Sweep<C> {
    rows: RowTable,
    connections_api: ConnectionsApi,
    clock: C,
    settings: SweepSettings,
    pace: Pace,
    gone: HashMap<ConnectionId, bool>,
    to_look_at: BTreeSet<RoomId>,
}

impl<C: Clock> Sweep<C> {
    /// Of a table, whose connections are behind an API.
    pub fn new(rows: RowTable, connections_api: ConnectionsApi, clock: C, settings: SweepSettings) -> Self {
        let pace = Pace::new(settings.per_second);
        Self { rows, connections_api, clock, settings, pace, gone: HashMap::new(), to_look_at: BTreeSet::new() }
    }

    /// The rooms, since this was asked last, of which a tick must tell, also when the sweep could not go on: where it has deleted the row
    /// of somebody present, and where somebody is said to be at whom nobody has looked for a lease. In a room where nobody is left,
    /// nobody else would, whatever became of the tick of the last one's end.
    pub fn take_to_look_at(&mut self) -> BTreeSet<RoomId> {
        std::mem::take(&mut self.to_look_at)
    }

    /// How long the calls for a page may take at this rate: four seconds at 50 a second, minutes at one.
    #[must_use]
    pub fn longest_page(&self) -> Duration {
        // Each connection is asked for twice if all are gone.
        self.pace.every * 2 * PAGE
    }

    /// Sweeps the rows after one, a page of them. Returns the row after which to go on, or `None` at the end of the table.
    ///
    /// # Errors
    /// When it cannot go on.
    pub async fn page(&mut self, after: Option<&RowKey>) -> Result<(Swept, Option<RowKey>), SweepError> {
        let page = self.rows.page(after, PAGE).await?;
        let mut swept = Swept { examined: page.examined, ..Swept::default() };
        let (now, mut candidates) = (self.clock.unix_millis(), Vec::new());
        if !self.settings.is_dry {
            let lease = self.settings.lease_seconds * 1_000;
            let unseen = page.occupied.into_iter().filter(|occupied| occupied.read_at + lease <= now);
            self.to_look_at.extend(unseen.map(|occupied| occupied.room));
        }
        for row in page.rows {
            if row.expires_at + EXPIRED_SINCE <= now / 1_000 {
                self.remove(&row, &mut swept.expired, &mut swept.renewed).await?;
            } else if row.joined_at.saturating_add(self.settings.gone_grace_ms) > now {
                swept.young += 1;
            } else {
                candidates.push(row);
            }
        }
        self.ask(&candidates, &mut swept).await?;
        for row in candidates {
            if self.gone.get(&row.connection) == Some(&true) {
                self.remove(&row, &mut swept.gone, &mut swept.renewed).await?;
            }
        }
        Ok((swept, page.next))
    }

    async fn remove(&mut self, row: &Row, deleted: &mut usize, renewed: &mut usize) -> Result<(), SweepError> {
        if self.settings.is_dry {
            *deleted += 1;
        } else if self.rows.remove(row).await? {
            *deleted += 1;
            self.to_look_at.extend(row.room().filter(|_| row.is_present));
        } else {
            *renewed += 1;
        }
        Ok(())
    }

    /// Finds out which connections are gone. What is said once is asked again: now and then a living one is said to be gone.
    async fn ask(&mut self, rows: &[Row], swept: &mut Swept) -> Result<(), SweepError> {
        if self.gone.len() > REMEMBERED {
            self.gone.clear();
        }
        let unknown: HashSet<_> = rows.iter().map(|row| &row.connection).collect();
        let unknown: Vec<_> = unknown.into_iter().filter(|connection| !self.gone.contains_key(connection)).collect();
        let first = self.standings(unknown, swept).await?;
        let suspects: Vec<_> = first.iter().filter(|(_, gone)| *gone).map(|(connection, _)| connection).collect();
        let second = if suspects.is_empty() {
            Vec::new()
        } else {
            sleep(self.settings.confirm_after).await;
            self.standings(suspects, swept).await?
        };
        let living = first.iter().filter(|(_, gone)| !gone);
        let known: Vec<_> = living.chain(&second).cloned().collect();
        self.gone.extend(known);
        Ok(())
    }

    /// What the API says of connections: whether they are gone. Those of which it says nothing are left out.
    async fn standings(
        &self,
        connections: Vec<&ConnectionId>,
        swept: &mut Swept,
    ) -> Result<Vec<(ConnectionId, bool)>, SweepError> {
        let asked = stream::iter(connections).map(async |connection| (connection, self.standing(connection).await));
        let mut asked = std::pin::pin!(asked.buffer_unordered(CALLS));
        let mut told = Vec::new();
        while let Some((connection, standing)) = asked.next().await {
            match standing {
                Ok(standing) => {
                    swept.calls += 1;
                    told.push((connection.clone(), standing == Standing::Gone));
                }
                Err(error @ (ApiError::Refused(_) | ApiError::Throttled(_))) => return Err(error.into()),
                Err(error) => {
                    swept.unknown += 1;
                    tracing::warn!(%error, %connection, "rows stay, though their connection may be gone");
                }
            }
        }
        Ok(told)
    }

    async fn standing(&self, connection: &ConnectionId) -> Result<Standing, ApiError> {
        let mut round = 0;
        loop {
            self.pace.turn().await;
            match (self.connections_api.standing(connection).await, wait_after(round)) {
                (Err(ApiError::Throttled(_)), Some(wait)) => sleep(wait).await,
                (standing, _) => return standing,
            }
            round += 1;
        }
    }
}

/// How long a call waits that was throttled in a round, counted from 0; `None` after the last.
fn wait_after(round: u32) -> Option<Duration> {
    (round + 1 < ROUNDS).then(|| THROTTLED.delay(round))
}

/// Gives turns, evenly spread over time.
#[derive(Debug)]
struct Pace {
    every: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    fn new(per_second: NonZeroU32) -> Self {
        Self { every: Duration::from_secs(1) / per_second.get(), next: Mutex::new(Instant::now()) }
    }

    async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn + self.every;
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_throttled_call_is_made_five_times_and_waits_for_longer_each_time() {
        let waits: Vec<_> = (0..8).map(wait_after).collect();
        let longest = [1, 2, 4, 8].map(Duration::from_secs);
        assert!(waits.iter().zip(longest).all(|(wait, longest)| wait.is_some_and(|wait| wait <= longest)), "{waits:?}");
        assert_eq!(waits[4..], [None; 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_are_as_far_apart_as_the_rate_says() {
        let pace = Pace::new(NonZeroU32::new(50).unwrap());
        let start = Instant::now();
        for _ in 0..101 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        // What was not used is not saved up.
        sleep(Duration::from_mins(1)).await;
        let start = Instant::now();
        for _ in 0..51 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}

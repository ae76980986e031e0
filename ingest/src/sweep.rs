//! The sweep: it deletes rows of the `Connections` table that were left behind, because API Gateway does not promise to
//! call `$disconnect`, and the table deletes expired rows hours or days late. The function `sweeper` does it by a
//! schedule, an operator by hand.
//!
//! It also reads the rows of rooms' presence, and so finds rooms in which no connection is left to notice that the
//! members are gone.
//!
//! Sweeps may run at the same time: each deletes a row only if it is still as it was read, so that a row that was put
//! again stays.

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

use crate::connections_api::{ApiError, ConnectionStatus, ConnectionsApi};

/// Rows in a page: what is done again after a sweep that ended early.
const PAGE: u32 = 100;

/// Calls under way at one time: enough for the rate when one takes a tenth of a second.
const CALLS: usize = 16;

/// The time that must have passed since a row expired, in seconds: clocks disagree.
const EXPIRED_SINCE: u64 = 600;

/// The time between the two 410s that confirm that a connection is gone.
pub const CONFIRM_AFTER: Duration = Duration::from_secs(1);

/// The waits of a call that is throttled, and how often it is tried.
const THROTTLED: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(8) };
const ATTEMPTS: u32 = 5;

/// Connections of which the API's answer is remembered, so that each is asked about once, however many rooms it is in.
const REMEMBERED: usize = 200_000;

/// The settings of a sweep.
#[derive(Clone, Copy, Debug)]
pub struct SweepSettings {
    /// Calls of the @connections API per second, which count against the same quota as broadcasts.
    pub per_second: NonZeroU32,
    /// The age up to which rows stay: a handshake that is still under way is answered with 410.
    pub gone_grace: Duration,
    /// The time between the two 410s: [`CONFIRM_AFTER`] but in tests.
    pub confirm_after: Duration,
    /// `PRESENCE_LEASE_SECONDS`: in a room with living members, one of them has had the members looked at within this
    /// time.
    pub lease_seconds: u64,
    /// Whether the sweep only counts, and deletes nothing.
    pub is_dry: bool,
}

/// The results of a sweep, counted.
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
    /// Rows that are too young to be asked about.
    pub young: usize,
    /// Connections of which the API did not say whether they are there; their rows stay.
    pub unknown: usize,
    /// Calls of the @connections API that were answered.
    pub calls: usize,
}

impl Swept {
    /// Adds the counts of other rows.
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

/// The reason why a sweep cannot go on. Its deletes so far stay done.
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
    statuses: HashMap<ConnectionId, ConnectionStatus>,
    to_look_at: BTreeSet<RoomId>,
}

impl<C: Clock> Sweep<C> {
    /// A sweep of a table whose connections are behind an API.
    pub fn new(rows: RowTable, connections_api: ConnectionsApi, clock: C, settings: SweepSettings) -> Self {
        let pace = Pace::new(settings.per_second);
        Self { rows, connections_api, clock, settings, pace, statuses: HashMap::new(), to_look_at: BTreeSet::new() }
    }

    /// The rooms, since the last call of this, to which a tick must be sent, even if the sweep could not go on: those
    /// where it has deleted the row of a present connection, and those that have members by what is published, but
    /// whose members nobody has read for a lease. If nobody is left in such a room, and the tick of the last member's
    /// end was lost, only the sweep finds it.
    pub fn take_to_look_at(&mut self) -> BTreeSet<RoomId> {
        std::mem::take(&mut self.to_look_at)
    }

    /// The longest time for a page's calls at this rate: four seconds at 50 a second, minutes at one.
    #[must_use]
    pub fn longest_page(&self) -> Duration {
        // Each connection is asked about twice if all are gone.
        self.pace.every * 2 * PAGE
    }

    /// Sweeps a page of rows after a row. Returns the row after which to go on, or `None` at the end of the table.
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
            } else if Duration::from_millis(now.saturating_sub(row.joined_at)) < self.settings.gone_grace {
                swept.young += 1;
            } else {
                candidates.push(row);
            }
        }
        self.ask(&candidates, &mut swept).await?;
        for row in candidates {
            if self.statuses.get(&row.connection) == Some(&ConnectionStatus::Gone) {
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

    /// Finds out which connections are gone. A 410 is confirmed by a second one: now and then the API gives one for a
    /// living connection.
    async fn ask(&mut self, rows: &[Row], swept: &mut Swept) -> Result<(), SweepError> {
        if self.statuses.len() > REMEMBERED {
            self.statuses.clear();
        }
        let unknown: HashSet<_> = rows.iter().map(|row| row.connection.clone()).collect();
        let unknown: Vec<_> = unknown.into_iter().filter(|one| !self.statuses.contains_key(one)).collect();
        let told = self.ask_once(unknown, swept).await?;
        let (suspects, connected): (Vec<_>, Vec<_>) =
            told.into_iter().partition(|(_, status)| *status == ConnectionStatus::Gone);
        self.statuses.extend(connected);
        if !suspects.is_empty() {
            sleep(self.settings.confirm_after).await;
            let suspects = suspects.into_iter().map(|(connection, _)| connection).collect();
            let confirmed = self.ask_once(suspects, swept).await?;
            self.statuses.extend(confirmed);
        }
        Ok(())
    }

    /// The statuses of connections. Those of which the API says nothing are left out.
    async fn ask_once(
        &self,
        connections: Vec<ConnectionId>,
        swept: &mut Swept,
    ) -> Result<Vec<(ConnectionId, ConnectionStatus)>, SweepError> {
        let asked = stream::iter(connections).map(async |connection| {
            let status = self.status(&connection).await;
            (connection, status)
        });
        let mut asked = std::pin::pin!(asked.buffer_unordered(CALLS));
        let mut told = Vec::new();
        while let Some((connection, status)) = asked.next().await {
            match status {
                Ok(status) => {
                    swept.calls += 1;
                    told.push((connection, status));
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

    async fn status(&self, connection: &ConnectionId) -> Result<ConnectionStatus, ApiError> {
        let ask = async || {
            self.pace.turn().await;
            self.connections_api.status(connection).await
        };
        THROTTLED.repeat(ATTEMPTS, ask, |status| matches!(status, Err(ApiError::Throttled(_)))).await
    }
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

    #[tokio::test(start_paused = true)]
    async fn turns_are_as_far_apart_as_the_rate_says() {
        let pace = Pace::new(NonZeroU32::new(50).unwrap());
        let start = Instant::now();
        for _ in 0..101 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(2));
        // Turns that were not used are not saved up.
        sleep(Duration::from_mins(1)).await;
        let start = Instant::now();
        for _ in 0..51 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }
}

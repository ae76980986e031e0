//! Misses of the last minute, over all broadcasts of an environment: whether many connections miss broadcasts. In rooms
//! of two, neither a single broadcast nor a single invocation shows that others fail as well.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    time::Duration,
};

use shared::ConnectionId;
use tokio::time::Instant;

use super::stats::{BroadcastStats, WIDESPREAD};

/// The time after which counting starts over.
const LATELY: Duration = Duration::from_secs(60);

/// Counts of an environment's broadcasts since `since`, which is at most about a minute ago.
#[derive(Debug)]
pub(super) struct Lately {
    since: Cell<Instant>,
    stats: Cell<BroadcastStats>,
    /// The connections that missed any broadcast, up to [`WIDESPREAD`] of them. Several misses of one connection are
    /// not widespread.
    missed: RefCell<HashSet<ConnectionId>>,
}

impl Lately {
    /// No broadcasts yet.
    pub(super) fn new() -> Self {
        Self { since: Cell::new(Instant::now()), stats: Cell::default(), missed: RefCell::default() }
    }

    /// Counts a miss of a connection.
    pub(super) fn missed(&self, connection: &ConnectionId) {
        self.start_over_in_time();
        let mut missed = self.missed.borrow_mut();
        if (missed.len() as u64) < WIDESPREAD {
            missed.insert(connection.clone());
        }
    }

    /// Adds the counts of a broadcast.
    pub(super) fn add(&self, stats: BroadcastStats) {
        self.start_over_in_time();
        let mut sum = self.stats.get();
        sum += stats;
        self.stats.set(sum);
    }

    /// Whether so many connections have missed broadcasts that no single one is at fault.
    pub(super) fn is_widely_missed(&self) -> bool {
        self.missed.borrow().len() as u64 >= WIDESPREAD && self.stats.get().is_widely_missed()
    }

    fn start_over_in_time(&self) {
        if self.since.get().elapsed() >= LATELY {
            self.since.set(Instant::now());
            self.stats.take();
            self.missed.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A broadcast to a room of two.
    fn one_of_two_misses(lately: &Lately, connection: &str) -> bool {
        lately.missed(&ConnectionId::new(connection));
        lately.add(BroadcastStats { delivered: 1, undelivered: 1, ..BroadcastStats::default() });
        lately.is_widely_missed()
    }

    #[tokio::test(start_paused = true)]
    async fn several_connections_make_it_widespread_and_a_minute_ends_it() {
        let lately = Lately::new();
        assert_eq!(["a", "b", "b", "c"].map(|name| one_of_two_misses(&lately, name)), [false, false, false, true]);
        tokio::time::advance(LATELY).await;
        assert!(!one_of_two_misses(&lately, "d"));
    }

    #[tokio::test]
    async fn a_few_among_many_are_not_widespread() {
        let lately = Lately::new();
        lately.add(BroadcastStats { delivered: 1_000, ..BroadcastStats::default() });
        assert!(!["a", "b", "c", "d"].iter().any(|name| one_of_two_misses(&lately, name)));
    }
}

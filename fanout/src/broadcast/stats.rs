//! Counts of what became of a broadcast.

use std::ops::AddAssign;

use shared::{
    RoomId,
    metrics::{
        Metrics,
        names::{DELIVERED, GONE, POSTS, RETRIED, THROTTLED, UNDELIVERED},
    },
};

use super::interruption::Interruption;
use crate::frame::{self, EncodedFrame};

/// Counts of a room's broadcast: of connections, unless a field says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BroadcastStats {
    /// Posts made: every attempt counts.
    pub posts: u64,
    /// Connections that got every frame that API Gateway takes.
    pub delivered: u64,
    /// Connections that are gone; their rows are deleted.
    pub gone: u64,
    /// Connections that answered 410 and whose rows are too young to delete.
    pub spared: u64,
    /// Connections that did not get every frame; their clients recover from the log.
    pub undelivered: u64,
    /// Frames that API Gateway found too large.
    pub too_large: u64,
    /// Posts answered 429.
    pub throttled: u64,
    /// Posts made again.
    pub retries: u64,
    /// Rows that had expired, and whose connections are closed by then.
    pub expired: u64,
    /// Connections that answered 410 and then took the frame after all.
    pub revived: u64,
}

/// Fewer misses than this are never widespread: a few connections may just be bad ones.
pub(super) const WIDESPREAD: u64 = 3;

impl AddAssign for BroadcastStats {
    fn add_assign(&mut self, other: Self) {
        let Self { posts, delivered, gone, spared, undelivered, too_large, throttled, retries, expired, revived } =
            other;
        self.posts += posts;
        self.delivered += delivered;
        self.gone += gone;
        self.spared += spared;
        self.undelivered += undelivered;
        self.too_large += too_large;
        self.throttled += throttled;
        self.retries += retries;
        self.expired += expired;
        self.revived += revived;
    }
}

impl BroadcastStats {
    /// Whether so many connections missed the broadcast (at least a tenth of them, and at least three) that no single
    /// one is at fault. Closing them would bring all their clients back at once, to whatever is in trouble.
    #[must_use]
    pub fn is_widely_missed(&self) -> bool {
        self.undelivered >= WIDESPREAD && self.undelivered * 10 >= self.connections()
    }

    /// Logs a broadcast, or the part of one that this invocation has posted.
    pub(super) fn log(&self, room: &RoomId, frames: &[EncodedFrame], interruption: Option<&Interruption>) {
        if self.is_widely_missed() {
            tracing::warn!(%room, undelivered = self.undelivered, "many connections did not get a broadcast");
        }
        tracing::info!(
            %room,
            ids = ?frame::ids(frames),
            presence = frames.iter().any(EncodedFrame::is_presence).then_some(true),
            firstSeq = frames.first().filter(|frame| !frame.is_presence()).map(EncodedFrame::first),
            lastSeq = frames.last().filter(|frame| !frame.is_presence()).map(EncodedFrame::last),
            frames = frames.len(),
            posts = self.posts,
            delivered = self.delivered,
            gone = self.gone,
            spared = self.spared,
            revived = self.revived,
            undelivered = self.undelivered,
            too_large = self.too_large,
            throttled = self.throttled,
            retries = self.retries,
            expired = self.expired,
            interruption = interruption.map(tracing::field::display),
            "broadcast"
        );
    }

    /// Adds the counts to an invocation's metrics.
    pub(super) fn count(&self, metrics: &Metrics) {
        for (counter, count) in [
            (POSTS, self.posts),
            (DELIVERED, self.delivered),
            (GONE, self.gone),
            (THROTTLED, self.throttled),
            (RETRIED, self.retries),
            (UNDELIVERED, self.undelivered),
        ] {
            metrics.add(counter, count);
        }
    }

    /// Connections that were tried.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.delivered + self.gone + self.spared + self.undelivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_misses_or_a_small_part_are_not_widespread() {
        let of = |undelivered, delivered| {
            BroadcastStats { delivered, undelivered, ..BroadcastStats::default() }.is_widely_missed()
        };
        assert!(!of(0, 0) && !of(2, 0) && !of(99, 901));
        assert!(of(3, 0) && of(100, 900));
    }

    #[test]
    fn counts_add_up() {
        let one = BroadcastStats {
            posts: 1,
            delivered: 2,
            gone: 3,
            spared: 4,
            undelivered: 5,
            too_large: 6,
            throttled: 7,
            retries: 8,
            expired: 9,
            revived: 10,
        };
        let mut sum = one;
        sum += one;
        assert_eq!((sum.posts, sum.connections(), sum.expired, sum.revived), (2, 28, 18, 20));
    }
}

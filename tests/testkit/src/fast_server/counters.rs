//! The counters of the server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The counts of the server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Posts answered 200.
    pub delivered: u64,
    /// Posts answered 429.
    pub throttled: u64,
    /// Deletes.
    pub deletes: u64,
    /// Bytes of all bodies posted.
    pub body_bytes: u64,
    /// The largest number of posts that waited for their answer. Without latency a post is answered before the next one
    /// is read, so this says nothing; [`max_tcp_connections`](Self::max_tcp_connections) is then the bound.
    pub max_in_flight: u64,
    /// TCP connections opened.
    pub tcp_connections: u64,
    /// The largest number of TCP connections open at one time.
    pub max_tcp_connections: u64,
    /// The mean time between a post's arrival and its answer, in microseconds: the actual `latency`.
    pub mean_latency_micros: u64,
    /// Posts to watched connections that were answered 200.
    pub watched: u64,
    /// The time from the latest reset of the counts to the last post to a watched connection.
    pub watched_micros: u64,
    /// With a bucket or random refusals, the time between the first post ever and the last one, in which the bucket was
    /// refilled.
    pub bucket_micros: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    started: Started,
    /// The time when the counts were last set to zero, since the start.
    reset_micros: AtomicU64,
    watched: AtomicU64,
    watched_micros: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) throttled: AtomicU64,
    pub(super) deletes: AtomicU64,
    pub(super) body_bytes: AtomicU64,
    pub(super) in_flight: Gauge,
    pub(super) tcp_open: Gauge,
    pub(super) tcp_connections: AtomicU64,
    pub(super) latency_micros: AtomicU64,
    pub(super) bucket_micros: AtomicU64,
}

/// The time when the server was started.
#[derive(Debug)]
struct Started(Instant);

impl Default for Started {
    fn default() -> Self {
        Self(Instant::now())
    }
}

/// A number that goes up and down, and its maximum.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    now: AtomicU64,
    max: AtomicU64,
}

pub(super) struct Raised<'a>(&'a Gauge);

impl Gauge {
    pub(super) fn raise(&self) -> Raised<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.max.fetch_max(now, Ordering::Relaxed);
        Raised(self)
    }

    fn take_max(&self) -> u64 {
        self.max.swap(self.now.load(Ordering::Relaxed), Ordering::Relaxed)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    /// Counts a delivered post to a watched connection.
    pub(super) fn count_watched(&self) {
        self.watched.fetch_add(1, Ordering::Relaxed);
        let micros = self.micros().saturating_sub(self.reset_micros.load(Ordering::Relaxed));
        self.watched_micros.fetch_max(micros, Ordering::Relaxed);
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.started.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            delivered: get(&self.delivered),
            throttled: get(&self.throttled),
            deletes: get(&self.deletes),
            body_bytes: get(&self.body_bytes),
            max_in_flight: get(&self.in_flight.max),
            tcp_connections: get(&self.tcp_connections),
            max_tcp_connections: get(&self.tcp_open.max),
            mean_latency_micros: get(&self.latency_micros)
                .checked_div(get(&self.delivered) + get(&self.throttled))
                .unwrap_or_default(),
            watched: get(&self.watched),
            watched_micros: get(&self.watched_micros),
            bucket_micros: get(&self.bucket_micros),
        }
    }

    /// Sets the counts to zero. Open connections and posts in flight stay, as the start of the next maxima.
    pub(super) fn reset(&self) {
        let counters = [
            &self.delivered,
            &self.throttled,
            &self.deletes,
            &self.body_bytes,
            &self.tcp_connections,
            &self.latency_micros,
            &self.watched,
            &self.watched_micros,
        ];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
        self.reset_micros.store(self.micros(), Ordering::Relaxed);
        self.in_flight.take_max();
        self.tcp_open.take_max();
    }
}

//! The memory of refused posts. After a refusal, ephemeral messages give way for a while, which is longer each time.
//!
//! ```text
//! 429 .. silent for 1 s .. posts again, 429 .. silent for 2 s .. 4 .. 8 .. 16 .. 30 .. 30 ..
//! ```
//!
//! API Gateway also answers 429 for a single connection whose client does not read. That would silence the whole stack
//! again and again, so a connection that was refused is not posted to for a while, and its next refusals start no
//! silence.

use std::{num::NonZeroUsize, time::Duration};

use lru::LruCache;
use shared::ConnectionId;

use super::dropped::Dropped;

/// The length of the first silence. All times here are in microseconds.
const SHORTEST: u64 = 1_000_000;

/// The length of the longest silence. When there was no refusal for so long after a silence, the next one is short
/// again.
const LONGEST: u64 = 30_000_000;

/// The time for which a connection that was refused is not posted to.
const LEFT_ALONE: u64 = 60_000_000;

/// The time after a refusal in which another one of the same connection is taken for the connection's own, and not the
/// account's.
const ITS_OWN: u64 = 600_000_000;

/// The most connections that are remembered. A silence adds one, so these are enough for hours of an account without
/// room.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_000).unwrap();

/// The silences of an environment. Times are in microseconds since the Unix epoch.
#[derive(Debug)]
pub struct Refusals {
    silent_until: u64,
    length: u64,
    cause: Dropped,
    /// The time of each connection's latest refusal.
    refused_at: LruCache<ConnectionId, u64>,
}

impl Default for Refusals {
    fn default() -> Self {
        let refused_at = LruCache::new(REMEMBERED);
        Self { silent_until: 0, length: 0, cause: Dropped::Throttled, refused_at }
    }
}

impl Refusals {
    /// The reason why nothing is posted now; `None` when posts may be made.
    #[must_use]
    pub fn silence(&self, now: u64) -> Option<Dropped> {
        (now < self.silent_until).then_some(self.cause)
    }

    /// Whether a connection is not posted to now, because it was refused lately.
    #[must_use]
    pub fn is_left_alone(&self, connection: &ConnectionId, now: u64) -> bool {
        self.refused_at.peek(connection).is_some_and(|at| now < at + LEFT_ALONE)
    }

    /// Notes that a post to a connection was answered 429.
    pub fn refused(&mut self, connection: &ConnectionId, retry_after: Option<Duration>, now: u64) {
        // Only the first refusal counts of posts that were in flight together.
        if self.silence(now).is_some() {
            return;
        }
        let before = self.refused_at.put(connection.clone(), now);
        if before.is_none_or(|before| now >= before + ITS_OWN) {
            let wanted = retry_after.map_or(0, |wait| u64::try_from(wait.as_micros()).unwrap_or(LONGEST));
            self.begin(Dropped::Throttled, wanted, now);
        }
    }

    /// Notes that no connection can be posted to, for want of permission or of an endpoint that answers.
    pub fn failed(&mut self, now: u64) {
        if self.silence(now).is_none() {
            self.begin(Dropped::Failed, 0, now);
        }
    }

    fn begin(&mut self, cause: Dropped, at_least: u64, now: u64) {
        let is_soon = now < self.silent_until + LONGEST;
        let length = if is_soon { 2 * self.length } else { SHORTEST };
        self.length = length.max(at_least).clamp(SHORTEST, LONGEST);
        self.silent_until = now + self.length;
        self.cause = cause;
        tracing::info!(?cause, milliseconds = self.length / 1_000, "no ephemeral messages for a while");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000_000;
    const SECOND: u64 = 1_000_000;

    fn connection(number: u64) -> ConnectionId {
        ConnectionId::new(&format!("c{number}"))
    }

    /// Seconds of silence from now on.
    fn silent_for(refusals: &Refusals, now: u64) -> u64 {
        (0..100).take_while(|second| refusals.silence(now + second * SECOND).is_some()).count() as u64
    }

    #[test]
    fn a_refusal_silences_for_a_second_and_each_that_follows_for_twice_as_long() {
        let (mut refusals, mut now) = (Refusals::default(), START);
        assert_eq!(refusals.silence(now), None);
        for (number, seconds) in (0..).zip([1, 2, 4, 8, 16, 30, 30]) {
            refusals.refused(&connection(number), None, now);
            assert_eq!((refusals.silence(now), silent_for(&refusals, now)), (Some(Dropped::Throttled), seconds));
            now += seconds * SECOND;
        }
        now += LONGEST;
        refusals.refused(&connection(99), None, now);
        assert_eq!(silent_for(&refusals, now), 1, "it has gone well for long");
    }

    #[test]
    fn posts_that_were_in_flight_make_a_silence_no_longer() {
        let mut refusals = Refusals::default();
        (0..64).for_each(|number| refusals.refused(&connection(number), None, START + number));
        assert_eq!(silent_for(&refusals, START), 1);
        assert!(!refusals.is_left_alone(&connection(1), START + SECOND), "the account's fault");
    }

    #[test]
    fn a_connection_that_is_refused_alone_silences_once() {
        let (mut refusals, mut now) = (Refusals::default(), START);
        refusals.refused(&connection(0), None, now);
        assert!(refusals.is_left_alone(&connection(0), now + LEFT_ALONE - 1));
        for _ in 0..100 {
            now += LEFT_ALONE;
            assert!(!refusals.is_left_alone(&connection(0), now));
            refusals.refused(&connection(0), None, now);
            assert_eq!(refusals.silence(now), None);
        }
        refusals.refused(&connection(1), None, now);
        assert!(refusals.silence(now).is_some(), "another one's tells");
        now += ITS_OWN;
        refusals.refused(&connection(0), None, now);
        assert!(refusals.silence(now).is_some(), "it was well for so long");
    }

    #[test]
    fn a_wait_that_is_asked_for_is_kept_within_bounds() {
        for (asked, seconds) in [(Duration::ZERO, 1), (Duration::from_secs(7), 7), (Duration::MAX, 30)] {
            let mut refusals = Refusals::default();
            refusals.refused(&connection(0), Some(asked), START);
            assert_eq!(silent_for(&refusals, START), seconds, "{asked:?}");
        }
    }

    #[test]
    fn an_endpoint_that_is_not_there_silences_by_its_own_name() {
        let mut refusals = Refusals::default();
        refusals.failed(START);
        refusals.refused(&connection(0), None, START + 1);
        assert_eq!((refusals.silence(START), silent_for(&refusals, START)), (Some(Dropped::Failed), 1));
    }
}

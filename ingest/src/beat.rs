//! The beat: when a client should sync next. Rooms with many messages are synced often, silent ones seldom, and all of
//! them less often while the tables throttle.

use std::ops::RangeInclusive;

use fastrand::Rng;

/// The most by which throttling stretches the time between two syncs.
const MAX_STRETCH: u64 = 8;

/// Throttled calls double the stretch at most this often, in milliseconds: those of one moment have one cause.
const STRETCH_EVERY: u64 = 1_000;

/// A time without throttled calls after which the stretch is halved, in milliseconds.
const RELAX_AFTER: u64 = 10_000;

/// When to try a throttled request again, in milliseconds, times the stretch. DynamoDB and SQS count by the second.
const RETRY_AFTER: u64 = 1_000;

/// The beat that an environment tells its clients. All times are in milliseconds; points in time count from the Unix
/// epoch.
#[derive(Debug)]
pub struct Beat {
    bounds: RangeInclusive<u64>,
    stretch: Stretch,
    jitter: Rng,
}

impl Beat {
    /// A beat with bounds for the time between two syncs.
    #[must_use]
    pub fn new(bounds: RangeInclusive<u64>, jitter: Rng) -> Self {
        Self { bounds, stretch: Stretch::default(), jitter }
    }

    /// A call to a table was throttled.
    pub fn throttled(&mut self, now: u64) {
        self.stretch.throttled(now);
    }

    /// When to sync some rooms next, whose newest message is from the time `newest`, if there is any: after as long as
    /// they have been silent, within the bounds and never above `longest`. Rooms that have been silent for two minutes
    /// are synced in two minutes. Jitter takes up to a fiftieth off, so that clients that came together do not stay
    /// together; more would cost idle clients more beats.
    pub fn sync_after(&mut self, newest: Option<u64>, longest: Option<u64>, now: u64) -> u64 {
        let most = longest.unwrap_or(u64::MAX).min(*self.bounds.end());
        let least = most.min(*self.bounds.start());
        let age = newest.map_or(most, |newest| now.saturating_sub(newest));
        let stretched = (age.clamp(least, most) * self.stretch.at(now)).min(most);
        stretched - self.jitter.u64(0..=stretched / 50)
    }

    /// When to try a throttled request again.
    pub fn retry_after(&mut self, now: u64) -> u64 {
        RETRY_AFTER * self.stretch.at(now)
    }
}

/// The factor by which clients should wait longer than usual: 1, 2, 4 or 8.
#[derive(Debug)]
struct Stretch {
    factor: u64,
    doubled_at: u64,
    /// When a call was throttled, or the factor halved, for the last time.
    since: u64,
}

impl Default for Stretch {
    fn default() -> Self {
        Self { factor: 1, doubled_at: 0, since: 0 }
    }
}

impl Stretch {
    fn throttled(&mut self, now: u64) {
        self.relax(now);
        self.since = now;
        if self.doubled_at + STRETCH_EVERY <= now {
            self.doubled_at = now;
            self.factor = (self.factor * 2).min(MAX_STRETCH);
        }
    }

    fn at(&mut self, now: u64) -> u64 {
        self.relax(now);
        self.factor
    }

    fn relax(&mut self, now: u64) {
        while self.factor > 1 && self.since + RELAX_AFTER <= now {
            self.since += RELAX_AFTER;
            self.factor /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn beat() -> Beat {
        Beat::new(30_000..=540_000, Rng::with_seed(1))
    }

    /// Whether a time is the expected one less a jitter of at most a fiftieth.
    fn is_about(time: u64, expected: u64) -> bool {
        (expected - expected / 50..=expected).contains(&time)
    }

    #[test]
    fn rooms_are_synced_as_seldom_as_they_are_silent_within_bounds() {
        let mut beat = beat();
        for (silent, expected) in
            [(0, 30_000), (29_000, 30_000), (100_000, 100_000), (539_000, 539_000), (5_000_000, 540_000)]
        {
            let after = beat.sync_after(Some(NOW - silent), None, NOW);
            assert!(is_about(after, expected), "{silent}: {after}");
        }
        assert!(is_about(beat.sync_after(None, None, NOW), 540_000));
        assert!(is_about(beat.sync_after(None, Some(90_000), NOW), 90_000));
        assert!(is_about(beat.sync_after(Some(NOW), Some(27_000), NOW), 27_000), "though others do not so soon");
        assert!(is_about(beat.sync_after(None, Some(3_240_000), NOW), 540_000));
        assert!(is_about(beat.sync_after(Some(NOW + 7_000), None, NOW), 30_000), "stamped by a clock that is ahead");
    }

    #[test]
    fn times_are_spread_and_never_above_the_most() {
        let mut beat = beat();
        let mut quarters = [0; 4];
        for _ in 0..4_000 {
            let after = beat.sync_after(None, None, NOW);
            assert!((529_200..=540_000).contains(&after));
            quarters[usize::try_from((after - 529_200) / 2_701).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|count| (800..1_200).contains(count)), "{quarters:?}");
    }

    #[test]
    fn throttled_calls_stretch_the_time_once_a_second_and_ten_quiet_seconds_halve_it() {
        let mut stretch = Stretch::default();
        let mut factors = Vec::new();
        for millis in [0, 10, 999, 1_000, 1_500, 2_000, 3_000, 4_000] {
            stretch.throttled(NOW + millis);
            factors.push(stretch.at(NOW + millis));
        }
        assert_eq!(factors, [2, 2, 2, 4, 4, 8, 8, 8]);
        let later = |seconds: u64| NOW + 4_000 + seconds * 1_000;
        assert_eq!([9, 10, 19, 20, 29, 30, 300].map(|seconds| stretch.at(later(seconds))), [8, 4, 4, 2, 2, 1, 1]);
        stretch.throttled(later(300));
        assert_eq!(stretch.at(later(309)), 2);
    }

    #[test]
    fn while_tables_throttle_clients_wait_longer() {
        let mut beat = beat();
        beat.throttled(NOW);
        beat.throttled(NOW + 1_000);
        assert!(is_about(beat.sync_after(Some(NOW), None, NOW + 1_000), 120_000));
        assert!(is_about(beat.sync_after(None, None, NOW + 1_000), 540_000));
        assert_eq!(beat.retry_after(NOW + 1_000), 4_000);
        assert_eq!(beat.retry_after(NOW + 60_000), 1_000);
    }
}

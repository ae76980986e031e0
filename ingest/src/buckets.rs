//! Token buckets, by the generic cell rate algorithm: for each key only the time is kept at which its bucket is full
//! again. How much is in the bucket follows from that. With 10 units a second and a burst of 2 s, for example, a bucket
//! that is full again in 0.5 s has 15 of its 20 units.

use std::collections::HashMap;

/// The most keys: some 2 MiB. Full buckets make way for others. A key for which there is no place has no limit for the
/// moment.
const MOST: usize = 20_000;

/// The number of keys up to which full buckets stay.
const FEW: usize = 1_000;

const MICROS: u64 = 1_000_000;

/// Buckets of one rate, by key. Times are in microseconds since the Unix epoch.
#[derive(Debug)]
pub struct Buckets {
    /// Units per second; 0 is no limit.
    rate: u64,
    /// The capacity of a bucket, as the time in which it fills.
    burst: u64,
    full_at: HashMap<Box<str>, u64>,
    pruned_at: usize,
}

impl Buckets {
    /// Buckets that fill with `rate` units a second and hold those of `burst_seconds`; a rate of 0 is no limit.
    #[must_use]
    pub fn new(rate: u64, burst_seconds: u64) -> Self {
        Self { rate, burst: burst_seconds * MICROS, full_at: HashMap::new(), pruned_at: FEW }
    }

    /// The time until a key's bucket has so many units; `None` if it has them. A full bucket has as many as are
    /// asked for: more than the burst may be taken at once, and the next one waits longer for it.
    #[must_use]
    pub fn wait(&self, key: &str, units: u64, now: u64) -> Option<u64> {
        let full_at = self.full_at.get(key).copied().filter(|full_at| *full_at > now)?;
        let cost = self.cost(units).min(self.burst);
        let wait = (full_at + cost).saturating_sub(now + self.burst);
        (wait > 0).then_some(wait)
    }

    /// Takes so many units, whether they are there or not.
    pub fn take(&mut self, key: &str, units: u64, now: u64) {
        if self.rate == 0 {
            return;
        }
        let cost = self.cost(units);
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = (*full_at).max(now) + cost;
            return;
        }
        if self.full_at.len() >= self.pruned_at {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.pruned_at = (self.full_at.len() * 2).clamp(FEW, MOST);
        }
        if self.full_at.len() < MOST {
            self.full_at.insert(key.into(), now + cost);
        }
    }

    /// Takes so many units, or all if the bucket has less.
    pub fn drain(&mut self, key: &str, units: u64, now: u64) {
        self.take(key, units, now);
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = (*full_at).min(now + self.burst);
        }
    }

    /// The time in which so many units fill.
    fn cost(&self, units: u64) -> u64 {
        (units * MICROS).checked_div(self.rate).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000 * MICROS;

    /// Takes the units if they are there; otherwise says how long to wait.
    fn ask(buckets: &mut Buckets, key: &str, units: u64, now: u64) -> Option<u64> {
        let wait = buckets.wait(key, units, now);
        if wait.is_none() {
            buckets.take(key, units, now);
        }
        wait
    }

    #[test]
    fn a_key_has_its_burst_at_once_and_then_its_rate() {
        let mut buckets = Buckets::new(10, 2);
        let taken = |buckets: &mut Buckets, now| (0..50).filter(|_| ask(buckets, "a", 1, now).is_none()).count();
        assert_eq!(taken(&mut buckets, NOW), 20);
        assert_eq!(taken(&mut buckets, NOW + MICROS), 10);
        assert_eq!(taken(&mut buckets, NOW + 60 * MICROS), 20, "no more than the burst, however long it was idle");
        assert_eq!(ask(&mut buckets, "b", 1, NOW), None, "another's bucket");
    }

    #[test]
    fn whoever_is_refused_is_told_when_there_is_room() {
        let mut buckets = Buckets::new(10, 2);
        buckets.take("a", 20, NOW);
        assert_eq!(ask(&mut buckets, "a", 5, NOW), Some(MICROS / 2));
        assert_eq!(ask(&mut buckets, "a", 5, NOW + MICROS / 2 - 1), Some(1), "asking has cost nothing");
        assert_eq!(ask(&mut buckets, "a", 5, NOW + MICROS / 2), None);
    }

    #[test]
    fn what_is_larger_than_the_burst_is_possible_and_paid_for_afterwards() {
        let mut buckets = Buckets::new(1_000, 5);
        assert_eq!(ask(&mut buckets, "a", 30_000, NOW), None);
        assert_eq!(ask(&mut buckets, "a", 1, NOW), Some(25_001 * MICROS / 1_000));
        assert_eq!(ask(&mut buckets, "a", 30_000, NOW + MICROS), Some(29 * MICROS), "only a full bucket has so much");
        assert_eq!(ask(&mut buckets, "a", 30_000, NOW + 30 * MICROS), None);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut buckets = Buckets::new(0, 5);
        assert!((0..10_000).all(|_| ask(&mut buckets, "a", 1_000_000, NOW).is_none()));
        assert!(buckets.full_at.is_empty());
    }

    #[test]
    fn a_drained_bucket_owes_nothing() {
        let mut buckets = Buckets::new(10, 2);
        buckets.drain("a", 1_000, NOW);
        assert_eq!(ask(&mut buckets, "a", 1, NOW), Some(MICROS / 10));
    }

    #[test]
    fn there_are_only_so_many_keys_and_full_buckets_make_way() {
        let mut buckets = Buckets::new(1, 5);
        for key in 0..MOST + 10 {
            buckets.take(&key.to_string(), 1, NOW);
        }
        assert_eq!((buckets.full_at.len(), buckets.wait("0", 5, NOW).is_some()), (MOST, true));
        buckets.take("late", 1, NOW + MICROS);
        assert_eq!((buckets.full_at.len(), buckets.pruned_at), (1, FEW));
    }
}

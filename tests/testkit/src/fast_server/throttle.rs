//! The posts that are answered 429: those beyond the account's token bucket, and a random share.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::token_bucket::TokenBucket;

/// The account's bucket, which is untouched until the first post.
pub(super) struct Throttle {
    bucket: Option<(f64, f64)>,
    empty_for: Duration,
    refused_at_random: f64,
    opened: Mutex<Option<(Instant, Option<TokenBucket>)>>,
}

/// The result of a post.
pub(super) struct Taken {
    pub(super) is_taken: bool,
    /// The time since the first post ever.
    pub(super) since_first: Duration,
}

impl Throttle {
    /// A throttle with a bucket (tokens a second, and burst), which is empty until `empty_for` after the first post,
    /// and with a share of posts (0 to 1) that is refused whatever the bucket holds. `None` when nothing is ever
    /// refused.
    pub(super) fn new(bucket: Option<(f64, f64)>, empty_for: Duration, refused_at_random: f64) -> Option<Self> {
        let refuses = bucket.is_some() || refused_at_random > 0.0;
        refuses.then(|| Self { bucket, empty_for, refused_at_random, opened: Mutex::default() })
    }

    pub(super) fn take(&self, now: Instant) -> Taken {
        let mut opened = self.opened.lock().unwrap();
        let (first, bucket) = opened.get_or_insert_with(|| (now, self.open(now)));
        let is_taken = (self.refused_at_random == 0.0 || fastrand::f64() >= self.refused_at_random)
            && bucket.as_mut().is_none_or(|bucket| bucket.try_take(now));
        Taken { is_taken, since_first: now.saturating_duration_since(*first) }
    }

    fn open(&self, now: Instant) -> Option<TokenBucket> {
        self.bucket.map(|(rate, burst)| {
            if self.empty_for > Duration::ZERO {
                TokenBucket::empty(rate, burst, now + self.empty_for)
            } else {
                TokenBucket::new(rate, burst, now)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_can_be_empty_until_a_moment_after_the_first_post() {
        let throttle = Throttle::new(Some((1_000.0, 100.0)), Duration::from_millis(60), 0.0).unwrap();
        let first = Instant::now();
        let taken_at =
            |millis| (0..10).filter(|_| throttle.take(first + Duration::from_millis(millis)).is_taken).count();
        assert_eq!([taken_at(0), taken_at(60), taken_at(63), taken_at(80)], [0, 0, 3, 10]);
    }

    #[test]
    fn a_share_is_refused_whatever_the_rate() {
        fastrand::seed(7);
        let throttle = Throttle::new(None, Duration::ZERO, 0.1).unwrap();
        let now = Instant::now();
        let refused = (0..10_000).filter(|_| !throttle.take(now).is_taken).count();
        assert!((800..1_200).contains(&refused), "{refused}");
        assert!(Throttle::new(None, Duration::ZERO, 0.0).is_none());
    }
}

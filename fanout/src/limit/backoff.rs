//! The wait before another attempt of a post.

use std::time::Duration;

use shared::backoff::Backoff;

/// The waits between the attempts of one post.
const POSTS: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(2) };

/// The longest `Retry-After` that is honoured. A connection that asks for more time had better recover from the log:
/// the invocation has other rooms to serve.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(10);

/// The wait after attempt number `attempt` (the first is 1) has failed.
#[must_use]
pub fn retry_delay(attempt: u32) -> Duration {
    POSTS.delay(attempt.saturating_sub(1))
}

/// The wait after attempt number `attempt` was answered 429: what `Retry-After` asks for, and the jitter on top. `None`
/// means giving up, because the server asks for more than [`LONGEST_RETRY_AFTER`].
#[must_use]
pub fn retry_delay_after(attempt: u32, retry_after: Option<Duration>) -> Option<Duration> {
    let least = retry_after.unwrap_or_default();
    (least <= LONGEST_RETRY_AFTER).then(|| least + retry_delay(attempt))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wait_is_the_shortest() {
        fastrand::seed(1);
        assert!((0..100).all(|_| retry_delay(1) <= Duration::from_millis(50)));
        assert!((0..100).any(|_| retry_delay(6) > Duration::from_secs(1)));
    }

    #[test]
    fn retry_after_is_honoured_up_to_ten_seconds() {
        let wait = |seconds| retry_delay_after(1, Some(Duration::from_secs(seconds)));
        assert!(wait(3).is_some_and(|wait| wait >= Duration::from_secs(3)));
        assert!(wait(10).is_some_and(|wait| wait >= Duration::from_secs(10)));
        assert_eq!(wait(11), None);
        assert!(retry_delay_after(1, None).is_some_and(|wait| wait <= Duration::from_millis(50)));
    }
}

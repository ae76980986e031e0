//! The moments at which posts may start.

use std::time::Duration;

use tokio::time::Instant;

/// The pause before the first paced post: as long as nearly all posts take.
pub(super) const DRAIN: Duration = Duration::from_millis(50);

/// The time that a late wake-up may catch up. Timers fire up to a millisecond late, and a busy thread runs a few more
/// late; at 10,000 posts a second, a millisecond is the time of ten posts. More than this is lost, so that idleness
/// saves up no burst.
pub(super) const SLACK: Duration = Duration::from_millis(5);

/// Keeps posts at a rate. A moment is taken by the post that starts, never promised to one that waits: the rate may
/// change meanwhile, and the waiting post may be dropped.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    /// The moment that the latest post has used up.
    latest: Option<Instant>,
}

impl Pacer {
    /// The moment of the next post, at a rate in posts per second; `None` means now.
    pub(super) fn due(&self, now: Instant, rate: f64) -> Option<Instant> {
        let due = self.latest? + interval(rate);
        (due > now).then_some(due)
    }

    /// Takes the next moment for a post that starts now.
    pub(super) fn take(&mut self, now: Instant, rate: f64) {
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        self.latest = Some(self.latest.map_or(earliest, |latest| (latest + interval(rate)).max(earliest)));
    }
}

fn interval(rate: f64) -> Duration {
    Duration::from_secs_f64(rate.recip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idleness_saves_up_no_more_than_the_slack() {
        let mut pacer = Pacer::default();
        let start = Instant::now();
        pacer.take(start, 1_000.0);
        let later = start + Duration::from_secs(60);
        let at_once = (0..100).take_while(|_| {
            let is_due = pacer.due(later, 1_000.0).is_none();
            pacer.take(later, 1_000.0);
            is_due
        });
        assert_eq!(at_once.count(), 6);
    }
}

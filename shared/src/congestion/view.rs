//! Congestion as it is known to the functions that put messages into the queue, and which messages they admit.

use std::collections::HashMap;

use super::{Cut, room_of};
use crate::room::RoomId;

/// The shortest time between two looks at congestion.
pub const LOOK_EVERY: u64 = 3_000;

/// The time for which a depth of the queue counts: a function that can no longer read it refuses nobody for long.
const DEPTH_BELIEVED: u64 = 15_000;

/// The factor by which the message of a quiet subject is more likely to be admitted: a flood is shed before those who
/// send a message now and then.
const QUIET_WEIGHT: f64 = 8.0;

/// When to try again, at least and at most.
const RETRY: (f64, f64) = (1_000.0, 30_000.0);

/// When to try again while the queue is full: by then its depth has been read again.
const RETRY_FULL: f64 = 10_000.0;

/// The message is not admitted now; it may be tried again after so many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNow {
    /// When to try again.
    pub retry_after_ms: u64,
}

/// The state of congestion: the cut of each room that is behind, and the number of messages in the queue.
#[derive(Debug)]
pub struct Congestion {
    /// The cuts of each room: one for each group of it that is behind.
    cuts: HashMap<RoomId, Vec<Cut>>,
    depth: Option<(u64, u64)>,
    depth_limit: u64,
    looked_at: Option<u64>,
}

impl Congestion {
    /// A view that knows nothing yet. With `depth_limit` messages or more in the queue, nothing is admitted; 0 is no
    /// limit.
    #[must_use]
    pub fn new(depth_limit: u64) -> Self {
        Self { cuts: HashMap::new(), depth: None, depth_limit, looked_at: None }
    }

    /// Begins a look if one is due, and says whether. The next one is due [`LOOK_EVERY`] later.
    pub fn begin_look(&mut self, now: u64) -> bool {
        let is_due = self.looked_at.is_none_or(|at| now.abs_diff(at) >= LOOK_EVERY);
        if is_due {
            self.looked_at = Some(now);
        }
        is_due
    }

    /// Learns the cuts of all FIFO groups, in place of those known before. A look that failed must not call this.
    pub fn learn_cuts(&mut self, cuts: impl IntoIterator<Item = (String, Cut)>) {
        self.cuts.clear();
        for (group, cut) in cuts {
            // A group that names no room concerns nobody here.
            if let Ok(room) = RoomId::parse(room_of(&group)) {
                self.cuts.entry(room).or_default().push(cut);
            }
        }
    }

    /// Learns how many messages the queue had at a time.
    pub fn learn_depth(&mut self, depth: u64, now: u64) {
        self.depth = Some((depth, now));
    }

    /// The share of a room's messages that is admitted: the lowest of its groups' cuts.
    #[must_use]
    pub fn fraction(&self, room: &RoomId, now: u64) -> f64 {
        let cuts = self.cuts.get(room).into_iter().flatten();
        // By a clock that is behind the writer's the cut has not begun; it is in force all the same.
        cuts.map(|cut| cut.fraction_at(now.max(cut.since))).fold(1.0, f64::min)
    }

    /// Admits a message for a room with the probability of the room's share, and more likely if `is_quiet`: if its
    /// subject has hardly sent anything lately.
    ///
    /// # Errors
    /// When it is refused, with the time to try again.
    pub fn admits(&self, room: &RoomId, is_quiet: bool, now: u64, random: &mut fastrand::Rng) -> Result<(), NotNow> {
        if self.is_full(now) {
            return Err(not_now(RETRY_FULL, random));
        }
        let fraction = self.fraction(room, now);
        let share = if is_quiet { (fraction * QUIET_WEIGHT).min(1.0) } else { fraction };
        if random.f64() < share { Ok(()) } else { Err(not_now(RETRY.0 / share, random)) }
    }

    fn is_full(&self, now: u64) -> bool {
        let believed = self.depth.filter(|(_, at)| now.abs_diff(*at) < DEPTH_BELIEVED);
        self.depth_limit > 0 && believed.is_some_and(|(depth, _)| depth >= self.depth_limit)
    }
}

/// A wait of up to half as much again, so that those who are refused together do not come back together.
fn not_now(millis: f64, random: &mut fastrand::Rng) -> NotNow {
    let jittered = (millis * (1.0 + random.f64() / 2.0)).clamp(RETRY.0, RETRY.1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 30 seconds")]
    let retry_after_ms = jittered as u64;
    NotNow { retry_after_ms }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn room(name: &str) -> RoomId {
        RoomId::parse(name).unwrap()
    }

    fn cut(fraction: f64) -> Cut {
        Cut { fraction, since: NOW, hold: 60_000 }
    }

    /// The number of messages for the room `r` that are admitted of 10,000.
    fn admitted(congestion: &Congestion, is_quiet: bool) -> usize {
        let mut random = Rng::with_seed(7);
        (0..10_000).filter(|_| congestion.admits(&room("r"), is_quiet, NOW, &mut random).is_ok()).count()
    }

    #[test]
    fn a_room_that_is_behind_admits_its_share_and_eight_times_as_much_of_the_quiet() {
        let mut congestion = Congestion::new(0);
        assert_eq!(admitted(&congestion, false), 10_000);
        congestion.learn_cuts([("r".to_owned(), cut(0.05)), ("s".to_owned(), cut(0.001))]);
        let (loud, quiet) = (admitted(&congestion, false), admitted(&congestion, true));
        assert!((430..570).contains(&loud) && (3_850..4_150).contains(&quiet), "{loud} {quiet}");
        assert!(congestion.admits(&room("t"), false, NOW, &mut Rng::with_seed(1)).is_ok());
    }

    #[test]
    fn of_a_rooms_groups_the_lowest_share_counts() {
        let mut congestion = Congestion::new(0);
        let cuts = [("r/0", 0.5), ("r/1", 0.25), ("r", 0.75), ("no room/1", 0.1)];
        congestion.learn_cuts(cuts.map(|(group, fraction)| (group.to_owned(), cut(fraction))));
        let fraction = |congestion: &Congestion, now| congestion.fraction(&room("r"), now).to_string();
        assert_eq!(
            [0, 60_000, 90_000, 120_000].map(|at| fraction(&congestion, NOW + at)),
            ["0.25", "0.25", "0.5", "1"]
        );
        assert_eq!(fraction(&congestion, NOW - 3_000), "0.25", "by a clock that is behind too");
        congestion.learn_cuts([]);
        assert_eq!(fraction(&congestion, NOW), "1");
    }

    #[test]
    fn whoever_is_refused_comes_back_after_one_to_thirty_seconds_not_all_at_once() {
        let mut congestion = Congestion::new(0);
        let mut random = Rng::with_seed(3);
        for (fraction, from, to) in [(0.999, 1_000, 1_500), (0.2, 5_000, 7_500), (0.001, 30_000, 30_000)] {
            congestion.learn_cuts([("r".to_owned(), cut(fraction))]);
            let mut times: Vec<u64> = (0..20_000)
                .filter_map(|_| congestion.admits(&room("r"), false, NOW, &mut random).err())
                .map(|not_now| not_now.retry_after_ms)
                .collect();
            times.sort_unstable();
            let (first, last) = (times[0], times[times.len() - 1]);
            assert!(first >= from && last <= to + 2, "{fraction}: {first} to {last}");
            assert!(from == to || last - first > (to - from) / 2, "{fraction}: {first} to {last}");
        }
    }

    #[test]
    fn looks_are_due_every_three_seconds_also_when_a_clock_is_set_back() {
        let mut congestion = Congestion::new(0);
        let due = [0, 1, 2_999, 3_000, 3_001, 6_000].map(|at| congestion.begin_look(NOW + at));
        assert_eq!(due, [true, false, false, true, false, true]);
        assert!(congestion.begin_look(NOW - 100_000));
    }
}

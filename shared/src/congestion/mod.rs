//! Congestion: a room that is behind sheds its own senders before it can stall other rooms. A FIFO queue looks for
//! deliverable groups only among its first 120,000 messages ("Amazon SQS quotas"), so the backlog of one room, left
//! alone, becomes a backlog of all.
//!
//! Fan-out sees how its groups move and writes cuts ([`law`]). The functions that put messages into the queue read the
//! cuts every few seconds and admit that share ([`view`]). Nothing else connects the two, and a message that was
//! accepted is never dropped. The law is simulated in `tests/tests/integration/flood` and explained in
//! `docs/shares.md`.
//!
//! All times are in milliseconds; points in time count from the Unix epoch.

pub mod law;
pub mod view;

/// The time after which every function that puts messages knows of a cut: each reads the cuts every three seconds.
pub const LEARNT_AFTER: u64 = 4_000;

/// The time in which a cut's share doubles once its hold is over.
const DOUBLES_IN: f64 = 30_000.0;

/// The smallest share that is admitted: some of a flood always gets through, so that its end is seen.
const LEAST: f64 = 1.0 / 4_096.0;

/// A cut: the share of a room's messages that is admitted.
///
/// The share stays the same until `since + hold`, and then doubles every half a minute until everything is admitted. So
/// nobody has to open the room again, and a fan-out that has stopped cannot shed anybody for ever.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// The share, above 0, at most 1.
    pub fraction: f64,
    /// When it was written.
    pub since: u64,
    /// The time for which the share stays the same: until the messages that were sent under it reach the head of the
    /// queue.
    pub hold: u64,
}

impl Cut {
    /// The share at a time, at most 1. Before the cut was written it is 1.
    #[must_use]
    pub fn fraction_at(&self, time: u64) -> f64 {
        if time < self.since {
            return 1.0;
        }
        let open_for = time.saturating_sub(self.since.saturating_add(self.hold));
        // A time beyond 2^53 ms loses digits, and the room is open by then in any case.
        #[expect(clippy::cast_precision_loss, reason = "times of milliseconds, far below 2^53")]
        let doublings = open_for as f64 / DOUBLES_IN;
        (self.fraction.max(LEAST) * doublings.exp2()).min(1.0)
    }

    /// When everything is admitted again.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        let doublings = (1.0 / self.fraction.clamp(LEAST, 1.0)).log2();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 12 half minutes")]
        let opening = (doublings * DOUBLES_IN).ceil() as u64;
        self.since.saturating_add(self.hold).saturating_add(opening)
    }
}

/// The room of a FIFO group: `{room}` in the rooms' queue, `{room}/{shard}` in the shard queue. A room id has no slash.
#[must_use]
pub fn room_of(group: &str) -> &str {
    group.split_once('/').map_or(group, |(room, _)| room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_holds_then_doubles_every_half_minute_until_it_is_nothing() {
        let cut = Cut { fraction: 0.125, since: 100_000, hold: 20_000 };
        let eighths = [99_999, 100_000, 120_000, 150_000, 180_000, 210_000, 900_000].map(|time| {
            let eighths = cut.fraction_at(time) * 8.0;
            assert!(eighths.fract() < 1e-9, "{eighths}");
            eighths.to_string()
        });
        assert_eq!(eighths, ["8", "1", "1", "2", "4", "8", "8"]);
        assert_eq!(cut.ends_at(), 210_000);
    }

    #[test]
    fn a_cut_of_nothing_is_none_of_everything() {
        let cut = Cut { fraction: 0.0, since: 0, hold: u64::MAX };
        assert!((cut.fraction_at(5) - LEAST).abs() < f64::EPSILON);
        assert_eq!(cut.ends_at(), u64::MAX);
    }

    #[test]
    fn a_shard_is_of_its_room() {
        assert_eq!((room_of("chat:7"), room_of("chat:7/12")), ("chat:7", "chat:7"));
    }
}

//! The law of congestion: from two sights of a FIFO group's head to the share of the group's messages that is admitted.
//!
//! Fan-out sees from a full batch when its first record, the group's head, was queued. Two such sights of one group:
//!
//! ```text
//!                  first       second      apart
//! seen at          12:00:02.1  12:00:05.1  3.0 s
//! head queued at   12:00:00.1  12:00:00.2  0.1 s
//! ```
//!
//! Within 3 s, messages went out that had come in within 0.1 s. So messages come in 30 times as fast as they go out.
//! This quotient is the *growth*, and no message has to be counted for it. At a growth of 30 a thirtieth of the
//! messages should be admitted, and a little less, so that the backlog drains too.
//!
//! Three cases in which nobody must be shed:
//! - *A burst.* Its head moves as slowly as that of a flood, but the queue as a whole gets shorter, so other rooms are
//!   not threatened.
//! - *An outage*, in which nothing is drained. A head that is delivered again and has not moved starts the measuring
//!   anew.
//! - *A slow broadcast* in a room with few messages. A batch that is not full has emptied its groups, and is no sight.

use super::{Cut, LEARNT_AFTER};

/// The wait of a head up to which fan-out does nothing about its group.
pub const PATIENCE: u64 = 2_000;

/// The change of a head's wait from which on the group falls behind or catches up; a smaller one may be chance. A flood
/// reaches it in two seconds, an excess of a tenth in twenty.
const CHANGE: u64 = 2_000;

/// The age of a sight after which a new one takes its place: an older one says little about the present.
const RENEWED_AFTER: u64 = 60_000;

/// The longest time between two sights that are compared. Beyond it the group may have caught up in between.
const MOST_APART: u64 = 90_000;

/// The time in which a backlog should be gone, if that leaves at least a tenth of the drain to new messages.
const DRAINED_IN: f64 = 60_000.0;

/// The longest hold of a cut. A room whose cut opens too early is cut again, and a cut that was wrong shuts nobody out
/// for hours.
const LONGEST_HOLD: f64 = 600_000.0;

/// The smallest and the largest share of the drain that is left to new messages.
const MARGIN: (f64, f64) = (0.1, 0.9);

/// The head of a group that is behind, as a full batch shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// When it was seen.
    pub seen_at: u64,
    /// When the head was queued.
    pub queued_at: u64,
    /// About how many messages the whole queue had.
    pub depth: u64,
}

impl Sight {
    /// The time that the head has waited.
    #[must_use]
    pub fn waited(&self) -> u64 {
        self.seen_at.saturating_sub(self.queued_at)
    }
}

/// The note about a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupRow {
    /// The sight with which the next one is compared.
    pub sight: Sight,
    /// The latest cut.
    pub cut: Option<Cut>,
}

impl GroupRow {
    /// When the row means nothing any more.
    #[must_use]
    pub fn ends_at(&self) -> u64 {
        let compared_until = self.sight.seen_at.saturating_add(MOST_APART);
        self.cut.map_or(compared_until, |cut| cut.ends_at().max(compared_until))
    }
}

/// The new row of a group whose head has waited longer than [`PATIENCE`], or `None` if `row`, the present one, stays.
/// `is_first` says that the head is delivered for the first time.
#[must_use]
pub fn judge(row: Option<&GroupRow>, now: Sight, is_first: bool) -> Option<GroupRow> {
    let anew = |cut| Some(GroupRow { sight: now, cut });
    let Some(&GroupRow { sight, cut }) = row else { return anew(None) };
    // Messages that were sent before every function knew of the cut say nothing about it.
    let is_of_cut = |sight: Sight| cut.is_none_or(|cut| sight.queued_at >= cut.since.saturating_add(LEARNT_AFTER));
    if !is_of_cut(now) {
        return None;
    }
    let apart = now.seen_at.saturating_sub(sight.seen_at);
    if !is_of_cut(sight) {
        // The messages from before the cut are out, so the cut need not hold any longer.
        return anew(cut.map(|cut| Cut { hold: cut.hold.min(now.seen_at.saturating_sub(cut.since)), ..cut }));
    }
    // A head that is delivered again and has not moved was not drained at all: an outage, and no lack of speed.
    let has_moved = now.queued_at > sight.queued_at;
    if (!is_first && !has_moved) || now.queued_at < sight.queued_at || apart > MOST_APART {
        return anew(cut);
    }
    let drained = (now.queued_at - sight.queued_at).max(1);
    if apart < drained + CHANGE || now.depth <= sight.depth {
        let is_old = drained > apart + CHANGE || apart > RENEWED_AFTER;
        return if is_old { anew(cut) } else { None };
    }
    let growth = millis(apart) / millis(drained);
    // The time to drain what is queued behind the head and what will be until the cut is known. The messages of one
    // moment look like an endless flood, so this has a bound: the group has no more messages than the queue, and at
    // least one of them went out between the two sights.
    let most = millis(now.depth.saturating_mul(apart));
    let backlog = (growth * millis(now.waited() + LEARNT_AFTER)).min(most);
    let margin = (1.0 - backlog / DRAINED_IN).clamp(MARGIN.0, MARGIN.1);
    let in_force = cut.map_or(1.0, |cut| cut.fraction_at(now.queued_at));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above 0; saturates")]
    let hold = backlog.min(LONGEST_HOLD) as u64;
    anew(Some(Cut { fraction: in_force / growth * margin, since: now.seen_at, hold }))
}

#[expect(clippy::cast_precision_loss, reason = "times of milliseconds, far below 2^53")]
fn millis(time: u64) -> f64 {
    time as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    /// A head that was queued so many milliseconds after [`NOW`] and seen after so many, in a queue of so many
    /// messages.
    fn sight(queued_at: u64, seen_at: u64, depth: u64) -> Sight {
        Sight { seen_at: NOW + seen_at, queued_at: NOW + queued_at, depth }
    }

    fn seen(queued_at: u64, seen_at: u64, depth: u64) -> GroupRow {
        GroupRow { sight: sight(queued_at, seen_at, depth), cut: None }
    }

    #[test]
    fn the_first_sight_is_noted_and_sheds_nobody() {
        let row = judge(None, sight(0, 2_001, 900), true).unwrap();
        assert_eq!(row, seen(0, 2_001, 900));
        assert_eq!(judge(Some(&row), sight(60, 3_900, 1_400), true), None, "too soon to tell");
    }

    #[test]
    fn a_flood_is_cut_to_what_drains_and_a_tenth_of_it_while_the_backlog_is_large() {
        // Thirty times as much comes in as goes out.
        let row = judge(Some(&seen(70, 2_100, 600)), sight(170, 5_100, 1_500), true).unwrap();
        let cut = row.cut.unwrap();
        assert!((cut.fraction - 0.1 / 30.0).abs() < 1e-9, "{cut:?}");
        assert_eq!((cut.since, cut.hold), (NOW + 5_100, 30 * (4_930 + 4_000)));
        assert_eq!(row.sight, sight(170, 5_100, 1_500));
    }

    #[test]
    fn a_slight_excess_is_cut_slightly() {
        let row = judge(Some(&seen(0, 2_100, 30)), sight(20_000, 24_100, 60), true).unwrap();
        let cut = row.cut.unwrap();
        let (growth, backlog) = (1.1, 1.1 * 8_100.0);
        assert!((cut.fraction - (1.0 - backlog / 60_000.0) / growth).abs() < 1e-9, "{cut:?}");
    }

    #[test]
    fn two_sights_are_compared_if_they_are_not_too_far_apart() {
        let before = seen(0, 2_100, 10);
        let cut_after = |apart: u64| judge(Some(&before), sight(1_000, 2_100 + apart, 1_000), true).unwrap().cut;
        assert!(cut_after(MOST_APART).is_some() && cut_after(MOST_APART + 1).is_none());
    }

    #[test]
    fn a_burst_that_drains_is_not_cut() {
        // 500 messages within a second, which go out at ten a second.
        let mut row = judge(None, sight(50, 2_500, 480), true);
        for second in 3..50 {
            let head = sight(second * 20, second * 1_000, 500 - second * 10);
            row = judge(row.as_ref(), head, true).or(row);
        }
        assert_eq!(row.unwrap().cut, None);
    }

    #[test]
    fn a_burst_of_a_moment_does_not_close_its_room_for_hours() {
        // 60 messages within six milliseconds, of which ten go out in 1.1 s; meanwhile the queue gets longer by other
        // rooms.
        let head = |batch: u64| sight(batch, batch * 1_100, 60 + batch);
        let row = judge(None, head(2), true).unwrap();
        let cut = judge(Some(&row), head(4), true).unwrap().cut.unwrap();
        assert!(cut.hold <= 64 * 2_200, "{cut:?}");
    }

    #[test]
    fn what_comes_again_starts_anew() {
        let row = judge(Some(&seen(0, 3_000, 10)), sight(0, 33_000, 900), false).unwrap();
        assert_eq!(row, seen(0, 33_000, 900));
        // When the outage is over, the head moves on faster than time.
        assert_eq!(judge(Some(&row), sight(9_000, 36_000, 950), true).unwrap(), seen(9_000, 36_000, 950));
    }

    /// Each invocation runs out of time with records left, which come again; and still the head moves on, too slowly.
    #[test]
    fn a_flood_whose_records_come_again_is_cut_all_the_same() {
        let row = judge(Some(&seen(70, 2_100, 600)), sight(170, 5_100, 1_500), false).unwrap();
        assert!(row.cut.is_some_and(|cut| cut.fraction < 0.01), "{row:?}");
    }

    #[test]
    fn no_cut_holds_for_hours_however_deep_the_queue_is_for_other_reasons() {
        let row = judge(Some(&seen(0, 2_100, 9_000)), sight(6, 4_300, 10_000), true).unwrap();
        assert_eq!(row.cut.unwrap().hold, 600_000);
    }

    #[test]
    fn two_times_of_being_behind_have_nothing_to_do_with_each_other() {
        let row = judge(Some(&seen(0, 3_000, 10)), sight(96_000, 99_100, 20), true).unwrap();
        assert_eq!(row, seen(96_000, 99_100, 20));
    }

    #[test]
    fn a_cut_is_judged_by_what_was_sent_under_it_and_then_opens() {
        let cut = Cut { fraction: 0.01, since: NOW + 10_000, hold: 300_000 };
        let row = GroupRow { sight: sight(1_000, 10_000, 900), cut: Some(cut) };
        assert_eq!(judge(Some(&row), sight(13_999, 60_000, 2_000), true), None, "sent before all knew of it");
        let first = judge(Some(&row), sight(14_000, 70_000, 500), true).unwrap();
        assert_eq!(first.cut, Some(Cut { hold: 60_000, ..cut }));
        assert_eq!(first.sight, sight(14_000, 70_000, 500));
        // Still too much, when half a minute of opening has doubled the share.
        let second = judge(Some(&first), sight(80_000, 152_000, 600), true).unwrap();
        let anew = second.cut.unwrap();
        assert!(anew.fraction < cut.fraction_at(NOW + 80_000) * 0.9, "{anew:?}");
    }

    proptest! {
        /// Whatever was seen: nothing overflows, nobody is shed without growth, and no cut admits more than was
        /// admitted.
        #[test]
        fn a_cut_follows_from_growth_and_from_nothing_else(
            then in (0..1_u64 << 45, 0..200_000_u64, 0..200_000_u64),
            now in (0..1_u64 << 45, 0..1_000_000_u64, 0..200_000_u64),
            cut in proptest::option::of((0.0..=1.0_f64, 0..1_u64 << 45, any::<u64>())),
            is_first: bool,
        ) {
            let of = |(queued_at, waited, depth)| Sight { seen_at: queued_at + waited, queued_at, depth };
            let (then, now) = (of(then), of(now));
            let cut = cut.map(|(fraction, since, hold)| Cut { fraction, since, hold });
            let Some(new) = judge(Some(&GroupRow { sight: then, cut }), now, is_first) else { return Ok(()) };
            prop_assert_eq!(new.sight, now);
            let is_new = new.cut.filter(|new| cut.is_none_or(|cut| cut.since != new.since));
            if let Some(new) = is_new {
                prop_assert!((is_first || now.queued_at > then.queued_at) && now.depth > then.depth && now.waited() >= then.waited() + CHANGE);
                prop_assert!(new.fraction < cut.map_or(1.0, |cut| cut.fraction_at(now.queued_at)));
                prop_assert!(new.fraction_at(now.seen_at) > 0.0 && new.since == now.seen_at);
            }
        }

        /// A share never falls as time goes by, and is all in the end.
        #[test]
        fn a_cut_only_opens(fraction in 0.0..=1.0_f64, hold in 0..10_000_000_u64, mut times: [u64; 4]) {
            let cut = Cut { fraction, since: NOW, hold };
            times.sort_unstable();
            let shares = times.map(|time| cut.fraction_at(NOW + time % (1 << 40)));
            prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
            prop_assert!(cut.fraction_at(cut.ends_at()) > 0.999);
            let (early, late) = (times[0] % (1 << 40), times[1] % (1 << 40));
            prop_assert!(cut.fraction_at(NOW + early.min(late)) <= cut.fraction_at(NOW + early.max(late)));
        }
    }
}

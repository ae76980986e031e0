//! Resuming a group's work: which numbers are brought out next, and to which slots.
//!
//! These are pure decisions of the broadcast protocol. A group (a room, or one shard of it) brings out the numbers of
//! its log in order. When the time is up in the middle of a step, a row says how far it got, and the consumer that
//! receives the records next goes on there. For example, numbers 4 to 6 were posted to all slots below 900 when the
//! time was up, except to a connection in slot 31 that had not answered:
//!
//! ```text
//! saved:      done 3, up to 6, slot 900, missing 31
//! redelivery: 4 to 6 to slot 31 and to the slots from 900 on       (the interrupted step)
//!             then 7 and all later numbers to all slots
//! ```

use shared::store::log::Progress;

/// A group's progress, and the part of it that is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    progress: Progress,
    /// Every number below is on record as finished with, either in an entry of the log or in the row.
    floor: u64,
}

/// The next step with the numbers in hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Write this row first. Before a number goes out, it must be on record that everything below it is finished with:
    /// a lower number that comes back later (a redrive, a late duplicate) is then not posted out of order.
    Save(Progress),
    /// Bring out the numbers in hand up to `through`, to some slots.
    BringOut {
        /// The last number of the step.
        through: u64,
        /// The slots that lack it.
        slots: Slots,
    },
}

/// The slots that lack a step: all from one on, and a few below that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// All from this one on.
    pub from: u16,
    /// The few below it.
    pub missing: Vec<u16>,
}

impl Slots {
    /// Whether these are all slots.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.from == 0
    }
}

impl Resume {
    /// The state of a group, given its row if there is one and it matters, and the number below which the log says that
    /// everything is finished with.
    #[must_use]
    pub fn new(row: Option<Progress>, floor: u64) -> Self {
        let progress = row.unwrap_or_default();
        let floor = floor.max(progress.done + 1);
        Self { progress, floor }
    }

    /// The last number that the group is done with. The numbers in hand are above it.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.progress.done
    }

    /// The next step, when the numbers in hand go from `first` to `last`. Records leave a group only when they are
    /// finished with, so all numbers below the first in hand are.
    pub fn next(&mut self, first: u64, last: u64) -> Next {
        self.finished(first.saturating_sub(1));
        if first > self.floor {
            return Next::Save(self.progress.clone());
        }
        if first <= self.progress.up_to {
            let slots = Slots { from: self.progress.slot, missing: self.progress.missing.clone() };
            Next::BringOut { through: last.min(self.progress.up_to), slots }
        } else {
            Next::BringOut { through: last, slots: Slots::default() }
        }
    }

    /// Notes that the row that [`Next::Save`] asked for is written.
    pub fn saved(&mut self) {
        self.floor = self.floor.max(self.progress.done + 1);
    }

    /// Notes that every number up to `through` is brought out. Once those include all numbers of an interrupted step,
    /// its slots say nothing any more.
    pub fn finished(&mut self, through: u64) {
        self.progress.done = self.progress.done.max(through);
        if self.progress.up_to <= self.progress.done {
            self.progress = Progress { done: self.progress.done, ..Progress::default() };
        }
    }

    /// The row for a step up to `through` that was interrupted when only these slots lacked it.
    #[must_use]
    pub fn interrupted(&self, through: u64, lacking: Slots) -> Progress {
        Progress { done: self.progress.done, up_to: through, slot: lacking.from, missing: lacking.missing }
    }

    /// The row for a group that is done with everything so far.
    #[must_use]
    pub fn row(&self) -> &Progress {
        &self.progress
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::limits::MAX_INTEGER;

    use super::*;

    fn row(done: u64, up_to: u64, slot: u16, missing: &[u16]) -> Progress {
        Progress { done, up_to, slot, missing: missing.to_vec() }
    }

    fn bring_out(through: u64, from: u16, missing: &[u16]) -> Next {
        Next::BringOut { through, slots: Slots { from, missing: missing.to_vec() } }
    }

    #[test]
    fn a_new_batch_goes_out_at_once_and_to_everybody() {
        let mut resume = Resume::new(None, 7);
        assert_eq!(resume.next(7, 9), bring_out(9, 0, &[]));
        resume.finished(9);
        assert_eq!((resume.done(), resume.row()), (9, &row(9, 0, 0, &[])));
    }

    #[test]
    fn an_interrupted_step_goes_on_at_its_slot_before_anything_else() {
        let mut resume = Resume::new(Some(row(3, 6, 900, &[31])), 4);
        assert_eq!(resume.next(4, 8), bring_out(6, 900, &[31]));
        resume.finished(6);
        assert_eq!(resume.next(7, 8), Next::Save(row(6, 0, 0, &[])));
        resume.saved();
        assert_eq!(resume.next(7, 8), bring_out(8, 0, &[]));
        assert_eq!(resume.interrupted(8, Slots { from: 5, missing: vec![2] }), row(6, 8, 5, &[2]));
    }

    /// As of a frame of several numbers, of which the first are done with.
    #[test]
    fn numbers_in_hand_that_are_done_with_make_no_difference() {
        for first in 2..=6 {
            assert_eq!(Resume::new(Some(row(5, 0, 0, &[])), 0).next(first, 8), bring_out(8, 0, &[]));
            let mut interrupted = Resume::new(Some(row(5, 7, 900, &[31])), 0);
            assert_eq!(interrupted.next(first, 8), bring_out(7, 900, &[31]), "from {first}");
            assert_eq!(interrupted.row(), &row(5, 7, 900, &[31]));
        }
    }

    #[test]
    fn a_batch_that_comes_back_smaller_keeps_what_the_slots_below_have() {
        let mut resume = Resume::new(Some(row(0, 5, 100, &[9])), 1);
        assert_eq!(resume.next(1, 3), bring_out(3, 100, &[9]));
        resume.finished(3);
        assert_eq!(resume.row(), &row(3, 5, 100, &[9]));
        assert_eq!(resume.interrupted(3, Slots { from: 200, missing: vec![] }), row(3, 3, 200, &[]));
    }

    #[test]
    fn what_lies_below_is_put_on_record_first() {
        let mut resume = Resume::new(None, 1);
        assert_eq!(resume.next(50, 51), Next::Save(row(49, 0, 0, &[])));
        resume.saved();
        assert_eq!(resume.next(50, 51), bring_out(51, 0, &[]));
    }

    #[test]
    fn records_that_were_acknowledged_meanwhile_are_done() {
        let mut resume = Resume::new(Some(row(0, 5, 100, &[])), 4);
        assert_eq!(resume.next(4, 5), bring_out(5, 100, &[]));
        assert_eq!(resume.done(), 3);
    }

    proptest! {
        #[test]
        fn any_row_lets_a_group_get_on(
            (done, up_to_from, floor_from) in (20..MAX_INTEGER, 0..40_u64, 0..40_u64),
            (slot, missing) in (any::<u16>(), prop::collection::vec(any::<u16>(), 0..4)),
            (ahead, count) in (1..20_u64, 0..20_u64),
        ) {
            let row = Progress { done, up_to: done - 20 + up_to_from, slot, missing };
            let mut resume = Resume::new(Some(row), done - 20 + floor_from);
            let (mut first, last) = (done + ahead, done + ahead + count);
            while first <= last {
                let next = match resume.next(first, last) {
                    Next::Save(_) => {
                        resume.saved();
                        resume.next(first, last)
                    }
                    next @ Next::BringOut { .. } => next,
                };
                let Next::BringOut { through, .. } = next else { panic!("saved, and to be saved again: {resume:?}") };
                prop_assert!((first..=last).contains(&through), "{through} of {first} to {last}");
                resume.finished(through);
                prop_assert_eq!(resume.done(), through);
                first = through + 1;
            }
        }
    }
}

//! Records, packed into calls. Where order matters, the records of one group go out in one call after the other, and
//! each call holds records of different groups.

use std::collections::{HashSet, VecDeque};

use super::{
    QueueError, Record,
    dead_letter::{RECORD_BYTES, Sendable},
};

/// Entries in one call: the limit of `SendMessageBatch` and `ChangeMessageVisibilityBatch`.
pub(super) const ENTRIES: usize = 10;

/// Bytes of all records in one call: one of the largest size always fits. Newer limits are larger; there is nothing to
/// gain from them.
const CALL_BYTES: usize = RECORD_BYTES;

/// A record with its place among those that the caller gave.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    pub(super) position: usize,
    pub(super) record: &'a Record,
    pub(super) sendable: Sendable<'a>,
}

/// Whether the order of a group's records matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// The order must be kept, even when a record fails. A call holds one record of a group, since of two the first
    /// could fail and the second be taken; and a failure ends its group.
    Kept,
    /// The order does not matter. A call holds as many records of a group as fit, and a failure concerns its own record
    /// only.
    Free,
}

/// Records that are being sent, and what became of each.
#[derive(Debug)]
pub(super) struct Sending<'a> {
    order: Order,
    waiting: VecDeque<Pending<'a>>,
    results: Vec<Result<(), QueueError>>,
}

impl<'a> Sending<'a> {
    /// All records wait. A record counts as not sent until it is confirmed.
    pub(super) fn new(records: &'a [Record], order: Order) -> Self {
        let pending = |(position, record)| Pending { position, record, sendable: Sendable::of(record) };
        Self {
            order,
            waiting: records.iter().enumerate().map(pending).collect(),
            results: vec![Err(QueueError::NotSent); records.len()],
        }
    }

    /// The records of the next call, as many as fit: of each group the first that waits or, if their order does not
    /// matter, any number. Empty when no record waits.
    pub(super) fn next_call(&mut self) -> Vec<Pending<'a>> {
        let (mut call, mut later) = (Vec::new(), VecDeque::new());
        let (mut groups, mut bytes) = (HashSet::new(), 0);
        for pending in std::mem::take(&mut self.waiting) {
            // A group counts as taken even if its record does not fit: the records behind it must not overtake it.
            let is_first = self.order == Order::Free || groups.insert(pending.record.group_id.as_str());
            let fits = call.is_empty() || bytes + pending.sendable.bytes() <= CALL_BYTES;
            if is_first && fits && call.len() < ENTRIES {
                bytes += pending.sendable.bytes();
                call.push(pending);
            } else {
                later.push_back(pending);
            }
        }
        self.waiting = later;
        call
    }

    /// Notes what became of a call's records. After one that was not confirmed, nothing of its group is sent any more,
    /// if the order matters.
    pub(super) fn settle(&mut self, call: &[Pending<'a>], results: Vec<Result<(), QueueError>>) {
        for (pending, result) in call.iter().zip(results) {
            if result.is_err() && self.order == Order::Kept {
                self.waiting.retain(|waiting| waiting.record.group_id != pending.record.group_id);
            }
            self.results[pending.position] = result;
        }
    }

    pub(super) fn finish(self) -> Vec<Result<(), QueueError>> {
        self.results
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(group_id: &str, body: &str) -> Record {
        Record {
            group_id: group_id.to_owned(),
            deduplication_id: "d".to_owned(),
            body: body.to_owned(),
            reason: None,
            trace: None,
        }
    }

    /// The positions of each call's records, when every call succeeds.
    fn calls(records: &[Record]) -> Vec<Vec<usize>> {
        calls_in(Order::Kept, records)
    }

    fn calls_in(order: Order, records: &[Record]) -> Vec<Vec<usize>> {
        let mut sending = Sending::new(records, order);
        let mut calls = Vec::new();
        loop {
            let call = sending.next_call();
            if call.is_empty() {
                assert!(sending.finish().iter().all(Result::is_ok));
                return calls;
            }
            calls.push(call.iter().map(|pending| pending.position).collect());
            sending.settle(&call, call.iter().map(|_| Ok(())).collect());
        }
    }

    #[test]
    fn a_call_takes_ten_records_or_256_kib() {
        let groups: Vec<_> = (0..25).map(|group| record(&group.to_string(), "x")).collect();
        assert_eq!(calls(&groups).iter().map(Vec::len).collect::<Vec<_>>(), [10, 10, 5]);
        let body = "x".repeat(100 * 1024);
        let large: Vec<_> = (0..5).map(|group| record(&group.to_string(), &body)).collect();
        assert_eq!(calls(&large), [vec![0, 1], vec![2, 3], vec![4]]);
        let huge = [record("a", &"x".repeat(300 * 1024)), record("b", "x")];
        assert_eq!(calls(&huge), [[0], [1]]);
    }

    #[test]
    fn no_call_holds_two_records_of_a_group() {
        let records = ["a", "a", "b", "a", "b", "c"].map(|group| record(group, "x"));
        assert_eq!(calls(&records), [vec![0, 2, 5], vec![1, 4], vec![3]]);
    }

    #[test]
    fn a_small_record_does_not_overtake_a_large_one_of_its_group() {
        let large = "x".repeat(200 * 1024);
        let records = [record("a", &large), record("b", &large), record("b", "x"), record("c", "x")];
        assert_eq!(calls(&records), [vec![0, 3], vec![1], vec![2]]);
    }

    #[test]
    fn after_a_record_that_was_not_confirmed_its_group_ends() {
        let records = ["a", "b", "a", "b", "a"].map(|group| record(group, "x"));
        let mut sending = Sending::new(&records, Order::Kept);
        let throttled = || Err(QueueError::of_entry("call", Some("ThrottlingException"), None));
        let first = sending.next_call();
        sending.settle(&first, vec![throttled(), Ok(())]);
        let second = sending.next_call();
        assert_eq!(second.iter().map(|pending| pending.position).collect::<Vec<_>>(), [3]);
        sending.settle(&second, vec![Ok(())]);
        assert!(sending.next_call().is_empty());
        let not_sent = Err(QueueError::NotSent);
        assert_eq!(sending.finish(), [throttled(), Ok(()), not_sent.clone(), Ok(()), not_sent]);
    }
    #[test]
    fn in_free_order_a_call_holds_ten_records_of_a_group() {
        let records: Vec<_> = (0..25).map(|_| record("a", "x")).collect();
        assert_eq!(
            calls_in(Order::Free, &records),
            [(0..10).collect(), (10..20).collect(), (20..25).collect::<Vec<_>>()]
        );
        let large = "x".repeat(200 * 1024);
        let records = [record("a", &large), record("a", &large), record("a", "x")];
        assert_eq!(calls_in(Order::Free, &records), [vec![0, 2], vec![1]]);
    }

    #[test]
    fn in_free_order_a_failure_keeps_nothing_else_from_being_sent() {
        let records: Vec<_> = (0..12).map(|_| record("a", "x")).collect();
        let mut sending = Sending::new(&records, Order::Free);
        let first = sending.next_call();
        let failed = || Err(QueueError::of_entry("call", Some("InternalError"), None));
        sending.settle(&first, (0..10).map(|place| if place == 3 { failed() } else { Ok(()) }).collect());
        let second = sending.next_call();
        assert_eq!(second.iter().map(|pending| pending.position).collect::<Vec<_>>(), [10, 11]);
        sending.settle(&second, vec![Ok(()), Ok(())]);
        let results = sending.finish();
        assert_eq!((results.iter().filter(|result| result.is_ok()).count(), results[3].clone()), (11, failed()));
    }
}

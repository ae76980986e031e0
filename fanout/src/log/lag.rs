//! The lag of a room's state: which messages of the log it may lack.
//!
//! State is written after the append, so a writer that is stopped between the two leaves state behind the log. The log
//! itself tells this: when an append contains keys, its entries carry `stateAt`, the number up to which state was
//! complete before them. For example, if every message has a key:
//!
//! ```text
//! A appends 1 to 3, stateAt 0, and is stopped     head: 3, complete to 0
//! B is cold: it appends 4, stateAt 0              head: 4, complete to 0
//! B applies 1 to 4, and remembers: complete to 4
//! B appends 5, stateAt 4                          head: 5, complete to 4
//! ```
//!
//! Once state is complete up to a number, it stays so: the greater of the head's number and the remembered one counts.

use std::ops::{Range, RangeInclusive};

use shared::{
    LoggedMessage,
    store::log::{LogEntry, LogPage},
};

/// The part of a log's end that state may lack.
#[derive(Clone, Debug, Default)]
pub(super) struct Lag {
    complete_to: u64,
    /// The messages with keys after `complete_to`, as far as they were read: from number `read_from` on.
    messages: Vec<LoggedMessage>,
    read_from: Option<u64>,
    /// The numbers up to `complete_to`, or an earlier value of it, whose keys this environment has written itself.
    written: Range<u64>,
}

/// Messages that state may lack, besides those of the batch in hand.
#[derive(Debug)]
pub struct Unapplied {
    /// The messages that have been read.
    pub messages: Vec<LoggedMessage>,
    /// The numbers that have not been read, if there are any.
    pub unread: Option<RangeInclusive<u64>>,
}

/// The work that brings a room's state up to the end of its log: the keys of the batch, and of messages before it.
#[derive(Debug)]
pub struct StateWork {
    /// The messages before the batch that state may lack.
    pub before: Option<Unapplied>,
    /// Numbers that need not be written again.
    pub written: Range<u64>,
    /// The end of the log, up to which state is complete when this is done.
    pub through: u64,
    /// When the log's newest entry expires, in seconds since the Unix epoch.
    pub log_expires_at: u64,
}

impl Lag {
    /// The lag that a page of the newest entries shows. They are descending.
    pub(super) fn from_latest(page: &LogPage) -> Self {
        let mut lag = Self { read_from: page.entries.last().map(LogEntry::seq), ..Self::default() };
        if let Some(newest) = page.entries.first() {
            lag.complete_to = newest.state_complete_to();
            lag.add(&page.entries);
        }
        if !page.more {
            lag.read_from = Some(0);
        }
        lag
    }

    /// Adds entries after these that another environment has appended, ascending.
    pub(super) fn extend(&mut self, entries: &[LogEntry]) {
        let (Some(first), Some(newest)) = (entries.first(), entries.last()) else { return };
        self.read_from.get_or_insert(first.seq());
        self.note_complete_to(newest.state_complete_to());
        self.add(entries);
    }

    /// Adds the entries of the batch in hand, which come after `head`, ascending. Their messages are not kept, since
    /// the batch has them.
    pub(super) fn extend_with_own(&mut self, head: Option<u64>, entries: &[LogEntry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        self.read_from.get_or_insert(first.seq());
        let complete_to = self.state_at(head, first.seq());
        // Entries without `stateAt` leave state as complete as it was.
        let is_complete = last.state_at.is_none();
        self.note_complete_to(if is_complete { last.seq() } else { complete_to });
    }

    fn add(&mut self, entries: &[LogEntry]) {
        let lacks = |entry: &&LogEntry| entry.logged.message.key.is_some() && entry.seq() > self.complete_to;
        let lacking: Vec<_> = entries.iter().filter(lacks).map(|entry| entry.logged.clone()).collect();
        self.messages.extend(lacking);
    }

    /// Notes that state is complete up to a number.
    pub(super) fn note_complete_to(&mut self, seq: u64) {
        self.complete_to = self.complete_to.max(seq);
        self.messages.retain(|logged| logged.seq > self.complete_to);
    }

    /// Notes that this environment has written the keys that state lacked, up to a number.
    pub(super) fn note_written_to(&mut self, seq: u64) {
        let first = self.complete_to + 1;
        if seq >= first {
            let start = if self.written.end == first { self.written.start } else { first };
            self.written = start..seq + 1;
            self.note_complete_to(seq);
        }
    }

    /// The numbers whose keys this environment has written itself. Numbers that only the log calls complete are not
    /// among them: when such a message comes again, an older version of the software or a dead letter may have left it
    /// out.
    pub(super) fn written(&self) -> Range<u64> {
        self.written.clone()
    }

    /// The number up to which state is complete, when the log ends with `head` and the next number is `next`.
    pub(super) fn state_at(&self, head: Option<u64>, next: u64) -> u64 {
        // There is nothing between the head and the next number.
        if self.lacks_nothing(head) { next.saturating_sub(1) } else { self.complete_to }
    }

    /// Whether state lacks nothing of a log that ends with `head`.
    pub(super) fn lacks_nothing(&self, head: Option<u64>) -> bool {
        head.is_none_or(|head| self.complete_to >= head)
    }

    /// The messages that state may lack, of a log that ends with `head`.
    pub(super) fn unapplied(&self, head: Option<u64>) -> Option<Unapplied> {
        let head = head.filter(|head| self.complete_to < *head)?;
        let unread = self.complete_to + 1..=self.read_from.map_or(head, |from| from.saturating_sub(1));
        Some(Unapplied { messages: self.messages.clone(), unread: Some(unread).filter(|unread| !unread.is_empty()) })
    }

    /// Forgets the messages themselves: they may be large, and are hardly ever needed again.
    pub(super) fn forget_messages(&mut self) {
        self.messages = Vec::new();
        self.read_from = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixtures::{self, page};

    fn entry(seq: u64, has_key: bool, state_at: Option<u64>) -> LogEntry {
        let mut entry = LogEntry { state_at, ..fixtures::entry(seq, &format!("m{seq}")) };
        entry.logged.message.key = has_key.then(|| "k".to_owned());
        entry
    }

    fn told(lag: &Lag, head: u64) -> Option<(Vec<u64>, Option<RangeInclusive<u64>>)> {
        let unapplied = lag.unapplied(Some(head))?;
        Some((unapplied.messages.iter().map(|logged| logged.seq).collect(), unapplied.unread))
    }

    #[test]
    fn a_cold_writer_takes_the_heads_word() {
        let lag = Lag::from_latest(&page(
            &[entry(8, true, Some(5)), entry(7, false, Some(5)), entry(6, true, Some(5))],
            true,
        ));
        assert_eq!((told(&lag, 8), lag.state_at(Some(8), 9)), (Some((vec![8, 6], None)), 5));
        let complete = Lag::from_latest(&page(&[entry(8, false, None), entry(7, true, Some(6))], true));
        assert_eq!((told(&complete, 8), complete.state_at(Some(8), 20)), (None, 19));
        let of_no_state = Lag::from_latest(&page(&[entry(8, true, None), entry(7, true, None)], true));
        assert_eq!(told(&of_no_state, 8), Some((vec![8], None)));
        let empty = Lag::from_latest(&page(&[], false));
        assert!(empty.unapplied(None).is_none() && empty.state_at(None, 50) == 49);
    }

    #[test]
    fn what_was_not_read_is_named() {
        let mut lag = Lag::from_latest(&page(&[entry(8, true, Some(2)), entry(7, true, Some(2))], true));
        assert_eq!(told(&lag, 8), Some((vec![8, 7], Some(3..=6))));
        lag.forget_messages();
        assert_eq!(told(&lag, 8), Some((vec![], Some(3..=8))));
        lag.extend(&[entry(9, true, Some(2))]);
        assert_eq!(told(&lag, 9), Some((vec![9], Some(3..=8))));
    }

    #[test]
    fn what_is_complete_stays_so() {
        let mut lag = Lag::from_latest(&page(&[entry(8, true, Some(5))], true));
        lag.note_complete_to(8);
        assert_eq!((told(&lag, 8), lag.state_at(Some(8), 9)), (None, 8));
        // An environment that did not know it has appended.
        lag.extend(&[entry(9, true, Some(5)), entry(10, true, Some(5))]);
        assert_eq!((told(&lag, 10), lag.state_at(Some(10), 11)), (Some((vec![9, 10], None)), 8));
        lag.extend(&[entry(11, false, None)]);
        assert_eq!(told(&lag, 11), None);
    }

    #[test]
    fn what_was_written_here_is_not_what_the_log_says_is_complete() {
        let mut lag = Lag::from_latest(&page(&[entry(8, true, Some(5))], true));
        assert_eq!(lag.written(), 0..0);
        lag.note_written_to(8);
        lag.extend_with_own(Some(8), &[entry(9, true, Some(8))]);
        lag.note_written_to(9);
        assert_eq!(lag.written(), 6..10);
        // Another environment has written up to 12.
        lag.extend(&[entry(10, true, Some(9)), entry(11, true, Some(9)), entry(13, true, Some(12))]);
        assert_eq!(lag.written(), 6..10);
        lag.note_written_to(13);
        assert_eq!(lag.written(), 13..14);
        lag.note_written_to(13);
        assert_eq!(lag.written(), 13..14);
    }

    #[test]
    fn a_batchs_own_messages_are_not_read_back() {
        let mut lag = Lag::from_latest(&page(&[entry(8, false, None)], true));
        lag.forget_messages();
        lag.extend_with_own(Some(8), &[entry(9, false, None)]);
        assert_eq!(told(&lag, 9), None);
        // The log has started anew, so there is nothing between the two numbers.
        lag.extend_with_own(Some(9), &[entry(70, true, Some(69)), entry(71, false, Some(69))]);
        assert_eq!(told(&lag, 71), Some((vec![], None)));
        lag.forget_messages();
        assert_eq!((told(&lag, 71), lag.state_at(Some(71), 72)), (Some((vec![], Some(70..=71))), 69));
    }

    #[test]
    fn a_row_that_cannot_be_read_may_be_lacking() {
        let lag = Lag::from_latest(&page(&[entry(8, false, None)], true));
        assert_eq!((told(&lag, 9), lag.state_at(Some(9), 10)), (Some((vec![], None)), 8));
    }
}

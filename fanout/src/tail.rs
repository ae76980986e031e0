//! What is known of the end of a room's log: enough to number what comes next, and to recognise what is there already.
//!
//! Everything here is pure. A tail is a contiguous end of the log as of some moment. It can be out of date, but never
//! wrong: whoever appends after it writes the next numbers on condition that they are free, and learns.

use std::collections::{HashMap, VecDeque};

use shared::{
    LoggedMessage, Message,
    message::Identity,
    store::log::{Layout, LogEntry},
};

/// The end of a log.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    known: VecDeque<Known>,
    head: Option<Head>,
    reaches_start: bool,
}

/// An entry that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    identity: Identity,
    seq: u64,
    appended_at: u64,
}

/// The newest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: u64,
}

/// How a batch goes into the log.
#[derive(Debug)]
pub struct Plan {
    /// Numbers of the batch's messages, in its order: known already or new.
    numbers: Vec<u64>,
    /// Which of them are new, ascending; these must be appended.
    new: Vec<usize>,
}

impl Tail {
    /// From the newest entries, descending; `more` says that there are older ones.
    #[must_use]
    pub fn from_latest(entries: &[LogEntry], more: bool) -> Self {
        let mut tail = Self { reaches_start: true, ..Self::default() };
        tail.head = entries.first().map(|entry| Head { seq: entry.seq(), expires_at: entry.expires_at });
        tail.extend_back(entries, more);
        tail
    }

    /// The newest entry; `None` when the log is empty.
    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// The oldest number known.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.known.front().map(|known| known.seq)
    }

    /// Whether a message that was accepted at `sent_at` (ms) would be known if it were in the log: the tail goes back
    /// to entries that were appended before.
    #[must_use]
    pub fn goes_back_to(&self, sent_at: u64) -> bool {
        self.reaches_start || self.known.front().is_some_and(|known| known.appended_at < sent_at)
    }

    /// Adds entries that come before, descending; `more` says that there are older ones still.
    pub fn extend_back(&mut self, entries: &[LogEntry], more: bool) {
        for entry in entries {
            self.known.push_front(Known::of(entry));
        }
        self.reaches_start = !more;
    }

    /// Adds entries that come after, ascending.
    pub fn extend(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            self.known.push_back(Known::of(entry));
            self.head = Some(Head { seq: entry.seq(), expires_at: entry.expires_at });
        }
    }

    /// Numbers that are taken by entries which cannot be read: what comes next goes on beyond them.
    pub fn skip(&mut self, unreadable: &[u64]) {
        if let (Some(head), Some(last)) = (&mut self.head, unreadable.iter().max()) {
            head.seq = head.seq.max(*last);
        }
    }

    /// Forgets all but the newest `most` entries.
    pub fn truncate(&mut self, most: usize) {
        if self.known.len() > most {
            self.known.drain(..self.known.len() - most);
            self.reaches_start = false;
        }
    }

    /// Numbers a batch: what is in the log keeps its number, the rest follows from `next` on. A message that stands
    /// in the batch twice gets one number.
    #[must_use]
    pub fn plan(&self, messages: &[Message], next: u64) -> Plan {
        let mut numbers: HashMap<Identity, u64> = self.known.iter().map(|known| (known.identity, known.seq)).collect();
        let mut plan = Plan { numbers: Vec::with_capacity(messages.len()), new: Vec::new() };
        let mut free = next;
        for (index, message) in messages.iter().enumerate() {
            let number = *numbers.entry(message.identity()).or_insert_with(|| {
                plan.new.push(index);
                free += 1;
                free - 1
            });
            plan.numbers.push(number);
        }
        plan
    }
}

impl Known {
    fn of(entry: &LogEntry) -> Self {
        Self { identity: entry.logged.message.identity(), seq: entry.seq(), appended_at: entry.appended_at }
    }
}

impl Plan {
    /// The entries to append.
    #[must_use]
    pub fn entries(&self, messages: &[Message], appended_at: u64, expires_at: u64) -> Vec<LogEntry> {
        let logged = |index: &usize| LoggedMessage { seq: self.numbers[*index], message: messages[*index].clone() };
        self.new
            .iter()
            .map(|index| LogEntry { logged: logged(index), appended_at, expires_at, layout: Layout::Direct, floor: 0 })
            .collect()
    }

    /// The first and the last number of what was in the log already.
    #[must_use]
    pub fn known(&self) -> Option<(u64, u64)> {
        let is_known = |(index, number): (usize, &u64)| self.new.binary_search(&index).is_err().then_some(*number);
        let known = || self.numbers.iter().enumerate().filter_map(is_known);
        known().min().zip(known().max())
    }

    /// The batch as it stands in the log: ascending, each message once.
    #[must_use]
    pub fn number(self, messages: Vec<Message>) -> Vec<LoggedMessage> {
        let numbered = self.numbers.into_iter().zip(messages);
        let mut logged: Vec<_> = numbered.map(|(seq, message)| LoggedMessage { seq, message }).collect();
        logged.sort_by_key(|logged| logged.seq);
        logged.dedup_by_key(|logged| logged.seq);
        logged
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use shared::RoomId;

    use super::*;

    fn message(id: &str) -> Message {
        Message {
            room: RoomId::parse("r").unwrap(),
            id: id.into(),
            from: "alice".into(),
            sent_at: 0,
            data: RawValue::from_string("1".into()).unwrap(),
            key: None,
            version: None,
        }
    }

    fn entry(seq: u64, id: &str) -> LogEntry {
        let logged = LoggedMessage { seq, message: message(id) };
        LogEntry { logged, appended_at: seq * 10, expires_at: seq + 1000, layout: Layout::Direct, floor: 0 }
    }

    fn numbers(tail: &Tail, ids: &[&str], next: u64) -> (Vec<(u64, String)>, usize) {
        let messages: Vec<_> = ids.iter().map(|id| message(id)).collect();
        let plan = tail.plan(&messages, next);
        let new = plan.entries(&messages, 0, 0).len();
        (plan.number(messages).into_iter().map(|logged| (logged.seq, logged.message.id)).collect(), new)
    }

    #[test]
    fn new_messages_follow_the_head() {
        let tail = Tail::from_latest(&[entry(8, "b"), entry(7, "a")], false);
        assert_eq!(tail.head(), Some(Head { seq: 8, expires_at: 1008 }));
        assert_eq!(numbers(&tail, &["c", "d"], 9), (vec![(9, "c".into()), (10, "d".into())], 2));
    }

    #[test]
    fn a_redelivered_message_keeps_its_number_and_a_double_gets_one() {
        let tail = Tail::from_latest(&[entry(8, "b"), entry(7, "a")], false);
        assert_eq!(numbers(&tail, &["a", "b"], 9), (vec![(7, "a".into()), (8, "b".into())], 0));
        assert_eq!(numbers(&tail, &["b", "c", "c"], 9), (vec![(8, "b".into()), (9, "c".into())], 1));
        assert_eq!(numbers(&tail, &["c", "a"], 9), (vec![(7, "a".into()), (9, "c".into())], 1));
    }

    #[test]
    fn knows_how_far_back_it_goes() {
        let mut tail = Tail::from_latest(&[entry(8, "b"), entry(7, "a")], true);
        assert!(tail.goes_back_to(71) && !tail.goes_back_to(70));
        tail.extend_back(&[entry(6, "z")], false);
        assert!(tail.goes_back_to(0));
        assert_eq!(tail.oldest(), Some(6));
        tail.truncate(2);
        assert!(!tail.goes_back_to(60));
        assert_eq!(tail.oldest(), Some(7));
        assert_eq!(tail.head().map(|head| head.seq), Some(8));
    }

    #[test]
    fn numbers_of_unreadable_entries_are_not_given_again() {
        let mut tail = Tail::from_latest(&[entry(8, "b")], false);
        tail.skip(&[7, 10, 9]);
        assert_eq!(tail.head(), Some(Head { seq: 10, expires_at: 1008 }));
        tail.skip(&[]);
        let mut empty = Tail::from_latest(&[], false);
        empty.skip(&[10]);
        assert_eq!((tail.head().map(|head| head.seq), empty.head()), (Some(10), None));
    }

    #[test]
    fn an_empty_log_is_known_entirely() {
        let mut tail = Tail::from_latest(&[], false);
        assert!(tail.head().is_none() && tail.goes_back_to(0));
        tail.extend(&[entry(50, "a")]);
        assert_eq!(tail.head().map(|head| head.seq), Some(50));
    }
}

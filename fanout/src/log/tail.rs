//! The known end of a room's log: enough to number the next messages, and to recognise those that are there already.
//!
//! Everything here is pure. A tail is a contiguous end of the log as of some moment. It may be out of date but is never
//! wrong: an append after it is made on condition that the next numbers are free, and a failed condition shows that it
//! is out of date.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use shared::{
    LoggedMessage, Message,
    message::Identity,
    store::log::{Layout, LogEntry, LogPage},
};

use super::lag::{Lag, Unapplied};

/// The end of a log.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    known: VecDeque<Known>,
    head: Option<Head>,
    reaches_start: bool,
    bytes_searched: usize,
    was_searched: bool,
    lag: Lag,
}

/// An entry that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    identity: Identity,
    place: Place,
    appended_at: u64,
}

/// The place of a message in the log, and its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub seq: u64,
    /// Whether it is posted directly or in shards.
    pub layout: Layout,
}

/// The newest entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number.
    pub seq: u64,
    /// When it was appended, in milliseconds since the Unix epoch.
    pub appended_at: u64,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: u64,
    /// Whether it is posted directly or in shards.
    pub layout: Layout,
    /// Every number below is finished with: acknowledged, or given up.
    pub floor: u64,
}

/// The part that all entries of an append share. Times are in milliseconds and, `expires_at`, in seconds since the
/// Unix epoch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamp {
    /// Every number below is finished with.
    pub floor: u64,
    /// When they are appended.
    pub appended_at: u64,
    /// When they expire.
    pub expires_at: u64,
    /// See [`LogEntry::state_at`].
    pub state_at: Option<u64>,
}

/// The plan for appending a batch to the log.
#[derive(Debug)]
pub struct Plan {
    /// The places of the batch's messages, in its order: known already or new.
    places: Vec<Place>,
    /// The positions of the new messages, ascending; these must be appended.
    new: Vec<usize>,
}

impl Tail {
    /// The tail that a page of the newest entries shows. They are descending.
    #[must_use]
    pub fn from_latest(page: &LogPage) -> Self {
        let mut tail =
            Self { head: page.entries.first().map(Head::of), lag: Lag::from_latest(page), ..Self::default() };
        tail.skip(&page.unreadable);
        tail.extend_back(page);
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
        self.known.front().map(|known| known.place.seq)
    }

    /// The number of entries that are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no entry is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Bytes of the log that were read so far. What was searched once is remembered, and not searched again.
    #[must_use]
    pub fn bytes_searched(&self) -> usize {
        self.bytes_searched
    }

    /// Whether more than the first page was read.
    #[must_use]
    pub fn was_searched(&self) -> bool {
        self.was_searched
    }

    /// Whether a message that was accepted at `sent_at` (ms) would be known if it were in the log: the tail goes back
    /// to an entry that was appended earlier.
    #[must_use]
    pub fn goes_back_to(&self, sent_at: u64) -> bool {
        self.reaches_start || self.known.front().is_some_and(|known| known.appended_at < sent_at)
    }

    /// Adds a page of the entries before these, descending.
    pub fn extend_back(&mut self, page: &LogPage) {
        self.was_searched |= !self.known.is_empty();
        for entry in &page.entries {
            self.known.push_front(Known::of(entry));
        }
        self.reaches_start = !page.more;
        self.bytes_searched += page.bytes;
    }

    /// Adds a page of entries after these that another environment has appended, ascending.
    pub fn extend_with(&mut self, page: &LogPage) {
        self.extend(&page.entries);
        self.lag.extend(&page.entries);
        self.skip(&page.unreadable);
    }

    /// Adds the batch's own entries, which come after these, ascending.
    pub fn extend_with_own(&mut self, entries: &[LogEntry]) {
        self.lag.extend_with_own(self.head.map(|head| head.seq), entries);
        self.extend(entries);
    }

    /// Counts rows that cannot be read: they have numbers all the same, and the next number comes after them.
    fn skip(&mut self, unreadable: &[u64]) {
        if let (Some(head), Some(last)) = (&mut self.head, unreadable.iter().max()) {
            head.seq = head.seq.max(*last);
        }
    }

    /// Adds entries after these, ascending.
    pub fn extend(&mut self, entries: &[LogEntry]) {
        for entry in entries {
            self.known.push_back(Known::of(entry));
            self.head = Some(Head::of(entry));
        }
    }

    /// The number up to which the room's state is complete, for the entries from `next` on to say. Entries without keys
    /// say it only while state may lack something.
    #[must_use]
    pub fn state_at(&self, next: u64, has_keys: bool) -> Option<u64> {
        let head = self.head.map(|head| head.seq);
        (has_keys || !self.lag.lacks_nothing(head)).then(|| self.lag.state_at(head, next))
    }

    /// The messages that the room's state may lack.
    #[must_use]
    pub fn unapplied(&self) -> Option<Unapplied> {
        self.lag.unapplied(self.head.map(|head| head.seq))
    }

    /// Notes that this environment has written the keys that the room's state lacked, up to a number.
    pub fn note_state_written_to(&mut self, seq: u64) {
        self.lag.note_written_to(seq);
    }

    /// The numbers whose keys this environment has written to the state itself.
    #[must_use]
    pub fn written_state(&self) -> Range<u64> {
        self.lag.written()
    }

    /// Forgets all but the newest `most` entries, and the messages themselves.
    pub fn truncate(&mut self, most: usize) {
        self.lag.forget_messages();
        if self.known.len() > most {
            self.known.drain(..self.known.len() - most);
            self.reaches_start = false;
        }
    }

    /// Numbers a batch: messages that are in the log keep their places, the others follow from `next` on. A message
    /// that occurs twice in the batch gets one number.
    #[must_use]
    pub fn plan(&self, messages: &[Message], next: u64, layout: Layout) -> Plan {
        let mut places: HashMap<Identity, Option<Place>> =
            messages.iter().map(|message| (message.identity(), None)).collect();
        for known in &self.known {
            if let Some(place) = places.get_mut(&known.identity) {
                *place = Some(known.place);
            }
        }
        let mut plan = Plan { places: Vec::with_capacity(messages.len()), new: Vec::new() };
        let mut free = next;
        for (index, message) in messages.iter().enumerate() {
            let place = *places.entry(message.identity()).or_default().get_or_insert_with(|| {
                plan.new.push(index);
                free += 1;
                Place { seq: free - 1, layout }
            });
            plan.places.push(place);
        }
        plan
    }

    /// Whether every message of a batch is in the log.
    #[must_use]
    pub fn has_all(&self, messages: &[Message]) -> bool {
        self.plan(messages, 0, Layout::Direct).new.is_empty()
    }
}

impl Known {
    fn of(entry: &LogEntry) -> Self {
        let place = Place { seq: entry.seq(), layout: entry.layout };
        Self { identity: entry.logged.message.identity(), place, appended_at: entry.appended_at }
    }
}

impl Head {
    fn of(entry: &LogEntry) -> Self {
        Self {
            seq: entry.seq(),
            appended_at: entry.appended_at,
            expires_at: entry.expires_at,
            layout: entry.layout,
            floor: entry.floor,
        }
    }
}

impl Plan {
    /// The first number of the batch that still has to go out, when everything below `floor` is finished with.
    #[must_use]
    pub fn floor(&self, floor: u64) -> u64 {
        self.places.iter().map(|place| place.seq).filter(|seq| *seq >= floor).min().unwrap_or(floor)
    }

    /// The messages to append.
    pub fn new_messages<'a>(&self, messages: &'a [Message]) -> impl Iterator<Item = &'a Message> {
        self.new.iter().map(|index| &messages[*index])
    }

    /// The entries to append.
    #[must_use]
    pub fn entries(&self, messages: &[Message], stamp: Stamp) -> Vec<LogEntry> {
        let Stamp { floor, appended_at, expires_at, state_at } = stamp;
        let append_start = self.new.first().map_or(0, |first| self.places[*first].seq);
        let entry = |index: &usize| {
            let Place { seq, layout } = self.places[*index];
            let logged = LoggedMessage { seq, message: messages[*index].clone() };
            LogEntry { logged, append_start, previous: None, appended_at, expires_at, layout, floor, state_at }
        };
        self.new.iter().map(entry).collect()
    }

    /// The numbers of the messages that were in the log already, ascending.
    #[must_use]
    pub fn known(&self) -> Vec<u64> {
        let known = |(index, place): (usize, &Place)| self.new.binary_search(&index).is_err().then_some(place.seq);
        let mut known: Vec<_> = self.places.iter().enumerate().filter_map(known).collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    /// The batch's places, in its order.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixtures::{entry, message, page};

    fn numbers(tail: &Tail, ids: &[&str], next: u64) -> (Vec<u64>, usize) {
        let messages: Vec<_> = ids.iter().map(|id| message(id)).collect();
        let plan = tail.plan(&messages, next, Layout::Direct);
        let new = plan.entries(&messages, Stamp::default()).len();
        (plan.places().iter().map(|place| place.seq).collect(), new)
    }

    #[test]
    fn new_messages_follow_the_head() {
        let tail = Tail::from_latest(&page(&[entry(8, "b"), entry(7, "a")], false));
        assert_eq!(
            tail.head(),
            Some(Head { seq: 8, appended_at: 80, expires_at: 1008, layout: Layout::Direct, floor: 3 })
        );
        assert_eq!(numbers(&tail, &["c", "d"], 9), (vec![9, 10], 2));
    }

    #[test]
    fn a_row_that_cannot_be_read_keeps_its_number() {
        let mut tail = Tail::from_latest(&LogPage { unreadable: vec![9], ..page(&[entry(8, "b")], false) });
        assert_eq!(tail.head().map(|head| head.seq), Some(9));
        tail.extend_with(&LogPage { unreadable: vec![12], ..page(&[entry(10, "c"), entry(11, "d")], false) });
        assert_eq!(tail.head().map(|head| head.seq), Some(12));
    }

    #[test]
    fn a_redelivered_message_keeps_its_number_and_a_double_gets_one() {
        let tail = Tail::from_latest(&page(&[entry(8, "b"), entry(7, "a")], false));
        assert_eq!(numbers(&tail, &["a", "b"], 9), (vec![7, 8], 0));
        assert_eq!(numbers(&tail, &["b", "c", "c"], 9), (vec![8, 9, 9], 1));
        assert_eq!(numbers(&tail, &["c", "a"], 9), (vec![9, 7], 1));
        assert!(tail.has_all(&[message("a"), message("b")]) && !tail.has_all(&[message("a"), message("c")]));
    }

    #[test]
    fn new_entries_say_how_they_go_out_and_known_ones_keep_it() {
        let tail = Tail::from_latest(&page(&[entry(8, "b"), entry(7, "a")], false));
        let shards = Layout::Shards(std::num::NonZeroU16::MIN);
        let messages = [message("b"), message("c")];
        let plan = tail.plan(&messages, 9, shards);
        assert_eq!(plan.places(), [Place { seq: 8, layout: Layout::Direct }, Place { seq: 9, layout: shards }]);
        assert_eq!((plan.known(), plan.floor(3), plan.floor(9), plan.floor(20)), (vec![8], 8, 9, 20));
        let entries = plan.entries(&messages, Stamp { floor: 8, appended_at: 5, expires_at: 6, state_at: None });
        assert_eq!((entries[0].seq(), entries[0].floor, entries[0].layout), (9, 8, shards));
    }

    #[test]
    fn knows_how_far_back_it_goes() {
        let mut tail = Tail::from_latest(&page(&[entry(8, "b"), entry(7, "a")], true));
        assert!(tail.goes_back_to(71) && !tail.goes_back_to(70));
        tail.extend_back(&page(&[entry(6, "z")], false));
        assert!(tail.goes_back_to(0));
        assert_eq!((tail.oldest(), tail.len(), tail.bytes_searched()), (Some(6), 3, 200));
        tail.truncate(2);
        assert!(!tail.goes_back_to(60));
        assert_eq!(tail.oldest(), Some(7));
        assert_eq!(tail.head().map(|head| head.seq), Some(8));
    }

    #[test]
    fn an_empty_log_is_known_entirely() {
        let mut tail = Tail::from_latest(&page(&[], false));
        assert!(tail.head().is_none() && tail.is_empty() && tail.goes_back_to(0));
        tail.extend(&[entry(50, "a")]);
        assert_eq!(tail.head().map(|head| head.seq), Some(50));
    }
}

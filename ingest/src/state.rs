//! Pages of a room's state: of each key the greatest message, exact as of a number of the log.
//!
//! State is written after the log and may lag behind it, so a page is put together from both, in this order: the log's
//! head, which says up to which number state is complete; the log from that number to the head; then state. State, read
//! last, has everything up to that number, and the log adds the rest. A page may hold more than its number says, never
//! less.
//!
//! A snapshot is kept for a second, for others who join the same room. If a client needs a later number, the log
//! between the two numbers is added: a few rows instead of all of them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
};

use shared::{
    LoggedMessage, RoomId,
    clock::Clock,
    frame::server::{StateEntry, StatePage, StateRemoval},
    json,
    limits::STATE_REPLY_BYTES,
    room_pattern::RoomPatterns,
    store::{
        StoreError,
        log::{LogEntry, LogTable},
        state::{StateTable, StateValue},
    },
};

use crate::{budget::ENVELOPE, catch_up::Head};

/// The time for which a snapshot is kept, in milliseconds.
const KEPT_MILLIS: u64 = 1_000;

/// Bytes of all snapshots that are kept, at the most.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

/// About how many bytes a value takes in memory besides its texts.
const AROUND_VALUE: usize = 150;

/// Entries of a log that are added to a snapshot. One that lacks more is better read again.
const LOG_ROWS: u32 = 250;

/// Reads of state for one reply, at the most. If thousands of keys have no value any more, the client asks for further
/// pages.
const READS: usize = 4;

/// The state of the rooms that keep state.
#[derive(Debug)]
pub struct States<C> {
    kept: Option<(StateTable<C>, RoomPatterns)>,
    clock: C,
    /// The newest at the end.
    snapshots: RefCell<Vec<Snapshot>>,
}

/// The page that is asked for.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The key after which the page begins; empty for the first page.
    pub after: &'a str,
    /// The number of the log as of which the page must be exact, or as of a later one. A removal before it is told only
    /// if an older message could still come after it.
    pub seq: u64,
    /// The log's head, if it has been read already.
    pub head: Option<Head>,
    /// Entries at most.
    pub limit: u32,
    /// Bytes that they may take.
    pub bytes: usize,
    /// Whether one entry is taken in any case, since it would fit no other reply.
    pub takes_one: bool,
}

impl<'a> Wanted<'a> {
    /// The page of a `state` reply.
    #[must_use]
    pub fn alone(after: &'a str, seq: u64, limit: u32) -> Self {
        Self { after, seq, head: None, limit, bytes: STATE_REPLY_BYTES - ENVELOPE, takes_one: true }
    }
}

impl<C: Clock> States<C> {
    /// State of no room.
    pub fn none(clock: C) -> Self {
        Self { kept: None, clock, snapshots: RefCell::default() }
    }

    /// State of some rooms.
    pub fn new(table: StateTable<C>, rooms: RoomPatterns, clock: C) -> Self {
        Self { kept: Some((table, rooms)), clock, snapshots: RefCell::default() }
    }

    /// Whether a room keeps state.
    #[must_use]
    pub fn keeps(&self, room: &RoomId) -> bool {
        self.kept.as_ref().is_some_and(|(_, rooms)| rooms.matches(room))
    }

    /// A page of a room's state, with the number of the log as of which it is exact. In a stack without state it is
    /// empty.
    ///
    /// # Errors
    /// When a table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn page(
        &self,
        log: &LogTable<C>,
        room: &RoomId,
        wanted: Wanted<'_>,
    ) -> Result<(u64, StatePage), StoreError> {
        let Some((table, _)) = &self.kept else { return Ok((wanted.seq, StatePage::default())) };
        let remembered = match self.remembered(room, wanted.after) {
            Some(snapshot) => snapshot.brought_up(log, wanted.seq).await?,
            None => None,
        };
        let mut snapshot = match remembered {
            Some(snapshot) => snapshot,
            None => Snapshot::read(log, room, &wanted, self.clock.unix_millis()).await?,
        };
        let mut reads = 0;
        let page = loop {
            match snapshot.fill(&wanted, self.clock.unix_millis(), reads == READS) {
                Some(page) => break page,
                // One row more than is asked for says whether there is more.
                None => snapshot.read_on(table, wanted.limit.saturating_add(1)).await?,
            }
            reads += 1;
        };
        let seq = snapshot.seq;
        self.remember(snapshot);
        Ok((seq, page))
    }

    /// Takes out a snapshot of the last second that holds what comes after a key.
    fn remembered(&self, room: &RoomId, after: &str) -> Option<Snapshot> {
        let (now, mut snapshots) = (self.clock.unix_millis(), self.snapshots.borrow_mut());
        snapshots.retain(|snapshot| now < snapshot.read_at + KEPT_MILLIS);
        let position = snapshots.iter().position(|snapshot| snapshot.room == *room && snapshot.goes_on_after(after))?;
        Some(snapshots.remove(position))
    }

    fn remember(&self, snapshot: Snapshot) {
        let mut snapshots = self.snapshots.borrow_mut();
        snapshots.push(snapshot);
        let mut bytes: usize = snapshots.iter().map(|snapshot| snapshot.bytes).sum();
        while bytes > KEPT_BYTES {
            bytes -= snapshots.remove(0).bytes;
        }
    }
}

/// A snapshot: a range of a room's state as of a number of the log.
#[derive(Debug)]
struct Snapshot {
    room: RoomId,
    /// The number of the log as of which it is exact.
    seq: u64,
    read_at: u64,
    /// The key after which the range begins.
    start: String,
    /// The last key of the range; `None` if the range goes to the end.
    end: Option<String>,
    values: BTreeMap<String, StateValue>,
    /// The log's additions, of all keys: those beyond the end are needed when the end moves on.
    added: BTreeMap<String, StateValue>,
    bytes: usize,
}

impl Snapshot {
    /// A snapshot from the log alone; nothing of state is read yet.
    async fn read(
        log: &LogTable<impl Clock>,
        room: &RoomId,
        wanted: &Wanted<'_>,
        now: u64,
    ) -> Result<Self, StoreError> {
        let Head { seq, newest, .. } = match &wanted.head {
            Some(head) => head.clone(),
            None => Head::read(log, room).await?,
        };
        // The log may have expired while its state has values.
        let complete_to = newest.as_ref().map_or(seq, |newest| newest.state_complete_to());
        let mut snapshot = Self {
            room: room.clone(),
            seq,
            read_at: now,
            start: wanted.after.to_owned(),
            end: Some(wanted.after.to_owned()),
            values: BTreeMap::new(),
            added: BTreeMap::new(),
            bytes: 0,
        };
        // The newest is at hand.
        let lacking = complete_to + 1..=seq.saturating_sub(1);
        log.for_each_in(room, lacking, |entry| snapshot.add(&entry.logged)).await?;
        newest.iter().filter(|newest| newest.seq() > complete_to).for_each(|newest| snapshot.add(&newest.logged));
        Ok(snapshot)
    }

    /// Whether it holds what comes right after a key.
    fn goes_on_after(&self, key: &str) -> bool {
        *key >= *self.start && self.end.as_ref().is_none_or(|end| *key <= **end)
    }

    /// The snapshot as of a number, with the log up to that number, or up to the log's end, added. `None` if the log
    /// was started anew or is far ahead: then state is better read again.
    async fn brought_up(mut self, log: &LogTable<impl Clock>, seq: u64) -> Result<Option<Self>, StoreError> {
        if self.seq >= seq {
            return Ok(Some(self));
        }
        let limit = u32::try_from(seq - self.seq).unwrap_or(LOG_ROWS).min(LOG_ROWS);
        let page = log.since(&self.room, self.seq + 1, limit).await?;
        let last = page.entries.last().map(LogEntry::seq).max(page.unreadable.iter().max().copied());
        let rows = (page.entries.len() + page.unreadable.len()) as u64;
        let last = last.unwrap_or(self.seq);
        // If the log ends below the number that the client has named, the client gets what there is.
        if last - self.seq != rows || (last < seq && page.more) {
            return Ok(None);
        }
        page.entries.iter().for_each(|entry| self.add(&entry.logged));
        self.seq = last;
        Ok(Some(self))
    }

    /// Reads so many of the state's next rows.
    async fn read_on(&mut self, table: &StateTable<impl Clock>, rows: u32) -> Result<(), StoreError> {
        let Some(end) = self.end.take() else { return Ok(()) };
        let page = table.page(&self.room, &end, rows).await?;
        for value in page.values {
            self.bytes += bytes_of(&value);
            keep_greater(&mut self.values, value);
        }
        let up_to = page.next.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let added: Vec<_> =
            self.added.range::<str, _>((Bound::Excluded(&*end), up_to)).map(|(_, value)| value.clone()).collect();
        for value in added {
            keep_greater(&mut self.values, value);
        }
        self.end = page.next;
        Ok(())
    }

    /// Adds a message of the log.
    fn add(&mut self, logged: &LoggedMessage) {
        let Some(value) = StateValue::of(logged) else { return };
        self.bytes += 2 * bytes_of(&value);
        if value.key > self.start && self.end.as_ref().is_none_or(|end| value.key <= *end) {
            keep_greater(&mut self.values, value.clone());
        }
        keep_greater(&mut self.added, value);
    }

    /// The page; `None` if more must be read for it first. With `is_last` nothing more may be read, and the page may
    /// have fewer entries.
    fn fill(&self, wanted: &Wanted<'_>, now: u64, is_last: bool) -> Option<StatePage> {
        let (mut page, mut bytes, mut taken) = (StatePage::default(), 0, 0);
        let mut told_up_to = wanted.after;
        for (key, value) in self.values.range::<str, _>((Bound::Excluded(wanted.after), Bound::Unbounded)) {
            let told = ListedKey::of(value, wanted.seq, now);
            if let Some(told) = told {
                bytes += told.bytes();
                let fits = bytes <= wanted.bytes || (wanted.takes_one && taken == 0);
                if !fits || taken == wanted.limit {
                    page.next = Some(told_up_to.to_owned());
                    return Some(page);
                }
                taken += 1;
                match told {
                    ListedKey::Entry(entry) => page.entries.push(entry),
                    ListedKey::Removal(removal) => page.removed.push(removal),
                }
            }
            told_up_to = key;
        }
        page.next.clone_from(&self.end);
        (self.end.is_none() || is_last).then_some(page)
    }
}

/// A key as a client is told of it.
enum ListedKey {
    Entry(StateEntry),
    Removal(StateRemoval),
}

impl ListedKey {
    /// A key without a value is told only if a message can come after `seq` that is older than its removal or expiry.
    fn of(value: &StateValue, seq: u64, now: u64) -> Option<Self> {
        let (key, rank) = (value.key.clone(), value.rank);
        let version = Some(rank.version).filter(|version| *version > 0);
        match value.data_at(now) {
            Some(data) => Some(Self::Entry(StateEntry {
                key,
                seq: rank.seq,
                version,
                from: value.from.clone(),
                sent_at: value.sent_at,
                ttl_seconds: value.ttl_seconds(),
                data: data.to_owned(),
            })),
            None if version.is_some() || rank.seq > seq => {
                Some(Self::Removal(StateRemoval { key, seq: rank.seq, version }))
            }
            None => None,
        }
    }

    /// Bytes that it takes in a reply, the comma included.
    fn bytes(&self) -> usize {
        match self {
            Self::Entry(entry) => json::length(entry) + 1,
            Self::Removal(removal) => json::length(removal) + 1,
        }
    }
}

fn keep_greater(values: &mut BTreeMap<String, StateValue>, value: StateValue) {
    match values.entry(value.key.clone()) {
        Entry::Occupied(mut entry) if value.rank.supersedes(entry.get().rank) => drop(entry.insert(value)),
        Entry::Occupied(_) => {}
        Entry::Vacant(entry) => drop(entry.insert(value)),
    }
}

fn bytes_of(value: &StateValue) -> usize {
    let data = value.data.as_deref().map_or(0, |data| data.get().len());
    AROUND_VALUE + 2 * value.key.len() + value.from.len() + data
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use shared::{clock::SystemClock, order::Rank};

    use super::*;

    fn snapshot(room: &str, bytes: usize) -> Snapshot {
        let (values, added) = (BTreeMap::new(), BTreeMap::new());
        let room = RoomId::parse(room).unwrap();
        Snapshot {
            room,
            seq: 1,
            read_at: u64::MAX - KEPT_MILLIS,
            start: String::new(),
            end: None,
            values,
            added,
            bytes,
        }
    }

    #[test]
    fn the_oldest_snapshots_make_way_until_the_rest_fits() {
        let states = States::none(SystemClock);
        let kept = || states.snapshots.borrow().iter().map(|kept| kept.room.to_string()).collect::<Vec<_>>();
        states.remember(snapshot("a", KEPT_BYTES / 2));
        states.remember(snapshot("b", KEPT_BYTES / 2));
        assert_eq!(kept(), ["a", "b"]);
        states.remember(snapshot("c", KEPT_BYTES / 2 + 1));
        assert_eq!(kept(), ["c"]);
        states.remember(snapshot("d", KEPT_BYTES + 1));
        assert_eq!(kept(), Vec::<String>::new(), "one that is too large is not kept at all");
    }

    #[test]
    fn a_value_takes_its_texts_and_what_is_around_them() {
        let data = Some(RawValue::from_string("123456789".into()).unwrap());
        let rank = Rank { version: 0, seq: 1 };
        let value = StateValue { key: "k".repeat(7), rank, from: "ann".into(), sent_at: 0, data, until: None };
        // The key is there twice, as the map's and as the value's.
        assert_eq!(bytes_of(&value), AROUND_VALUE + 7 + 7 + 3 + 9);
        assert_eq!(bytes_of(&StateValue { data: None, ..value }), AROUND_VALUE + 7 + 7 + 3);
    }
}

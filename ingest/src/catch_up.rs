//! The messages that a client has missed in a room, as far as they fit a reply.

use std::iter;

use shared::{
    LoggedMessage, RoomId,
    clock::Clock,
    frame::server::CatchUp,
    store::{
        StoreError,
        log::{LogEntry, LogHead, LogTable},
    },
};

use crate::budget::ReplyBudget;

/// Messages in one reply about a room, at the most.
const MESSAGES: usize = 100;

/// Rows that are asked for first, while their size is unknown: of messages of 100 KB a reply holds only one.
const FIRST_PAGE: usize = 3;

/// Bytes that a message takes in a reply besides its data, about.
const AROUND_DATA: usize = 100;

/// The number of rows to ask for next. A reply is filled in a few reads, and little more is read than it holds.
#[derive(Debug)]
pub struct PageSize {
    most: usize,
    bytes_left: usize,
    messages: usize,
    bytes: usize,
}

impl PageSize {
    /// Page sizes for so many messages at the most, in so many bytes.
    #[must_use]
    pub fn new(most: usize, bytes_left: usize) -> Self {
        Self { most, bytes_left, messages: 0, bytes: 0 }
    }

    /// Notes what was read.
    pub fn add<'a>(&mut self, messages: impl Iterator<Item = &'a LoggedMessage>) {
        for LoggedMessage { message, .. } in messages {
            self.messages += 1;
            self.bytes += message.data.get().len() + AROUND_DATA;
        }
    }

    /// Whether there are as many as the reply may hold. One message is wanted in any case.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.messages >= self.most || (self.messages > 0 && self.bytes >= self.bytes_left)
    }

    /// Rows to ask for.
    #[must_use]
    pub fn next(&self) -> u32 {
        let left = self.most.saturating_sub(self.messages);
        let rows = match self.bytes.checked_div(self.messages) {
            None => FIRST_PAGE.min(left),
            // One row more than is expected to fit says whether there is more.
            Some(bytes_each) => (self.bytes_left.saturating_sub(self.bytes) / bytes_each + 1).min(left),
        };
        u32::try_from(rows.max(1)).unwrap_or(u32::MAX)
    }
}

/// The head of a log, read from the log itself.
#[derive(Clone, Debug)]
pub struct Head {
    /// The number of the newest message that it has, or had before everything in it expired; 0 when nothing is known of
    /// it.
    pub seq: u64,
    /// When that message was appended, in milliseconds since the Unix epoch.
    appended_at: Option<u64>,
    /// Its newest entry, unless it is empty.
    pub newest: Option<Box<LogEntry>>,
}

impl Head {
    /// Reads the head, strongly consistent.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn read(log: &LogTable<impl Clock>, room: &RoomId) -> Result<Self, StoreError> {
        if let Some(head) = Self::of_newest(log, room).await? {
            return Ok(head);
        }
        let Some(saved) = log.head(room).await? else { return Ok(Self { seq: 0, appended_at: None, newest: None }) };
        // The log has been started between the two reads.
        if log.is_lasting(&saved)
            && let Some(head) = Self::of_newest(log, room).await?
        {
            return Ok(head);
        }
        // The messages that the log had before everything expired.
        Ok(Self { seq: saved.seq, appended_at: Some(saved.appended_at), newest: None })
    }

    async fn of_newest(log: &LogTable<impl Clock>, room: &RoomId) -> Result<Option<Self>, StoreError> {
        let newest = log.latest(room, None, 1).await?.entries.into_iter().next();
        Ok(newest.map(|newest| {
            let (seq, appended_at) = (newest.seq(), Some(newest.appended_at));
            Self { seq, appended_at, newest: Some(Box::new(newest)) }
        }))
    }
}

/// The messages of a log for somebody who has everything up to `after`.
#[derive(Debug)]
pub struct Found {
    seq: u64,
    messages: Vec<LoggedMessage>,
    /// Whether there are messages beyond those, or may be.
    more: bool,
    truncated: bool,
    /// When the newest message was appended, if that is known.
    pub appended_at: Option<u64>,
    /// The log's head, where that was all that was looked at.
    pub head: Option<Head>,
    /// Read units that it took, about.
    pub units: usize,
}

impl Found {
    /// The head of a log, for a client that asks for no message.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn head(log: &LogTable<impl Clock>, room: &RoomId) -> Result<Self, StoreError> {
        let head = Head::read(log, room).await?;
        let (seq, appended_at) = (head.seq, head.appended_at);
        Ok(Self { seq, appended_at, head: Some(head), ..Self::empty() })
    }

    /// Nothing, in a log of which nothing is known.
    #[must_use]
    pub fn empty() -> Self {
        Self { seq: 0, messages: Vec::new(), more: false, truncated: false, appended_at: None, head: None, units: 0 }
    }

    /// Nothing beyond a head that has expired, or that the client has already.
    #[must_use]
    pub fn nothing_beyond(after: u64, head: LogHead) -> Self {
        let truncated = after > 0 && after != head.seq;
        Self { seq: head.seq, truncated, appended_at: Some(head.appended_at), ..Self::empty() }
    }

    /// Messages up to a head, which are not read now.
    #[must_use]
    pub fn unread(head: LogHead) -> Self {
        Self { seq: head.seq, more: true, appended_at: Some(head.appended_at), ..Self::empty() }
    }

    /// Takes as many messages as the budget allows.
    pub fn fill(self, budget: &mut ReplyBudget) -> CatchUp {
        let found = self.messages.len();
        let messages: Vec<_> = self.messages.into_iter().take_while(|logged| budget.take(&logged.message)).collect();
        // There is more if a message that was found did not fit, or if the log goes on after the last one.
        let more = self.more || messages.len() < found || messages.last().is_some_and(|last| last.seq < self.seq);
        CatchUp { seq: self.seq, messages, more, truncated: self.truncated }
    }
}

/// For [`Missed::not_before`]: messages of any age.
pub const ANY_TIME: u64 = 0;

/// The messages of a room's log that a client may lack.
#[derive(Clone, Copy, Debug)]
pub struct Missed {
    /// The last number that the client has; 0 stands for the beginning of what is retained.
    pub after: u64,
    /// The log's head, if it is known and lies beyond `after`.
    pub head: Option<LogHead>,
    /// The time before which the client has no right to messages, in milliseconds since the Unix epoch. It is told that
    /// those are gone.
    pub not_before: u64,
    /// The bytes that a reply has for messages. About as much is read.
    pub bytes_left: usize,
}

impl Missed {
    /// Reads the messages, strongly consistent.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn read(self, log: &LogTable<impl Clock>, room: &RoomId) -> Result<Found, StoreError> {
        let mut reading = Reading { log, room, missed: self, units: 0 };
        let found = reading.found().await?;
        Ok(Found { units: reading.units, ..found })
    }

    fn is_withheld(&self, entry: &LogEntry) -> bool {
        entry.appended_at < self.not_before
    }
}

/// A read of what a client has missed.
struct Reading<'a, C> {
    log: &'a LogTable<C>,
    room: &'a RoomId,
    missed: Missed,
    /// Read units that it has taken so far.
    units: usize,
}

impl<C: Clock> Reading<'_, C> {
    async fn found(&mut self) -> Result<Found, StoreError> {
        let Missed { after, head, .. } = self.missed;
        let (mut entries, more) = self.entries().await?;
        let Some(newest) = entries.last() else { return self.nothing().await };
        let (last, last_appended_at) = (newest.seq(), Some(newest.appended_at));
        let (seq, appended_at) = match head {
            // The log may have expired meanwhile. The client learns that when it asks for the rest.
            Some(head) if head.seq > last => (head.seq, Some(head.appended_at)),
            None if more => self.newest_beyond(newest).await?,
            _ => (last, last_appended_at),
        };
        if let Some(last) = entries.iter().rposition(|entry| entry.seq() > after && self.missed.is_withheld(entry)) {
            let (mut kept, mut more) = (entries.split_off(last + 1), more);
            if kept.is_empty() && more {
                kept = self.newest_allowed().await?;
                more = false;
            }
            let seq = kept.last().map_or(seq, |newest| newest.seq().max(seq));
            let messages = kept.into_iter().map(|entry| entry.logged).collect();
            return Ok(Found { seq, messages, more, truncated: true, appended_at, ..Found::empty() });
        }
        // A client that asks for the beginning of what is retained misses nothing before it.
        let has_gap = after > 0 && has_hole(after, &entries);
        let messages: Vec<_> =
            entries.into_iter().map(|entry| entry.logged).filter(|logged| logged.seq > after).collect();
        // Messages up to `seq` have been there, and none can be read.
        let is_gone = after > 0 && messages.is_empty() && !more && seq > after;
        let truncated = has_gap || is_gone;
        // Without a known head, `newest_beyond` has said how far the log goes.
        let more = more && (head.is_some() || seq > last);
        Ok(Found { seq, messages, more, truncated, appended_at, ..Found::empty() })
    }

    /// The oldest entries from `after` on, and whether there are more. The entry `after` itself is among them: while it
    /// is there, nothing after it can have expired.
    async fn entries(&mut self) -> Result<(Vec<LogEntry>, bool), StoreError> {
        let Missed { after, head, bytes_left, .. } = self.missed;
        let mut size = PageSize::new(MESSAGES, bytes_left);
        let (mut entries, mut from) = (Vec::new(), after);
        loop {
            // One entry beyond the head says whether there is more by now. Once the read is past the head, it has no
            // such bound.
            let is_not_beyond = |head: &LogHead| from <= head.seq + 1;
            let up_to_head = head.filter(is_not_beyond).map_or(u64::MAX, |head| head.seq.saturating_sub(from) + 2);
            let limit = u64::from(size.next()).min(up_to_head);
            let page = self.log.since(self.room, from, u32::try_from(limit).unwrap_or(u32::MAX)).await?;
            self.units += page.read_units();
            size.add(page.entries.iter().map(|entry| &entry.logged).filter(|logged| logged.seq > after));
            let last = page.entries.last().map(LogEntry::seq);
            entries.extend(page.entries);
            match last {
                Some(last) if page.more && !size.is_enough() => from = last + 1,
                _ => return Ok((entries, page.more)),
            }
        }
    }

    /// The newest entries of the log after `after`, back to the first one that is withheld, or as far as the reply
    /// goes.
    async fn newest_allowed(&mut self) -> Result<Vec<LogEntry>, StoreError> {
        let missed = self.missed;
        let mut size = PageSize::new(MESSAGES, missed.bytes_left);
        let mut newest: Vec<LogEntry> = Vec::new();
        loop {
            let page = self.log.latest(self.room, newest.last().map(LogEntry::seq), size.next()).await?;
            self.units += page.read_units();
            let found = page.entries.len();
            let is_allowed = |entry: &LogEntry| entry.seq() > missed.after && !missed.is_withheld(entry);
            let kept: Vec<_> = page.entries.into_iter().take_while(is_allowed).collect();
            let is_end = kept.len() < found || !page.more;
            size.add(kept.iter().map(|entry| &entry.logged));
            newest.extend(kept);
            if is_end || size.is_enough() {
                newest.reverse();
                return Ok(newest);
            }
        }
    }

    /// The newest message of a log that has been read up to `last`: its number and when it was appended. The log may
    /// have expired meanwhile; the result is never below what was found.
    async fn newest_beyond(&mut self, last: &LogEntry) -> Result<(u64, Option<u64>), StoreError> {
        let page = self.log.latest(self.room, None, 1).await?;
        self.units += page.read_units();
        let newest = page.entries.first().filter(|newest| newest.seq() > last.seq()).unwrap_or(last);
        Ok((newest.seq(), Some(newest.appended_at)))
    }

    /// The meaning of a log that has nothing from `after` on: its messages have expired, or `after` is beyond its
    /// head, and so a position in another log.
    async fn nothing(&mut self) -> Result<Found, StoreError> {
        let Missed { after, head, .. } = self.missed;
        self.units += 1;
        let known = match head {
            Some(head) => Some(head),
            None => self.log.head(self.room).await?,
        };
        match known {
            Some(known) if head.is_some() || known.seq == after => Ok(Found::nothing_beyond(after, known)),
            // The log may have been started between the two reads, so it is read once more after its head.
            known => {
                let page = self.log.latest(self.room, None, 1).await?;
                self.units += page.read_units();
                let newest = page.entries.first();
                let seq = newest.map_or(0, LogEntry::seq).max(known.map_or(0, |known| known.seq));
                let appended_at = newest.map(|newest| newest.appended_at).or(known.map(|known| known.appended_at));
                let more = newest.is_some_and(|newest| newest.seq() > after);
                Ok(Found { seq, more, truncated: after > 0 && !more, appended_at, ..Found::empty() })
            }
        }
    }
}

/// Whether messages are gone from between `after` and the entries that were read, or from between those. The table may
/// delete newer rows before older ones, also between the queries of one read, and a row may be unreadable. Numbers also
/// jump where the log was started anew, with nothing lost: the entry there says so.
fn has_hole(after: u64, entries: &[LogEntry]) -> bool {
    let before = iter::once(after).chain(entries.iter().map(LogEntry::seq));
    before.zip(entries).any(|(before, entry)| before + 1 < entry.seq() && entry.previous != Some(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_for_now_is_there_to_be_asked_for() {
        let found = Found::unread(LogHead { seq: 9, appended_at: 5, expires_at: 6 });
        assert_eq!(found.appended_at, Some(5));
        let told = found.fill(&mut ReplyBudget::new());
        assert_eq!((told.seq, told.messages.len(), told.more, told.truncated), (9, 0, true, false));
    }
}

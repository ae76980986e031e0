//! The room log's writer: numbers a batch and appends it, before the first post.

#[cfg(test)]
mod fixtures;
mod lag;
mod logged;
mod tail;
mod tails;

use std::{cell::RefCell, time::Duration};

use shared::{
    LoggedMessage, RoomId,
    backoff::Backoff,
    clock::Clock,
    limits::CLOCK_SKEW_MS,
    room_pattern::RoomPatterns,
    store::{
        StoreError,
        log::{Append, Fence, Layout, LogEntry, LogHead, LogTable, LogTableError},
    },
};

pub use lag::{StateWork, Unapplied};
pub use logged::{Batch, Logged};
pub use tail::{Head, Place, Tail};
use tail::{Plan, Stamp};
use tails::Tails;

/// Attempts to append one batch. A failed attempt means a conflicting write, or a table that throttles.
const ATTEMPTS: u32 = 10;

/// The waits after a conflict, in which the other writer gets done.
const CONFLICT: Backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_secs(1) };

/// The waits while the table throttles. A partition takes 1,000 write units in each second, so it is a matter of
/// moments. After all attempts, some three seconds, the room's records go back to the queue.
const THROTTLED: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };

/// Entries that are read first of a log that is not remembered.
const READ: u32 = 25;

/// Entries that are read in one page when a batch may be in the log already.
const READ_BACK: u32 = 250;

/// The most entries that are searched for a batch that may be in the log already.
const SEARCH: usize = 2_000;

/// The most bytes that are searched for such a batch: 1,000 read units, a third of what a partition serves in a second.
/// The searched entries are remembered, so that a backlog costs this only once.
const SEARCH_BYTES: usize = 4 * 1024 * 1024;

/// Entries that are remembered of a log that was not searched.
const REMEMBERED: usize = 32;

/// The time for which a FIFO queue drops duplicates, in milliseconds ("Exactly-once processing in Amazon SQS").
const DEDUPLICATION: u64 = 5 * 60 * 1000;

/// Seconds before a log's last entry expires from which on the log is written to under the lock of its fence, or a
/// third of the retention if that is less.
///
/// An environment may be stopped between reading the head and writing after it, for at most the 15 minutes of an
/// invocation. By then the log may have expired, and it must not write into it. For example, with a head that expires
/// at 12:00:
///
/// ```text
/// 11:39  A reads the head, 7, and is stopped
/// 11:54  A goes on at the latest, and writes 8; if B has written 8 meanwhile, A's write fails and A reads the log again
/// 12:00  the log is empty, and starts anew at a number that nobody can still be holding
/// ```
///
/// With less time left than that, both write the fence as well, and only one of them succeeds.
const MARGIN_SECONDS: u64 = 20 * 60;

/// Seconds before a log's last entry expires from which on the log starts anew, at the current time. By the table's
/// clock the head may have expired already and later entries may be deleted, so that the next number might be given a
/// second time. It is far less than the margin of any writer, also of one with another retention during a deployment.
const LAST_SECONDS: u64 = 5;

/// The number of checks, and the time between them, whether the shards have posted everything, when a room may return
/// to direct posts.
const DRAIN_POLLS: u32 = 4;
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// The reason why a batch was not appended. Some of it may be in the log; a redelivery finds it there.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The table did not answer, or throttled for too long.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Other writers were quicker at each attempt, or at work.
    #[error("another writer was quicker, or at work, {ATTEMPTS} times")]
    Contended,
}

/// The next write to a log.
#[derive(Clone, Copy, Debug)]
struct NextWrite {
    /// The first number.
    next: u64,
    /// The last number before it, if the log may start anew with it and that number is known.
    previous: Option<u64>,
    how: Append,
}

impl NextWrite {
    /// The number that comes next in a log that lasts.
    fn following(next: u64) -> Self {
        Self { next, previous: None, how: Append::Continue }
    }
}

/// An append of those messages of a batch that are not in the log yet.
struct Write {
    plan: Plan,
    entries: Vec<LogEntry>,
    floor: u64,
    how: Append,
}

/// Writes room logs. There is one for each environment.
#[derive(Debug)]
pub struct LogWriter<C> {
    table: LogTable<C>,
    clock: C,
    retention: Duration,
    state_rooms: RoomPatterns,
    tails: RefCell<Tails>,
}

impl<C: Clock> LogWriter<C> {
    /// A writer that keeps messages for `retention`.
    pub fn new(table: LogTable<C>, clock: C, retention: Duration) -> Self {
        Self { table, clock, retention, state_rooms: RoomPatterns::default(), tails: RefCell::default() }
    }

    /// The same writer, for a stack that keeps the state of some rooms.
    #[must_use]
    pub fn with_state_rooms(self, state_rooms: RoomPatterns) -> Self {
        Self { state_rooms, ..self }
    }

    /// The table.
    pub fn table(&self) -> &LogTable<C> {
        &self.table
    }

    /// The end of a room's log, as far back as the batch could be in it. It comes from memory unless the batch may have
    /// been logged before.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn tail(&self, room: &RoomId, batch: &Batch) -> Result<Tail, StoreError> {
        let remembered = self.tails.borrow_mut().get(room);
        let Some(mut tail) = remembered else { return self.read_tail(room, batch).await };
        if self.may_be_logged(batch) {
            // The log itself counts here, with what others have appended since, and not only what is remembered of it.
            self.catch_up(room, &mut tail, batch).await?;
            self.search_back(room, &mut tail, batch).await?;
            // Remembered now, so that it need not be searched again even if the append fails.
            self.remember(room, tail.clone());
        }
        Ok(tail)
    }

    /// Appends those messages of a batch that are not in the log yet, after its tail, and returns how the batch stands
    /// in the log. `wanted` names the layout for new entries, given that of the entries before them; it changes only
    /// when nothing is under way on the shard queue.
    ///
    /// # Errors
    /// When the table does not answer, or other writers are quicker again and again.
    pub async fn append(
        &self,
        room: &RoomId,
        batch: &Batch,
        mut tail: Tail,
        wanted: impl Fn(Layout) -> Layout,
    ) -> Result<Logged, AppendError> {
        let (mut throttled, mut numbered) = (None, 0);
        for attempt in 0..ATTEMPTS {
            if tail.has_all(&batch.messages) {
                return Ok(self.logged(room, batch, tail, numbered).await?);
            }
            let Some(write) = self.prepare(room, batch, &mut tail, &wanted).await? else {
                throttled = None;
                tokio::time::sleep(CONFLICT.delay(attempt)).await;
                continue;
            };
            match self.table.append(room, &write.entries, write.how).await {
                Ok(()) if write.plan.known().is_empty() => return Ok(self.appended(room, tail, write)),
                Ok(()) => {
                    numbered += write.entries.len();
                    tail.extend_with_own(&write.entries);
                }
                Err(LogTableError::Conflict) => {
                    throttled = None;
                    tokio::time::sleep(CONFLICT.delay(attempt)).await;
                    self.catch_up(room, &mut tail, batch).await?;
                }
                Err(LogTableError::Store(error @ StoreError::Throttled { .. })) => {
                    tokio::time::sleep(THROTTLED.delay(attempt)).await;
                    throttled = Some(error);
                }
                Err(LogTableError::Store(error)) => return Err(error.into()),
            }
        }
        if tail.has_all(&batch.messages) {
            return Ok(self.logged(room, batch, tail, numbered).await?);
        }
        Err(throttled.map_or(AppendError::Contended, AppendError::Store))
    }

    /// Numbers those messages of a batch that are not in the log yet. `None` while another writer is starting the log.
    async fn prepare(
        &self,
        room: &RoomId,
        batch: &Batch,
        tail: &mut Tail,
        wanted: impl Fn(Layout) -> Layout,
    ) -> Result<Option<Write>, StoreError> {
        let Some(NextWrite { next, previous, how }) = self.next_write(room, tail, batch).await? else {
            return Ok(None);
        };
        let layout = self.layout(room, tail, wanted).await?;
        let plan = tail.plan(&batch.messages, next, layout);
        let head = tail.head();
        let has_keys = plan.new_messages(&batch.messages).any(|message| message.key.is_some());
        let stamp = Stamp {
            floor: plan.floor(head.map_or(0, |head| head.floor)),
            appended_at: self.clock.unix_millis(),
            // An entry never expires before the entries ahead of it, even if the retention was longer then: so the
            // newest entry is the last to expire, and is the head as long as it exists.
            expires_at: (self.clock.unix_seconds() + self.retention.as_secs())
                .max(head.map_or(0, |head| head.expires_at)),
            state_at: self.state_rooms.matches(room).then(|| tail.state_at(next, has_keys)).flatten(),
        };
        let mut entries = plan.entries(&batch.messages, stamp);
        if let Some(first) = entries.first_mut() {
            first.previous = previous.filter(|previous| previous + 1 < first.seq());
        }
        Ok(Some(Write { plan, entries, floor: stamp.floor, how }))
    }

    /// A batch of which everything was appended now.
    fn appended(&self, room: &RoomId, mut tail: Tail, write: Write) -> Logged {
        let Write { plan, entries, floor, how } = write;
        tail.extend_with_own(&entries);
        let mut messages: Vec<_> = entries.into_iter().map(|entry| entry.logged).collect();
        messages.sort_by_key(|logged| logged.seq);
        let head = head_of(&messages, &tail);
        let state = self.state_work(room, &messages, &tail);
        self.remember(room, tail);
        Logged {
            places: plan.places().to_vec(),
            numbered: messages.len(),
            messages,
            floor,
            known: false,
            head,
            may_start: how != Append::Continue,
            state,
        }
    }

    /// A batch that is in the log, some of it since an earlier attempt. Those messages are read from the log: a sender
    /// that tries again under the same id may say something else, but a broadcast never differs from the log.
    async fn logged(&self, room: &RoomId, batch: &Batch, tail: Tail, numbered: usize) -> Result<Logged, StoreError> {
        let plan = tail.plan(&batch.messages, 0, Layout::Direct);
        let places = plan.places().to_vec();
        let pairs = places.iter().zip(&batch.messages);
        let mut messages: Vec<_> =
            pairs.map(|(place, message)| LoggedMessage { seq: place.seq, message: message.clone() }).collect();
        messages.sort_by_key(|logged| logged.seq);
        messages.dedup_by_key(|logged| logged.seq);
        for run in plan.known().chunk_by(|one, next| one + 1 == *next) {
            let reading = self.table.for_each_in(room, run[0]..=run[run.len() - 1], |entry| {
                if let Ok(position) = messages.binary_search_by_key(&entry.seq(), |logged| logged.seq) {
                    messages[position] = entry.logged;
                }
            });
            reading.await?;
        }
        let floor = tail.head().map_or(0, |head| head.floor);
        let head = head_of(&messages, &tail);
        let state = self.state_work(room, &messages, &tail);
        self.remember(room, tail);
        Ok(Logged { places, messages, floor, known: true, numbered, head, may_start: true, state })
    }

    /// The work that brings the room's state up to the log's end; `None` when there is no key to write.
    fn state_work(&self, room: &RoomId, messages: &[LoggedMessage], tail: &Tail) -> Option<StateWork> {
        let head = tail.head().filter(|_| self.state_rooms.matches(room))?;
        let (before, written) = (tail.unapplied(), tail.written_state());
        let has_keys = messages.iter().any(|logged| logged.message.key.is_some() && !written.contains(&logged.seq));
        (has_keys || before.is_some()).then_some(StateWork {
            before,
            written,
            through: head.seq,
            log_expires_at: head.expires_at,
        })
    }

    /// Notes that this environment has written the keys that a room's state lacked, up to a number.
    pub fn note_state_written_to(&self, room: &RoomId, seq: u64) {
        self.tails.borrow_mut().note_state_written_to(room, seq);
    }

    /// The next write; `None` while another writer is starting the log.
    async fn next_write(&self, room: &RoomId, tail: &mut Tail, batch: &Batch) -> Result<Option<NextWrite>, StoreError> {
        if let Some(next) = self.next_of_a_lasting_log(tail) {
            return Ok(Some(NextWrite::following(next)));
        }
        let fence = self.table.fence(room).await?;
        // The saved head is read before the tail: a number that was saved by then and is not in the tail is gone. Read
        // afterwards, it could be that of an append that the tail does not have yet.
        let saved = self.table.head(room).await?.map(|head| head.seq);
        // The tail must be read after the fence: only then is it known that nobody has moved the fence since.
        *tail = self.read_tail(room, batch).await?;
        if let Some(next) = self.next_of_a_lasting_log(tail) {
            return Ok(Some(NextWrite::following(next)));
        }
        // The table may show the fence before the entries that were appended with it. They may be this very batch,
        // whose last consumer was given up while it wrote.
        let is_starting = |fence: &Fence| {
            fence.appended_at.is_some_and(|at| self.table.may_be_in_part(at))
                && tail.head().is_none_or(|head| head.seq < fence.start)
        };
        if fence.as_ref().is_some_and(is_starting) {
            return Ok(None);
        }
        // By a clock that is ahead of this one the newest entry has expired, and may be deleted before older ones.
        let previous = saved.max(tail.head().map(|head| head.seq));
        let how = Append::Fenced { expected: fence.map(|fence| fence.start) };
        Ok(Some(NextWrite { next: self.first_number(tail.head(), previous), previous, how }))
    }

    /// The next number of a log that does not end soon.
    fn next_of_a_lasting_log(&self, tail: &Tail) -> Option<u64> {
        let margin = MARGIN_SECONDS.min(self.retention.as_secs() / 3);
        tail.head().filter(|head| head.expires_at > self.clock.unix_seconds() + margin).map(|head| head.seq + 1)
    }

    /// The number under which a log near its end goes on after `previous`, or a new one starts. A new log starts at the
    /// current time, which is beyond the numbers of any earlier log.
    fn first_number(&self, head: Option<Head>, previous: Option<u64>) -> u64 {
        let next = previous.map_or(0, |previous| previous + 1);
        match head {
            Some(head) if head.expires_at > self.clock.unix_seconds() + LAST_SECONDS => next,
            _ => self.clock.unix_micros().max(next),
        }
    }

    /// The layout for new entries. It differs from the one before only when every shard has posted everything, so that
    /// no frame can overtake one that waits on the shard queue. A room that was never cut pays nothing for this.
    async fn layout(
        &self,
        room: &RoomId,
        tail: &Tail,
        wanted: impl Fn(Layout) -> Layout,
    ) -> Result<Layout, StoreError> {
        let Some(head) = tail.head() else { return Ok(wanted(Layout::Direct)) };
        let wanted = wanted(head.layout);
        match head.layout {
            Layout::Shards(shards) if wanted != head.layout => {
                // Under steady traffic there is always something under way, so the shards are waited for; new messages
                // gather in the queue meanwhile.
                for _ in 0..DRAIN_POLLS {
                    if self.table.shards_done(room, shards).await? >= head.seq {
                        return Ok(wanted);
                    }
                    tokio::time::sleep(DRAIN_POLL).await;
                }
                Ok(head.layout)
            }
            _ => Ok(wanted),
        }
    }

    /// Reads the end of a log, as far back as the batch could be in it.
    async fn read_tail(&self, room: &RoomId, batch: &Batch) -> Result<Tail, StoreError> {
        let mut tail = Tail::from_latest(&self.table.latest(room, None, READ).await?);
        self.search_back(room, &mut tail, batch).await?;
        self.remember(room, tail.clone());
        Ok(tail)
    }

    /// Whether a batch may be in the log. A record that the queue delivers for the first time within its deduplication
    /// window is new. One that it delivers again, or that comes back from the dead-letter queue, may have been logged
    /// at any time since it was accepted.
    fn may_be_logged(&self, batch: &Batch) -> bool {
        let age = self.clock.unix_millis().saturating_sub(batch.oldest);
        batch.redelivered || age > DEDUPLICATION - CLOCK_SKEW_MS
    }

    /// Reads back as far as the batch could be in the log, within the bounds of a search.
    async fn search_back(&self, room: &RoomId, tail: &mut Tail, batch: &Batch) -> Result<(), StoreError> {
        if !self.may_be_logged(batch) {
            return Ok(());
        }
        while !tail.goes_back_to(batch.oldest.saturating_sub(CLOCK_SKEW_MS))
            && tail.len() < SEARCH
            && tail.bytes_searched() < SEARCH_BYTES
        {
            tail.extend_back(&self.table.latest(room, tail.oldest(), READ_BACK).await?);
        }
        Ok(())
    }

    /// Reads what others have appended meanwhile, which may include the batch. Of a log that has gone on for long only
    /// the end is read, as if nothing of it were remembered: it may be all that a busy room has said in hours.
    async fn catch_up(&self, room: &RoomId, tail: &mut Tail, batch: &Batch) -> Result<(), StoreError> {
        let most = if self.may_be_logged(batch) { SEARCH } else { READ_BACK as usize };
        let (mut entries, mut bytes) = (0, 0);
        let mut next = tail.head().map(|head| head.seq + 1);
        while let Some(first) = next.filter(|_| entries < most && bytes < SEARCH_BYTES) {
            let page = self.table.since(room, first, READ_BACK).await?;
            tail.extend_with(&page);
            if !page.more {
                return Ok(());
            }
            entries += page.entries.len();
            bytes += page.bytes;
            next = tail.head().map(|head| (head.seq + 1).max(first + 1));
        }
        *tail = self.read_tail(room, batch).await?;
        Ok(())
    }

    fn remember(&self, room: &RoomId, mut tail: Tail) {
        tail.truncate(if tail.was_searched() { SEARCH } else { REMEMBERED });
        self.tails.borrow_mut().put(room, tail);
    }
}

/// The newest message of a batch that is in the log. The times are those of the log's newest entry, which are no
/// earlier.
fn head_of(messages: &[LoggedMessage], tail: &Tail) -> Option<LogHead> {
    let (newest, head) = (messages.last()?, tail.head()?);
    Some(LogHead { seq: newest.seq, appended_at: head.appended_at, expires_at: head.expires_at })
}

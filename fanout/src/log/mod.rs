//! The room log's writer: numbers a batch and appends it, before the first post.

mod lag;
mod tail;
mod tails;

use std::{cell::RefCell, time::Duration};

use shared::{
    LoggedMessage, Message, RoomId,
    backoff::Backoff,
    clock::Clock,
    rooms::RoomPatterns,
    store::{
        StoreError,
        log::{Append, AppendError as TableError, Fence, Layout, LogEntry, LogHead, LogTable},
    },
};

pub use lag::{StateWork, Unapplied};
pub use tail::{Head, Place, Tail};
use tails::Tails;

/// Attempts to append one batch. A failed attempt means a conflicting write, or a table that throttles.
const ATTEMPTS: u32 = 10;

/// Waits after a conflict: the other writer has finished by then.
const CONFLICT: Backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_secs(1) };

/// Waits while the table throttles. A partition takes 1,000 write units in each second, so it is a matter of moments;
/// after all attempts, some three seconds, the room's records go back to the queue.
const THROTTLED: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };

/// Entries that are read of a log that is not known yet.
const READ: u32 = 25;

/// Entries that are read at once when a batch may be in the log already.
const READ_BACK: u32 = 250;

/// Entries at most that are searched for a batch that may be in the log already.
const SEARCH: usize = 2_000;

/// Bytes of a log at most that are searched for such a batch: 1,000 read units, a third of what a partition has in a
/// second. What was searched is remembered, so that a backlog costs it once.
const SEARCH_BYTES: usize = 4 * 1024 * 1024;

/// Entries that are remembered of a log in which nothing had to be searched for.
const REMEMBERED: usize = 32;

/// By how much the clocks of whoever stamped a message and of whoever logged it may differ, in milliseconds.
const CLOCK_SKEW: u64 = 60_000;

/// For this long a FIFO queue drops what it has accepted before, in milliseconds ("Exactly-once processing in Amazon
/// SQS").
const DEDUPLICATION: u64 = 5 * 60 * 1000;

/// The time before its last entry expires from which on a log is written to under the lock of its fence, in seconds.
///
/// An environment that was stopped between looking at the head and writing after it (for at most the 15 minutes of an
/// invocation) must not write into a log that has come to its end meanwhile. For example, with a head that expires at
/// 12:00:
///
/// ```text
/// 11:39  A reads the head, 7, and is stopped
/// 11:54  A goes on at the latest, and writes 8: fine, whoever else wrote 8 meanwhile wins, and A learns of it
/// 12:00  the log is empty, and starts anew at a number that nobody can still be holding
/// ```
///
/// With less than the margin left, both write the fence as well, and only one of them succeeds. A third of the
/// retention, if that is less.
const MARGIN_SECONDS: u64 = 20 * 60;

/// The time before its last entry expires from which on a log starts anew, at the time, in seconds: by the table's clock
/// the head may have expired, what came after it may be deleted, and the next number would be given a second time. Far
/// less than the margin of whoever has another retention, while a deployment changes it.
const LAST_SECONDS: u64 = 5;

/// How often, and how long after one another, it is looked whether the shards have posted everything when a room could go
/// back to being posted to directly.
const DRAIN_POLLS: u32 = 4;
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// A room's messages as they came from the queue.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The messages, in the order of the queue.
    pub messages: Vec<Message>,
    /// Whether the queue has delivered any of them before.
    pub redelivered: bool,
    /// When the oldest of them was accepted, in milliseconds since the Unix epoch.
    pub oldest: u64,
}

/// A batch as it stands in the log.
#[derive(Debug)]
pub struct Logged {
    /// The place of each message of the batch, in its order.
    pub places: Vec<Place>,
    /// The messages, ascending by number, each once.
    pub messages: Vec<LoggedMessage>,
    /// Every number below is finished with: what of the batch lies there is not posted any more.
    pub floor: u64,
    /// Whether any of it was in the log before: somebody may have posted some of it.
    pub known: bool,
    /// How many messages got a number now.
    pub numbered: usize,
    /// The newest of the messages, as the log's head.
    pub head: Option<LogHead>,
    /// What is to be done so that the room's state is complete up to the log's end; nothing where no state is kept.
    pub state: Option<StateWork>,
}

/// Why a batch was not appended. Some of it may be in the log; a redelivery finds it there.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The table did not answer, or throttled for longer than anybody waits.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Other writers were quicker each time.
    #[error("another writer was quicker {ATTEMPTS} times")]
    Contended,
}

/// Writes room logs. One for each environment.
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

    /// The same for a stack that keeps the state of some rooms.
    #[must_use]
    pub fn with_state_rooms(self, state_rooms: RoomPatterns) -> Self {
        Self { state_rooms, ..self }
    }

    /// The table.
    pub fn table(&self) -> &LogTable<C> {
        &self.table
    }

    /// The end of a room's log, as far back as the batch could be in it: from memory, unless the batch may be in the log
    /// already.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn tail(&self, room: &RoomId, batch: &Batch) -> Result<Tail, StoreError> {
        let remembered = self.tails.borrow_mut().get(room);
        let Some(mut tail) = remembered else { return self.read_tail(room, batch).await };
        if self.may_be_logged(batch) {
            // In the log as it is, not as it is remembered: what others have appended since counts.
            self.catch_up(room, &mut tail, batch).await?;
            self.search_back(room, &mut tail, batch).await?;
            // Whatever becomes of the append: it need not be searched again.
            self.remember(room, tail.clone());
        }
        Ok(tail)
    }

    /// Appends a batch after a tail of its room's log, as far as it is not there yet, and says how it stands there.
    /// `wanted` names the layout for new entries, given that of the entries before them; it changes only when nothing is
    /// under way on the shard queue.
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
        let keeps_state = self.state_rooms.matches(room);
        for attempt in 0..ATTEMPTS {
            if tail.has_all(&batch.messages) {
                return Ok(self.logged(room, batch, tail, numbered).await?);
            }
            let (next, how) = self.next_write(room, &mut tail, batch).await?;
            let layout = self.layout(room, &tail, &wanted).await?;
            let plan = tail.plan(&batch.messages, next, layout);
            let floor = plan.floor(tail.head().map_or(0, |head| head.floor));
            // An entry never expires before the one ahead of it, whatever the retention was then: so the newest
            // entry is the last to go, and as long as it is there it is the head.
            let expires_at = (self.clock.unix_seconds() + self.retention.as_secs())
                .max(tail.head().map_or(0, |head| head.expires_at));
            let has_keys = plan.new_messages(&batch.messages).any(|message| message.key.is_some());
            let state_at = keeps_state.then(|| tail.state_at(next, has_keys)).flatten();
            let times = (self.clock.unix_millis(), expires_at);
            let entries = plan.entries(&batch.messages, floor, times, state_at);
            match self.table.append(room, &entries, how).await {
                Ok(()) if plan.known().is_empty() => {
                    tail.extend_with_own(&entries);
                    let mut messages: Vec<_> = entries.into_iter().map(|entry| entry.logged).collect();
                    messages.sort_by_key(|logged| logged.seq);
                    let head = head_of(&messages, &tail);
                    let state = self.state_work(room, &messages, &tail);
                    self.remember(room, tail);
                    let (places, numbered) = (plan.places().to_vec(), messages.len());
                    return Ok(Logged { places, messages, floor, known: false, numbered, head, state });
                }
                Ok(()) => {
                    numbered += entries.len();
                    tail.extend_with_own(&entries);
                }
                Err(TableError::Conflict) => {
                    throttled = None;
                    tokio::time::sleep(CONFLICT.delay(attempt)).await;
                    self.catch_up(room, &mut tail, batch).await?;
                }
                Err(TableError::Store(error @ StoreError::Throttled { .. })) => {
                    tokio::time::sleep(THROTTLED.delay(attempt)).await;
                    throttled = Some(error);
                }
                Err(TableError::Store(error)) => return Err(error.into()),
            }
        }
        if tail.has_all(&batch.messages) {
            return Ok(self.logged(room, batch, tail, numbered).await?);
        }
        Err(throttled.map_or(AppendError::Contended, AppendError::Store))
    }

    /// A batch that is in the log, some of it since before. What was there is taken from there: a sender that tries again
    /// under the same id may say something else, and a broadcast never differs from the log.
    async fn logged(&self, room: &RoomId, batch: &Batch, tail: Tail, numbered: usize) -> Result<Logged, StoreError> {
        let plan = tail.plan(&batch.messages, 0, Layout::Direct);
        let places = plan.places().to_vec();
        let pairs = places.iter().zip(&batch.messages);
        let mut messages: Vec<_> =
            pairs.map(|(place, message)| LoggedMessage { seq: place.seq, message: message.clone() }).collect();
        messages.sort_by_key(|logged| logged.seq);
        messages.dedup_by_key(|logged| logged.seq);
        for run in plan.known().chunk_by(|one, next| one + 1 == *next) {
            let (mut first, last) = (run[0], run[run.len() - 1]);
            // More than one page where the messages are large.
            while first <= last {
                let limit = u32::try_from(last - first + 1).unwrap_or(READ_BACK);
                let page = self.table.since(room, first, limit).await?;
                let Some(read) = page.entries.last().map(LogEntry::seq) else { break };
                for entry in page.entries {
                    if let Ok(position) = messages.binary_search_by_key(&entry.seq(), |logged| logged.seq) {
                        messages[position] = entry.logged;
                    }
                }
                first = read + 1;
            }
        }
        let floor = tail.head().map_or(0, |head| head.floor);
        let head = head_of(&messages, &tail);
        let state = self.state_work(room, &messages, &tail);
        self.remember(room, tail);
        Ok(Logged { places, messages, floor, known: true, numbered, head, state })
    }

    /// What brings the room's state up to the log's end: nothing, where it has no key to write.
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

    /// Notes that this environment has written what a room's state lacked up to a number.
    pub fn state_is_written_to(&self, room: &RoomId, seq: u64) {
        self.tails.borrow_mut().state_is_written_to(room, seq);
    }

    /// The number that comes next, and what it is written on condition of.
    async fn next_write(&self, room: &RoomId, tail: &mut Tail, batch: &Batch) -> Result<(u64, Append), StoreError> {
        if let Some(next) = self.next_of_a_lasting_log(tail) {
            return Ok((next, Append::Continue));
        }
        let fence = self.table.fence(room).await?;
        // Before the log's end: what was saved by then, and is not there, is gone, and nobody is about to append it.
        let saved = self.table.head(room).await?.map(|head| head.seq);
        // Only what is read after the fence was read says that nobody has moved it since.
        *tail = self.read_tail(room, batch).await?;
        if let Some(next) = self.next_of_a_lasting_log(tail) {
            return Ok((next, Append::Continue));
        }
        // By a clock that is ahead of this one the newest entry has expired, and may be deleted before older ones.
        let previous = saved.max(tail.head().map(|head| head.seq));
        let expected = fence.map(|Fence { start, .. }| start);
        Ok((self.first_number(tail.head(), previous), Append::Fenced { expected, previous }))
    }

    /// The next number of a log that does not end soon.
    fn next_of_a_lasting_log(&self, tail: &Tail) -> Option<u64> {
        let margin = MARGIN_SECONDS.min(self.retention.as_secs() / 3);
        tail.head().filter(|head| head.expires_at > self.clock.unix_seconds() + margin).map(|head| head.seq + 1)
    }

    /// The number under which a log near its end goes on after `previous`, or a new one starts: at the time, so that it starts
    /// beyond any log that was.
    fn first_number(&self, head: Option<Head>, previous: Option<u64>) -> u64 {
        let next = previous.map_or(0, |previous| previous + 1);
        match head {
            Some(head) if head.expires_at > self.clock.unix_seconds() + LAST_SECONDS => next,
            _ => self.clock.unix_micros().max(next),
        }
    }

    /// The layout for what comes next. Another one than before only when every shard has posted everything: then no frame
    /// can overtake one that waits on the shard queue. A room that was never cut pays nothing for the question.
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
                // Under steady traffic there is always something under way: so it is waited for, and what comes meanwhile
                // gathers in the queue.
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
    /// window is new; one that it delivers again, or that comes back from the dead-letter queue, may have been logged at
    /// any time since it was accepted.
    fn may_be_logged(&self, batch: &Batch) -> bool {
        let age = self.clock.unix_millis().saturating_sub(batch.oldest);
        batch.redelivered || age > DEDUPLICATION - CLOCK_SKEW
    }

    /// Reads back as far as the batch could be in the log, within the bounds of a search.
    async fn search_back(&self, room: &RoomId, tail: &mut Tail, batch: &Batch) -> Result<(), StoreError> {
        if !self.may_be_logged(batch) {
            return Ok(());
        }
        while !tail.goes_back_to(batch.oldest.saturating_sub(CLOCK_SKEW))
            && tail.len() < SEARCH
            && tail.bytes_searched() < SEARCH_BYTES
        {
            tail.extend_back(&self.table.latest(room, tail.oldest(), READ_BACK).await?);
        }
        Ok(())
    }

    /// Reads what others have appended meanwhile. The batch, as far as it is there, is among it.
    async fn catch_up(&self, room: &RoomId, tail: &mut Tail, batch: &Batch) -> Result<(), StoreError> {
        let Some(head) = tail.head() else {
            *tail = self.read_tail(room, batch).await?;
            return Ok(());
        };
        let mut next = head.seq + 1;
        loop {
            let page = self.table.since(room, next, READ_BACK).await?;
            tail.extend_with(&page);
            if !page.more {
                return Ok(());
            }
            next = tail.head().map_or(next, |head| head.seq + 1).max(next + 1);
        }
    }

    fn remember(&self, room: &RoomId, mut tail: Tail) {
        tail.truncate(if tail.was_searched() { SEARCH } else { REMEMBERED });
        self.tails.borrow_mut().put(room, tail);
    }
}

/// The newest message of a batch that is in the log. Its times are those of the log's newest entry, which are no earlier.
fn head_of(messages: &[LoggedMessage], tail: &Tail) -> Option<LogHead> {
    let (newest, head) = (messages.last()?, tail.head()?);
    Some(LogHead { seq: newest.seq, appended_at: head.appended_at, expires_at: head.expires_at })
}

//! The room log's writer: numbers a batch and appends it, before the first post.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use shared::{
    LoggedMessage, Message, RoomId,
    backoff::Backoff,
    clock::Clock,
    store::{
        StoreError,
        log::{Append, AppendError as StoreAppendError, LogTable},
    },
};

use crate::tail::{Head, Tail};

/// Attempts to append one batch. Each one that fails means that another writer has succeeded, or is at it.
const ATTEMPTS: u32 = 10;

/// The waits after conflicts.
const CONFLICT_BACKOFF: Backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_secs(5) };

/// Entries that are read of a log that is not known yet.
const READ: u32 = 25;

/// Entries that are read at once when a batch may be in the log already.
const READ_BACK: u32 = 250;

/// Entries at most that are searched for a batch that may be in the log already.
const SEARCH: usize = 2_000;

/// Entries that are remembered of a room's log while the environment is warm.
const REMEMBERED: usize = 32;

/// Rooms whose logs' ends are remembered while the environment is warm.
const ROOMS: usize = 1_024;

/// By how much the clocks of whoever stamped a message and of whoever logged it may differ, in milliseconds.
const CLOCK_SKEW: u64 = 60_000;

/// For this long a FIFO queue drops what it has accepted before, in milliseconds ("Exactly-once processing in Amazon
/// SQS").
const DEDUPLICATION: u64 = 5 * 60 * 1000;

/// The time before its last entry expires from which on a log is written to under the lock of its fence, in seconds.
/// An environment that was stopped between looking at the head and writing after it (at most the 15 minutes of an
/// invocation) must not write into a log that has come to its end meanwhile: until then its number is still the next one,
/// whoever takes it, and after that the fence has changed. A third of the retention, if that is less.
const MARGIN_SECONDS: u64 = 20 * 60;

/// The time before its last entry expires from which on a log starts anew, at the time, in seconds: by the table's clock
/// the head may have expired, what came after it may be deleted, and the next number would be given a second time. Far
/// less than the margin of whoever has another retention, while a deployment changes it.
const LAST_SECONDS: u64 = 5;

/// A batch as it came from the queue.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The messages, in the order of the queue.
    pub messages: Vec<Message>,
    /// Whether the queue has delivered any of them before.
    pub redelivered: bool,
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The table did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Other writers were quicker each time.
    #[error("another writer was quicker {ATTEMPTS} times")]
    Contended,
}

/// Writes room logs. One for each environment.
#[derive(Debug)]
pub struct RoomLog<C> {
    store: LogTable<C>,
    clock: C,
    retention: Duration,
    tails: Mutex<HashMap<RoomId, Tail>>,
}

impl<C: Clock> RoomLog<C> {
    /// A writer that keeps messages for `retention`.
    pub fn new(store: LogTable<C>, clock: C, retention: Duration) -> Self {
        Self { store, clock, retention, tails: Mutex::default() }
    }

    /// Appends a batch of one room, as far as it is not in the log yet, and says how it stands there.
    ///
    /// # Errors
    /// When the table does not answer, or other writers are quicker again and again. Some of the batch may be in
    /// the log; a redelivery finds it there.
    pub async fn append(&self, room: &RoomId, batch: Batch) -> Result<Vec<LoggedMessage>, AppendError> {
        // Out of the cache while it is worked on: after an error nobody knows what the log looks like.
        let mut tail = match self.recall(room) {
            Some(mut tail) => {
                self.search_back(room, &mut tail, &batch).await?;
                tail
            }
            None => self.read_tail(room, &batch).await?,
        };
        for attempt in 0..ATTEMPTS {
            let now = self.clock.unix_seconds();
            let (next, how) = match tail.head() {
                Some(head) if head.expires_at > now + self.margin() => (head.seq + 1, Append::Continue),
                _ => {
                    let expected = self.store.fence(room).await?;
                    // Only what is read after the fence was read says that nobody has moved it since.
                    tail = self.read_tail(room, &batch).await?;
                    match tail.head() {
                        Some(head) if head.expires_at > now + self.margin() => (head.seq + 1, Append::Continue),
                        head => (self.first_number(head, now), Append::Fenced { expected }),
                    }
                }
            };
            let plan = tail.plan(&batch.messages, next);
            // An entry never expires before the one ahead of it, whatever the retention was then: so the newest
            // entry is the last to go, and as long as it is there it is the head.
            let expires_at = (now + self.retention.as_secs()).max(tail.head().map_or(0, |head| head.expires_at));
            let entries = plan.entries(&batch.messages, self.clock.unix_millis(), expires_at);
            match self.store.append(room, &entries, how).await {
                Ok(()) => {
                    tail.extend(&entries);
                    self.remember(room, tail);
                    let known = plan.known();
                    let logged = plan.number(batch.messages);
                    return Ok(match known {
                        Some(range) => self.reread(room, logged, range).await?,
                        None => logged,
                    });
                }
                Err(StoreAppendError::Conflict) => {
                    tokio::time::sleep(CONFLICT_BACKOFF.delay(attempt)).await;
                    self.catch_up(room, &mut tail, &batch).await?;
                }
                Err(StoreAppendError::Store(error)) => return Err(error.into()),
            }
        }
        Err(AppendError::Contended)
    }

    /// Takes what was in the log already from there: a sender that tries again under the same id may say something else,
    /// and a broadcast never differs from the log.
    async fn reread(
        &self,
        room: &RoomId,
        mut logged: Vec<LoggedMessage>,
        (first, last): (u64, u64),
    ) -> Result<Vec<LoggedMessage>, StoreError> {
        let limit = u32::try_from(last - first + 1).unwrap_or(READ_BACK).min(READ_BACK);
        for entry in self.store.since(room, first, limit).await?.entries {
            if let Ok(position) = logged.binary_search_by_key(&entry.seq(), |logged| logged.seq) {
                logged[position] = entry.logged;
            }
        }
        Ok(logged)
    }

    fn margin(&self) -> u64 {
        MARGIN_SECONDS.min(self.retention.as_secs() / 3)
    }

    /// The number under which a log near its end goes on, or a new one starts: at the time, so that it starts beyond any
    /// log that was.
    fn first_number(&self, head: Option<Head>, now: u64) -> u64 {
        let time = self.clock.unix_micros();
        match head {
            Some(head) if head.expires_at > now + LAST_SECONDS => head.seq + 1,
            Some(head) => time.max(head.seq + 1),
            None => time,
        }
    }

    /// Reads the end of a log, as far back as the batch could be in it.
    async fn read_tail(&self, room: &RoomId, batch: &Batch) -> Result<Tail, StoreError> {
        let page = self.store.latest(room, None, READ).await?;
        let mut tail = Tail::from_latest(&page.entries, page.more);
        tail.skip(&page.unreadable);
        self.search_back(room, &mut tail, batch).await?;
        Ok(tail)
    }

    /// Reads back as far as the batch could be in the log. A record that the queue delivers for the first time within
    /// its deduplication window is new; one that it delivers again, or that comes back from the dead-letter queue,
    /// may have been logged at any time since it was accepted.
    async fn search_back(&self, room: &RoomId, tail: &mut Tail, batch: &Batch) -> Result<(), StoreError> {
        let Some(oldest) = batch.messages.iter().map(|message| message.sent_at).min() else { return Ok(()) };
        let aged = self.clock.unix_millis().saturating_sub(oldest) > DEDUPLICATION - CLOCK_SKEW;
        if !batch.redelivered && !aged {
            return Ok(());
        }
        let mut searched = 0;
        while !tail.goes_back_to(oldest.saturating_sub(CLOCK_SKEW)) && searched < SEARCH {
            let page = self.store.latest(room, tail.oldest(), READ_BACK).await?;
            searched += page.entries.len();
            tail.extend_back(&page.entries, page.more);
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
            let page = self.store.since(room, next, READ_BACK).await?;
            tail.extend(&page.entries);
            tail.skip(&page.unreadable);
            match page.entries.last() {
                Some(last) if page.more => next = last.seq() + 1,
                _ => return Ok(()),
            }
        }
    }

    fn recall(&self, room: &RoomId) -> Option<Tail> {
        // A poisoned lock only means that a panic was unwound elsewhere; the map is whole.
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).remove(room)
    }

    fn remember(&self, room: &RoomId, mut tail: Tail) {
        tail.truncate(REMEMBERED);
        let mut tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        if tails.len() >= ROOMS {
            // Whichever comes first: a room that is forgotten costs one read.
            let forgotten = tails.keys().next().cloned();
            forgotten.and_then(|room| tails.remove(&room));
        }
        tails.insert(room.clone(), tail);
    }
}

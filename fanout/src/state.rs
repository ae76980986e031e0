//! The rooms' state, brought up to the end of their logs: of each key the greatest message, after the append and beside the posts.
//!
//! Not before the append: a crash or a lost race would show what the log does not have. Not in one transaction with it: twice the
//! units, and one superseded key would cancel the append. So state may lag behind the log, and the log says so ([`crate::log`]).

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use futures::{StreamExt, stream};
use shared::{
    LoggedMessage, Message, RoomId,
    backoff::Backoff,
    clock::Clock,
    metrics::{
        Metrics,
        names::{STATE_REAPPLIED, STATE_SUPERSEDED, STATE_WRITES},
    },
    order::greatest,
    rooms::RoomPatterns,
    store::{
        StoreError,
        log::{LogEntry, LogTable},
        state::{Put, StateTable, StateValue},
    },
};

use crate::log::{Batch, LogWriter, StateWork, Unapplied};

/// Writes of one batch under way at once: one for each of its messages.
const WRITES: usize = 10;

/// Attempts to write a value while the table throttles; with the waits between them some three seconds. Then the room's records go back
/// to the queue, and other rooms go on.
const ATTEMPTS: u32 = 6;

const THROTTLED: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };

/// Entries of a log that are read at once when state may lack them.
const READ: u32 = 250;

/// Writes the state of the rooms that have one.
#[derive(Debug)]
pub struct StateWriter<C> {
    kept: Option<Kept<C>>,
}

#[derive(Debug)]
struct Kept<C> {
    table: StateTable<C>,
    rooms: RoomPatterns,
    ttl_seconds: Option<u64>,
    retention: Duration,
}

impl<C: Clock> StateWriter<C> {
    /// For a stack that keeps no state.
    #[must_use]
    pub fn off() -> Self {
        Self { kept: None }
    }

    /// For some rooms, whose log keeps messages for `retention`. Values last for `ttl_seconds` where their messages do not say.
    #[must_use]
    pub fn new(table: StateTable<C>, rooms: RoomPatterns, ttl_seconds: Option<u64>, retention: Duration) -> Self {
        Self { kept: Some(Kept { table, rooms, ttl_seconds, retention }) }
    }

    /// Says in a batch's messages how long their values last, where the stack has a default for it: log, broadcast and state say the
    /// same, and clients forget when the table does.
    pub fn complete(&self, batch: &mut Batch) {
        let Some(kept) = &self.kept else { return };
        batch
            .messages
            .iter_mut()
            .filter(|message| kept.rooms.matches(&message.room))
            .for_each(|message| kept.set_ttl(message));
    }

    /// Brings a room's state up to the end of its log, with a batch that is in the log and with what was before it.
    ///
    /// # Errors
    /// When a table does not answer, or throttles for longer than anybody waits. Some of it may be written; the log goes on saying that
    /// it may not be.
    pub async fn apply(
        &self,
        log: &LogWriter<C>,
        room: &RoomId,
        work: Option<StateWork>,
        batch: &[LoggedMessage],
        metrics: &Metrics,
    ) -> Result<(), StoreError> {
        let (Some(work), Some(kept)) = (work, &self.kept) else { return Ok(()) };
        let StateWork { before, written, through, log_expires_at } = work;
        let before = match before {
            Some(unapplied) => read_unapplied(log.table(), room, unapplied).await?,
            None => Vec::new(),
        };
        let of_batch: HashSet<u64> = batch.iter().map(|logged| logged.seq).collect();
        let batch = batch.iter().filter(|logged| !written.contains(&logged.seq));
        let values: Vec<_> = greatest(before.iter().chain(batch)).into_values().collect();
        let again = values.iter().filter(|logged| !of_batch.contains(&logged.seq)).count();
        let values = values.into_iter().filter_map(StateValue::of);
        let puts = values.map(|value| async move { kept.put(room, &value, log_expires_at).await });
        let put: Vec<_> = stream::iter(puts).buffer_unordered(WRITES).collect().await;
        let count = |wanted| put.iter().flatten().filter(|put| **put == wanted).count() as u64;
        metrics.add(STATE_WRITES, count(Put::Written));
        metrics.add(STATE_SUPERSEDED, count(Put::Superseded));
        metrics.add(STATE_REAPPLIED, again as u64);
        put.into_iter().collect::<Result<Vec<_>, _>>()?;
        log.state_is_written_to(room, through);
        Ok(())
    }
}

/// What came of folding a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Messages with a key that the log has.
    pub messages: u64,
    /// Values that were written.
    pub written: u64,
    /// Values that were there already, or greater ones.
    pub superseded: u64,
}

impl<C: Clock> StateWriter<C> {
    /// Writes what all of a room's log makes its state: that of messages, too, that were logged when no state was kept. Whoever appends and
    /// writes meanwhile is not in the way.
    ///
    /// # Errors
    /// When a table does not answer. Some of it may be written; again is fine.
    pub async fn fold(&self, log: &LogTable<C>, room: &RoomId) -> Result<Folded, StoreError> {
        let (Some(kept), mut folded) = (&self.kept, Folded::default()) else { return Ok(Folded::default()) };
        let (mut next, mut log_expires_at) = (1, 0);
        let mut values: HashMap<String, StateValue> = HashMap::new();
        loop {
            let page = log.since(room, next, READ).await?;
            for mut entry in page.entries {
                next = entry.seq() + 1;
                // Entries expire in order.
                log_expires_at = entry.expires_at;
                kept.set_ttl(&mut entry.logged.message);
                let Some(value) = StateValue::of(&entry.logged) else { continue };
                folded.messages += 1;
                let current = values.entry(value.key.clone()).or_insert_with(|| value.clone());
                if value.rank.supersedes(current.rank) {
                    *current = value;
                }
            }
            if !page.more {
                break;
            }
        }
        let puts = values.into_values().map(|value| async move { kept.put(room, &value, log_expires_at).await });
        let mut puts = std::pin::pin!(stream::iter(puts).buffer_unordered(WRITES));
        while let Some(put) = puts.next().await {
            match put? {
                Put::Written => folded.written += 1,
                Put::Superseded => folded.superseded += 1,
            }
        }
        Ok(folded)
    }
}

impl<C: Clock> Kept<C> {
    /// Says in a message how long its value lasts, where the stack has a default for it.
    fn set_ttl(&self, message: &mut Message) {
        if let (Some(seconds), true, false) = (self.ttl_seconds, message.key.is_some(), message.remove) {
            message.ttl_seconds.get_or_insert(seconds);
        }
    }

    /// Puts a value, again as long as the table throttles, for a while.
    async fn put(&self, room: &RoomId, value: &StateValue, log_expires_at: u64) -> Result<Put, StoreError> {
        let mut attempt = 0;
        loop {
            match self.table.put(room, value, log_expires_at, self.retention.as_secs()).await {
                Err(StoreError::Throttled { .. }) if attempt + 1 < ATTEMPTS => {
                    tokio::time::sleep(THROTTLED.delay(attempt)).await;
                }
                put => return put,
            }
            attempt += 1;
        }
    }
}

/// Reads what a room's state may lack, as far as that was not done when the log was read for its numbers.
async fn read_unapplied(
    log: &LogTable<impl Clock>,
    room: &RoomId,
    unapplied: Unapplied,
) -> Result<Vec<LoggedMessage>, StoreError> {
    let Unapplied { mut messages, unread } = unapplied;
    let Some((mut first, last)) = unread.map(std::ops::RangeInclusive::into_inner) else { return Ok(messages) };
    while first <= last {
        let limit = u32::try_from(last - first + 1).unwrap_or(READ).min(READ);
        let page = log.since(room, first, limit).await?;
        let Some(read) = page.entries.last().map(LogEntry::seq) else { break };
        let lacking = page.entries.into_iter().map(|entry| entry.logged).filter(|logged| logged.seq <= last);
        messages.extend(lacking);
        first = read + 1;
    }
    Ok(messages)
}

//! The rooms' state: the greatest message of each key in the log, written after the append and beside the posts.
//!
//! It is not written before the append: after a crash or a lost race it would show what the log does not have. Nor in
//! one transaction with the append: that costs twice the units, and a single superseded key would cancel the append. So
//! state may lag behind the log, and the log says how far ([`crate::log`]).

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
    room_pattern::RoomPatterns,
    store::{
        StoreError,
        log::LogTable,
        state::{Put, StateTable, StateValue},
    },
};

use crate::log::{Batch, LogWriter, StateWork, Unapplied};

/// The most writes under way at once: one for each message of a batch.
const WRITES: usize = 10;

/// Attempts to write a value while the table throttles, some three seconds with the waits between them. Then the room's
/// records go back to the queue, and other rooms go on.
const ATTEMPTS: u32 = 6;

const THROTTLED: Backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };

/// Entries of a log that are read in one page when all of it is folded.
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
    /// The writer of a stack that keeps no state.
    #[must_use]
    pub fn off() -> Self {
        Self { kept: None }
    }

    /// The writer for some rooms, whose log keeps messages for `retention`. Values last for `ttl_seconds` where their
    /// messages do not say.
    #[must_use]
    pub fn new(table: StateTable<C>, rooms: RoomPatterns, ttl_seconds: Option<u64>, retention: Duration) -> Self {
        Self { kept: Some(Kept { table, rooms, ttl_seconds, retention }) }
    }

    /// Sets how long the values of a batch's messages last, where they do not say and the stack has a default. It is
    /// part of the message from here on, so that log, broadcast and state say the same, and clients forget a value when
    /// the table does.
    pub fn complete(&self, batch: &mut Batch) {
        let Some(kept) = &self.kept else { return };
        batch
            .messages
            .iter_mut()
            .filter(|message| kept.rooms.matches(&message.room))
            .for_each(|message| kept.set_ttl(message));
    }

    /// Brings a room's state up to the end of its log, with a batch that is in the log and with the messages before it
    /// that state lacks.
    ///
    /// # Errors
    /// When a table does not answer, or throttles for too long. Some values may be written then; the log goes on saying
    /// that they may be lacking.
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
        log.note_state_written_to(room, through);
        Ok(())
    }
}

/// The result of folding a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Messages in the log that have a key.
    pub messages: u64,
    /// Values that were written.
    pub written: u64,
    /// Values that were not written, because the same or greater ones were there.
    pub superseded: u64,
}

impl<C: Clock> StateWriter<C> {
    /// Writes the state that follows from all of a room's log, including messages that were logged when no state was
    /// kept. Appends and writes by others may go on meanwhile.
    ///
    /// # Errors
    /// When a table does not answer. Some values may be written then; folding again is safe.
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
    /// Sets how long a message's value lasts, where it does not say and the stack has a default.
    fn set_ttl(&self, message: &mut Message) {
        if let (Some(seconds), true, false) = (self.ttl_seconds, message.key.is_some(), message.remove) {
            message.ttl_seconds.get_or_insert(seconds);
        }
    }

    /// Puts a value, and again for a while when the table throttles.
    async fn put(&self, room: &RoomId, value: &StateValue, log_expires_at: u64) -> Result<Put, StoreError> {
        let put = async || self.table.put(room, value, log_expires_at, self.retention.as_secs()).await;
        THROTTLED.repeat(ATTEMPTS, put, |put| put.as_ref().is_err_and(StoreError::is_throttled)).await
    }
}

/// Reads the messages that a room's state may lack and that were not read together with the log's tail.
async fn read_unapplied(
    log: &LogTable<impl Clock>,
    room: &RoomId,
    unapplied: Unapplied,
) -> Result<Vec<LoggedMessage>, StoreError> {
    let Unapplied { mut messages, unread } = unapplied;
    if let Some(unread) = unread {
        log.for_each_in(room, unread, |entry| messages.push(entry.logged)).await?;
    }
    Ok(messages)
}

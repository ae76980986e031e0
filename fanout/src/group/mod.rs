//! One FIFO group of a batch: what of it is finished with, and when the rest comes back.

mod presence;
mod room;
mod shard;
mod step;

use std::{cell::Cell, time::Duration};

use shared::{
    RoomId,
    backoff::Backoff,
    clock::Clock,
    metrics::names::DEAD_LETTERS,
    queue::{Queue, QueueError},
    store::{
        StoreError,
        log::{Progress, ProgressOf},
    },
};

use crate::{
    batch::{Group, Job, Record},
    broadcast::{Invocation, interruption::Interruption},
    connections_api::ConnectionsApi,
    deadline::TimeIsUp,
    environment::Fanout,
    log::AppendError,
};

/// The longest time for which a group that keeps failing is left alone: so soon after an outage every room goes on.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Waits while the table throttles a row beside a room's log.
const THROTTLED: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(500) };

/// How long rows of progress are kept, in seconds: longer than a record stays in the queue, which is four days unless it
/// is configured otherwise.
const PROGRESS_SECONDS: u64 = 5 * 24 * 60 * 60;

/// Why a group's records stay in the queue.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// They are not in the log.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A table did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A queue did not take shard jobs or dead letters.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The broadcast went only so far; what is written down says how far.
    #[error("{cause}")]
    Interrupted {
        /// Why.
        cause: Interruption,
        /// Whether it went any further than before.
        got_further: bool,
    },
    /// The time was up before the first post.
    #[error(transparent)]
    TimeIsUp(#[from] TimeIsUp),
}

/// A group being processed.
#[derive(Debug)]
pub struct Work {
    group: Group,
    /// How many leading records are finished with.
    finished: Cell<usize>,
}

/// What of a group stays in the queue.
#[derive(Debug)]
pub struct Left {
    group: Group,
    first: usize,
}

impl Left {
    /// The records that stay.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        self.group.records.get(self.first..).unwrap_or_default()
    }

    /// The receipt handles of the records that are finished with.
    #[must_use]
    pub fn finished_handles(&self) -> Vec<String> {
        let finished = self.group.records.iter().take(self.first);
        finished.map(|record| record.receipt_handle.clone()).collect()
    }
}

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> Fanout<Q, A, C> {
    /// Does everything for one group, as far as it goes. Says what must stay in the queue: the records from the first one
    /// on that is not finished with.
    pub(crate) async fn process(&self, group: Group, invocation: &Invocation<'_>) -> Left {
        let work = Work { group, finished: Cell::new(0) };
        let visible_after = match self.process_records(&work, invocation).await {
            // What got further goes on at once.
            Ok(()) | Err(GroupError::Interrupted { cause: Interruption::TimeIsUp, got_further: true }) => 0,
            Err(error) => {
                let wait = work.wait();
                tracing::error!(group = work.group.id, wait_seconds = wait, %error, "a group's records stay in the queue");
                wait
            }
        };
        let left = Left { first: work.finished.get(), group: work.group };
        // The last thing that is done for the group: from then on others may have its records. Those of other groups are
        // not waited for.
        if invocation.deadline.conclude(self.postpone(&left, visible_after)).await.is_err() {
            tracing::warn!(
                group = left.group.id,
                "the time was up before records were made visible: they come back later"
            );
        }
        left
    }

    /// Has what stays in the queue come back soon. Without it, it comes back when its visibility timeout is over.
    async fn postpone(&self, left: &Left, seconds: u32) {
        let mut handles: Vec<String> = left.records().iter().map(|record| record.receipt_handle.clone()).collect();
        for is_last in [false, true] {
            if handles.is_empty() {
                return;
            }
            let results = self.source_queue.postpone(&handles, seconds).await;
            let failed = handles.into_iter().zip(results).filter_map(|(handle, result)| Some((handle, result.err()?)));
            let (again, errors): (Vec<_>, Vec<_>) = failed.unzip();
            if let (true, Some(error)) = (is_last, errors.first()) {
                let group = &left.group.id;
                tracing::warn!(group, records = again.len(), %error, "records come back after their visibility timeout");
            }
            handles = again;
        }
    }

    async fn process_records(&self, work: &Work, invocation: &Invocation<'_>) -> Result<(), GroupError> {
        let nothing = |_| false;
        self.finish_records(work, invocation, nothing).await?;
        let mut layout = None;
        if let Some(mut batch) = work.group.messages() {
            self.state.complete(&mut batch);
            layout = self.process_messages(work, &batch, invocation).await?;
        }
        if work.group.shard_jobs().next().is_some() {
            self.process_shard_jobs(work, invocation).await?;
        }
        if work.group.presence_jobs().next().is_some() {
            self.process_presence(work, layout, invocation).await;
            self.finish_records(work, invocation, |_| true).await?;
        }
        Ok(())
    }

    /// Counts off the leading records that are finished with, given by their position. Dead letters on the way go to
    /// their queue. A publication of presence is finished with together with the message or shard job after it: should that come back,
    /// so does the publication, and should not, it holds up nothing.
    async fn finish_records(
        &self,
        work: &Work,
        invocation: &Invocation<'_>,
        is_finished: impl Fn(usize) -> bool,
    ) -> Result<(), GroupError> {
        while let Some(record) = work.group.records.get(work.finished.get()) {
            let position = work.finished.get();
            if !matches!(record.job, Job::DeadLetter { .. }) {
                let next = work.group.next_numbered(position).unwrap_or(position);
                if !is_finished(next) {
                    return Ok(());
                }
                work.finished.set(position + 1);
                continue;
            }
            let letters = work.group.dead_letters_from(position);
            let sent = invocation.deadline.work(self.dead_letters.send(&letters)).await?;
            for (letter, result) in letters.iter().zip(sent) {
                result?;
                let (record, reason) = (&letter.deduplication_id, letter.reason.as_deref());
                tracing::warn!(group = work.group.id, record, reason, "dead letter");
                invocation.metrics.add(DEAD_LETTERS, 1);
                work.finished.set(work.finished.get() + 1);
            }
        }
        Ok(())
    }

    /// Writes down what a group is done with, before it goes on.
    async fn record_progress(
        &self,
        room: &RoomId,
        of: ProgressOf,
        row: &Progress,
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        let expires_at = self.clock.unix_seconds() + PROGRESS_SECONDS;
        let saving = retry_throttled(|| self.log.table().save_progress(room, of, row, expires_at));
        Ok(invocation.deadline.finish(saving).await??)
    }

    /// Writes down how far an unfinished broadcast got. Best effort: without it, more is posted again.
    async fn save_progress(&self, room: &RoomId, of: ProgressOf, row: &Progress, invocation: &Invocation<'_>) {
        match self.record_progress(room, of, row, invocation).await {
            Ok(()) => tracing::info!(%room, ?of, ?row, "progress"),
            Err(error) => tracing::error!(%room, ?of, %error, "progress was not written down"),
        }
    }
}

/// Writes a row beside a room's log, again as long as the table throttles: the row is in the room's own partition, which
/// throttles when the room is busy.
async fn retry_throttled<F: Future<Output = Result<(), StoreError>>>(write: impl Fn() -> F) -> Result<(), StoreError> {
    let mut attempt = 0;
    loop {
        match write().await {
            Err(StoreError::Throttled { .. }) => tokio::time::sleep(THROTTLED.delay(attempt)).await,
            written => return written,
        }
        attempt += 1;
    }
}

impl Work {
    /// Seconds after which the group is tried again: 1, 2, 4 and so on, by how often its first record has come. The same
    /// for all of its records, so that they come back together.
    fn wait(&self) -> u32 {
        let first = self.group.records.get(self.finished.get());
        let receives = first.map_or(1, |record| record.receives.clamp(1, 16));
        let longest = u32::try_from(LONGEST_WAIT.as_secs()).unwrap_or(u32::MAX);
        (1 << (receives - 1)).min(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_keeps_failing_is_left_alone_for_longer() {
        let wait = |receives: u32| {
            let job = Job::DeadLetter { body: String::new(), reason: String::new() };
            let record =
                Record { id: String::new(), receipt_handle: String::new(), receives, queued_at: 0, trace: None, job };
            Work { group: Group { id: String::new(), records: vec![record] }, finished: Cell::new(0) }.wait()
        };
        assert_eq!([0, 1, 2, 3, 5, 6, 1_000].map(wait), [1, 1, 2, 4, 16, 30, 30]);
    }
}

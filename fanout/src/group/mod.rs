//! The work on one FIFO group of a batch: which records are finished with, and when the others come back.

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
    queue::{Hold, Queue, QueueError},
    store::{
        StoreError,
        log::{Progress, ProgressOf},
    },
};

use crate::{
    batch::{Group, Job, JobRecord},
    broadcast::{Invocation, interruption::Interruption},
    connections_api::ConnectionsApi,
    deadline::TimeIsUp,
    environment::FanoutFunction,
    log::AppendError,
};

/// The waits while the table throttles a row that stands beside a room's log.
const THROTTLED: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(500) };

/// Seconds for which rows of progress are kept: longer than a record stays in the queue, which is fourteen days.
const PROGRESS_SECONDS: u64 = 15 * 24 * 60 * 60;

/// The reason why a group's records stay in the queue.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// The queue does not confirm that they are this invocation's.
    #[error("another consumer may have them: {0}")]
    NotHeld(#[source] QueueError),
    /// They could not be appended to the log.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A table did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A queue did not take shard jobs or dead letters.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The broadcast was interrupted; its progress is written down.
    #[error("{cause}")]
    Interrupted {
        /// The reason for the interruption.
        cause: Interruption,
        /// Whether it got further than before.
        got_further: bool,
    },
    /// The time was up between broadcasts.
    #[error(transparent)]
    TimeIsUp(#[from] TimeIsUp),
}

/// A group being processed.
#[derive(Debug)]
pub struct Work {
    group: Group,
    /// The number of leading records that are finished with.
    finished: Cell<usize>,
    /// A step was brought out and written down, maybe a part of a record.
    has_step_on_record: Cell<bool>,
}

/// A group of which records from `first` on stay in the queue.
#[derive(Debug)]
pub struct Left {
    group: Group,
    first: usize,
}

impl Left {
    /// The records that stay.
    #[must_use]
    pub fn records(&self) -> &[JobRecord] {
        self.group.records.get(self.first..).unwrap_or_default()
    }

    /// The receipt handles of the records that are finished with.
    #[must_use]
    pub fn finished_handles(&self) -> Vec<String> {
        let finished = self.group.records.iter().take(self.first);
        finished.map(|record| record.receipt.handle.clone()).collect()
    }
}

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> FanoutFunction<Q, A, C> {
    /// Does all the work of one group, as far as it can. Returns which records must stay in the queue: those from the
    /// first unfinished one on.
    pub(crate) async fn process(&self, group: Group, hold: Hold, invocation: &Invocation<'_>) -> Left {
        let work = Work { group, finished: Cell::default(), has_step_on_record: Cell::default() };
        let visible_after = match self.process_records(&work, hold, invocation).await {
            Ok(()) => 0,
            Err(error) if work.got_further(&error) => 0,
            Err(error) => {
                let wait = work.wait();
                tracing::error!(group = work.group.id, wait_seconds = wait, %error, "a group's records stay in the queue");
                wait
            }
        };
        let left = Left { first: work.finished.get(), group: work.group };
        // This is the last step for the group, since afterwards another consumer may have its records. It does not wait
        // for other groups.
        if invocation.deadline.conclude(self.postpone(&left, visible_after)).await.is_err() {
            tracing::warn!(
                group = left.group.id,
                "the time was up before records were made visible: they come back later"
            );
        }
        left
    }

    /// Makes the records that stay in the queue visible again after some seconds. Those for which it fails come back
    /// when their visibility timeout is over.
    async fn postpone(&self, left: &Left, seconds: u32) {
        let mut handles: Vec<String> = left.records().iter().map(|record| record.receipt.handle.clone()).collect();
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

    async fn process_records(&self, work: &Work, hold: Hold, invocation: &Invocation<'_>) -> Result<(), GroupError> {
        let hold = hold.of(&self.source_queue, work.group.receipts());
        invocation.deadline.work(hold).await?.map_err(GroupError::NotHeld)?;
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

    /// Moves on past the leading records that are finished with, as `is_finished` says by their position. Dead letters
    /// on the way are sent to their queue. A publication of presence counts as finished together with the message or
    /// shard job after it: it comes back only when that one does.
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

    /// Writes down a group's progress, which must succeed before the group goes on.
    async fn record_progress(
        &self,
        room: &RoomId,
        of: ProgressOf,
        row: &Progress,
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        let expires_at = self.clock.unix_seconds() + PROGRESS_SECONDS;
        let saving = retry_throttled(async || self.log.table().save_progress(room, of, row, expires_at).await);
        Ok(invocation.deadline.finish(saving).await??)
    }

    /// Writes down how far an unfinished broadcast got. If that fails, more is posted again.
    async fn save_progress(&self, room: &RoomId, of: ProgressOf, row: &Progress, invocation: &Invocation<'_>) {
        match self.record_progress(room, of, row, invocation).await {
            Ok(()) => tracing::info!(%room, ?of, ?row, "progress"),
            Err(error) => tracing::error!(%room, ?of, %error, "progress was not written down"),
        }
    }
}

/// Writes a row beside a room's log, and again as long as the table throttles: the row is in the room's own partition,
/// which throttles when the room is busy.
async fn retry_throttled(write: impl AsyncFn() -> Result<(), StoreError>) -> Result<(), StoreError> {
    THROTTLED.repeat(u32::MAX, write, |written| written.as_ref().is_err_and(StoreError::is_throttled)).await
}

impl Work {
    /// Whether the group only needs more time: it goes on at once.
    fn got_further(&self, error: &GroupError) -> bool {
        let got_further = self.finished.get() > 0 || self.has_step_on_record.get();
        match error {
            GroupError::Interrupted { cause: Interruption::TimeIsUp, got_further: in_the_middle } => {
                got_further || *in_the_middle
            }
            GroupError::TimeIsUp(TimeIsUp) => got_further,
            _ => false,
        }
    }

    /// Seconds after which the group is tried again: 1, 2, 4 and so on, by how often its first unfinished record has
    /// been received. It is the same for all its records, so that they come back together.
    fn wait(&self) -> u32 {
        let first = self.group.records.get(self.finished.get());
        first.map_or(1, |record| record.receipt.wait_after_failure())
    }
}

#[cfg(test)]
mod tests {
    use shared::queue::Receipt;

    use super::*;

    fn work(receives: u32, finished: usize) -> Work {
        let record = || {
            let job = Job::DeadLetter { body: String::new(), reason: String::new() };
            let receipt = Receipt { receives, ..Receipt::default() };
            JobRecord { id: String::new(), receipt, is_redriven: false, trace: None, job }
        };
        let group = Group { id: String::new(), records: vec![record(), record()] };
        Work { group, finished: Cell::new(finished), has_step_on_record: Cell::default() }
    }

    #[test]
    fn a_group_that_keeps_failing_is_left_alone_for_longer() {
        assert_eq!([0, 1, 2, 3, 5, 6, 1_000].map(|receives| work(receives, 0).wait()), [1, 1, 2, 4, 16, 30, 30]);
    }

    #[test]
    fn a_group_that_gets_further_each_time_goes_on_at_once() {
        let interrupted = |cause, got_further| GroupError::Interrupted { cause, got_further };
        let time_is_up = |got_further| interrupted(Interruption::TimeIsUp, got_further);
        for (finished, error, goes_on) in [
            (0, time_is_up(true), true),
            (0, time_is_up(false), false),
            (1, time_is_up(false), true),
            (0, GroupError::TimeIsUp(TimeIsUp), false),
            (1, GroupError::TimeIsUp(TimeIsUp), true),
            (1, interrupted(Interruption::Unreachable, true), false),
        ] {
            assert_eq!(work(1, finished).got_further(&error), goes_on, "{finished} {error:?}");
        }
        let in_parts = work(1, 0);
        in_parts.has_step_on_record.set(true);
        assert!(in_parts.got_further(&GroupError::TimeIsUp(TimeIsUp)), "a record of several steps");
    }
}

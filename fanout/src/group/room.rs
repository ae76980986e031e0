//! A room's messages: logged, then posted to everybody in the room, or handed to the shard queue.

use std::{collections::VecDeque, num::NonZeroU16, time::Duration};

use futures::{
    StreamExt,
    future::{OptionFuture, join3, try_join},
    stream,
};
use shared::{
    LoggedMessage, RoomId,
    clock::Clock,
    metrics::names::MESSAGES,
    queue::{Queue, Record},
    store::{
        connections::ALL_SLOTS,
        log::{Layout, LogHead, ProgressOf},
    },
};
use tokio::time::Instant;

use super::{GroupError, Work, retry_throttled, step::Step};
use crate::{
    batch::Job,
    broadcast::{Invocation, members::Members},
    connections_api::ConnectionsApi,
    environment::FanoutFunction,
    frame::{self, EncodedFrame, encode::encode},
    log::{Batch, Logged, Place, StateWork},
    resume::{Next, Resume},
    shard,
};

/// Shard jobs that are enqueued with one call: as many as SQS takes.
const CALL_JOBS: usize = 10;

/// Bytes of the jobs that are enqueued with one call: 256 KiB, the limit of SQS before August 2025, less the part that
/// is not frames.
const CALL_BYTES: usize = 240 * 1024;

/// Calls to the shard queue that are under way at once.
const CALLS: usize = 8;

/// The longest append during which the first page of members may have been read. A client that joined during the append
/// was told the old head of the log, so it must be posted to; after a longer append the page may lack it, and is read
/// anew.
const LONG_APPEND: Duration = Duration::from_millis(100);

/// The messages that still have to go out, ascending.
struct Hand {
    messages: VecDeque<(Layout, LoggedMessage)>,
}

impl Hand {
    /// The messages of a batch that have to go out: those above `done` and the log's floor.
    fn new(logged: &Logged, done: u64) -> Self {
        let layout =
            |seq: u64| logged.places.iter().find(|place| place.seq == seq).map_or(Layout::Direct, |at| at.layout);
        let is_left = |message: &&LoggedMessage| message.seq > done && message.seq >= logged.floor;
        let messages = logged.messages.iter().filter(is_left).map(|message| (layout(message.seq), message.clone()));
        Self { messages: messages.collect() }
    }

    fn has(&self, seq: u64) -> bool {
        self.messages.iter().any(|(_, message)| message.seq == seq)
    }

    /// Whether no message comes after a number.
    fn ends_with(&self, seq: u64) -> bool {
        self.messages.back().is_none_or(|(_, last)| last.seq <= seq)
    }

    /// The first messages that have the same layout: the numbers of the first and the last of them, and the layout.
    fn run(&self) -> Option<(u64, u64, Layout)> {
        let (layout, first) = self.messages.front()?;
        let last = self.messages.iter().take_while(|(other, _)| other == layout).last().map_or(first, |(_, last)| last);
        Some((first.seq, last.seq, *layout))
    }

    fn up_to(&self, through: u64) -> Vec<LoggedMessage> {
        self.messages.iter().map(|(_, message)| message).take_while(|message| message.seq <= through).cloned().collect()
    }

    fn drop_up_to(&mut self, through: u64) {
        self.messages.retain(|(_, message)| message.seq > through);
    }
}

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> FanoutFunction<Q, A, C> {
    /// Brings a group's messages out: posts them, or hands them to the shard queue. Returns the layout of the last one.
    pub(super) async fn process_messages(
        &self,
        work: &Work,
        batch: &Batch,
        invocation: &Invocation<'_>,
    ) -> Result<Option<Layout>, GroupError> {
        let Some(room) = batch.messages.first().map(|message| message.room.clone()) else { return Ok(None) };
        let (logged, mut members) = invocation.deadline.work(self.log_and_look(&room, batch)).await??;
        invocation.metrics.add(MESSAGES, logged.numbered as u64);
        // New messages cannot have been posted before, so only a redelivered batch has its progress read.
        let is_known = batch.redelivered || logged.known;
        let row: OptionFuture<_> =
            is_known.then(|| invocation.deadline.work(self.log.table().progress(&room, ProgressOf::Room))).into();
        let mut resume = Resume::new(row.await.transpose()?.transpose()?.flatten(), logged.floor);
        let mut hand = Hand::new(&logged, resume.done());
        let places = places_by_position(work, &logged.places);
        let (mut head, mut state) = (logged.head, logged.state);
        if logged.may_start {
            // A `sync` believes a head that says that the log is empty, or has expired, so no message may be posted
            // before that is put right.
            self.save_head(&room, head.take(), invocation).await?;
        }
        loop {
            let is_finished = |position: usize| places[position].is_some_and(|seq| !hand.has(seq));
            let run = hand.run();
            if run.is_none() {
                // No posts are left beside which this could be done.
                let saving = self.save_head(&room, head.take(), invocation);
                let applying = self.apply_state(&room, state.take(), &logged.messages, invocation);
                try_join(saving, applying).await?;
            }
            if head.is_none() && state.is_none() {
                self.finish_records(work, invocation, is_finished).await?;
            }
            let Some((first, last, layout)) = run else {
                return Ok(logged.places.last().map(|place| place.layout));
            };
            match resume.next(first, last) {
                Next::Save(row) => {
                    self.record_progress(&room, ProgressOf::Room, &row, invocation).await?;
                    resume.saved();
                }
                Next::BringOut { through, slots } => {
                    let frames = encode(&room, &hand.up_to(through));
                    // A step is limited to what certainly fits the invocation's time; the other numbers are left to the
                    // next step.
                    let frames = match layout {
                        Layout::Direct => &frames[..frames.len().min(self.most_frames(invocation))],
                        Layout::Shards(_) => shard::first_job(&frames),
                    };
                    let through = frames.last().map_or(through, EncodedFrame::last);
                    let is_last = hand.ends_with(through);
                    let bring_out = async {
                        match layout {
                            Layout::Direct => {
                                let members = members.take().filter(|_| slots.is_all());
                                let audience = self.audience(&room, ALL_SLOTS, slots, members, invocation).await?;
                                let step = Step { frames, through, is_last };
                                self.post(&room, ProgressOf::Room, step, audience, &resume, invocation).await
                            }
                            Layout::Shards(shards) => self.enqueue(&room, frames, shards, invocation).await,
                        }
                    };
                    // These calls run beside the posts, but must end before any record counts as finished.
                    let saving = self.save_head(&room, head.take(), invocation);
                    let applying = self.apply_state(&room, state.take(), &logged.messages, invocation);
                    let (brought_out, saved, applied) = join3(bring_out, saving, applying).await;
                    let noted = saved.and(applied);
                    if brought_out.is_err() && noted.is_ok() {
                        // The messages of earlier steps are finished with.
                        self.finish_records(work, invocation, is_finished).await?;
                    }
                    brought_out?;
                    resume.finished(through);
                    if let Err(error) = noted {
                        // The records come back; with the progress written down, nobody gets the frames of this step
                        // again.
                        self.save_progress(&room, ProgressOf::Room, resume.row(), invocation).await;
                        return Err(error);
                    }
                    hand.drop_up_to(through);
                }
            }
        }
    }

    /// Writes down the log's head, which a `sync` is compared with.
    async fn save_head(
        &self,
        room: &RoomId,
        head: Option<LogHead>,
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        let Some(head) = head else { return Ok(()) };
        let saving = retry_throttled(async || self.log.table().save_head(room, head).await);
        // The time after this phase is needed for writing progress down.
        Ok(invocation.deadline.drain(saving).await??)
    }

    /// Brings the room's state up to the end of its log.
    async fn apply_state(
        &self,
        room: &RoomId,
        work: Option<StateWork>,
        batch: &[LoggedMessage],
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        // Boxed, since most batches have no keys and need not carry this future on their stack.
        let applying = Box::pin(self.state.apply(&self.log, room, work, batch, invocation.metrics));
        // The same phase as for the head.
        Ok(invocation.deadline.drain(applying).await??)
    }

    /// Logs a batch and reads the first page of the room's members. Both are done side by side when the room's size,
    /// which decides on the layout, is known from before.
    async fn log_and_look(&self, room: &RoomId, batch: &Batch) -> Result<(Logged, Option<Members<C>>), GroupError> {
        let messages = batch.messages.len();
        let look = async {
            let members = Members::open(&self.connections, room, ALL_SLOTS).await?;
            let size = self.layouts.learn(room, members.page(), members.is_last_page());
            Ok::<_, GroupError>((size, members, Instant::now()))
        };
        let tail = async { Ok::<_, GroupError>(self.log.tail(room, batch).await?) };
        if let Some(size) = self.layouts.size(room) {
            let append = async {
                let begun = Instant::now();
                let tail = tail.await?;
                let wanted = |current| self.layouts.wanted(size, messages, current);
                let logged = self.log.append(room, batch, tail, wanted).await?;
                Ok::<_, GroupError>((logged, begun.elapsed() > LONG_APPEND))
            };
            let ((logged, was_long), (_, members, _)) = try_join(append, look).await?;
            return Ok((logged, Some(members).filter(|_| !was_long)));
        }
        let (tail, (size, members, looked_at)) = try_join(tail, look).await?;
        let wanted = |current| self.layouts.wanted(size, messages, current);
        let logged = self.log.append(room, batch, tail, wanted).await?;
        Ok((logged, Some(members).filter(|_| looked_at.elapsed() <= LONG_APPEND)))
    }

    /// Hands frames to the shard queue. The batch is acknowledged only when the queue has confirmed every job. If one
    /// fails, all are enqueued again with the redelivered batch, and the queue drops those that it has, by their
    /// deduplication ids.
    async fn enqueue(
        &self,
        room: &RoomId,
        frames: &[EncodedFrame],
        shards: NonZeroU16,
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        let records = shard::records(room, frames, shards, invocation.trace.as_ref());
        let job_bytes = frames.iter().map(|frame| frame.body().len()).sum::<usize>().max(1);
        let jobs_at_once = (CALL_BYTES / job_bytes).clamp(1, CALL_JOBS);
        // Each job of one broadcast is for another shard, so the order of the calls does not matter. The jobs are made
        // call by call: all of them together may be large.
        let mut records = records.peekable();
        let calls =
            std::iter::from_fn(|| records.peek().is_some().then(|| records.by_ref().take(jobs_at_once).collect()));
        let sending = stream::iter(calls)
            .map(|records: Vec<Record>| async move { self.shard_queue.send(&records).await })
            .buffer_unordered(CALLS)
            .collect::<Vec<_>>();
        let sent = invocation.deadline.work(sending).await?;
        let jobs = sent.iter().map(Vec::len).sum::<usize>();
        sent.into_iter().flatten().collect::<Result<(), _>>()?;
        tracing::info!(
            %room,
            ids = ?frame::ids(frames),
            firstSeq = frames.first().map(EncodedFrame::first),
            lastSeq = frames.last().map(EncodedFrame::last),
            shards,
            jobs,
            "broadcast in shards"
        );
        Ok(())
    }
}

/// The log's number of each record that is a message, by the record's position.
fn places_by_position(work: &Work, places: &[Place]) -> Vec<Option<u64>> {
    let mut places = places.iter();
    let mut place = |job: &Job| match job {
        Job::Message(_) => places.next().map(|place| place.seq),
        _ => None,
    };
    work.group.records.iter().map(|record| place(&record.job)).collect()
}

//! A shard's jobs: frames that are numbered and encoded, posted to the shard's slots.

use shared::{clock::Clock, queue::Queue, store::log::ProgressOf};

use super::{GroupError, Work, step::Step};
use crate::{
    batch::Job,
    broadcast::Invocation,
    connections_api::ConnectionsApi,
    environment::FanoutFunction,
    frame::{
        EncodedFrame,
        repack::{JobFrame, repack},
    },
    resume::{Next, Resume, Slots},
    shard::ShardJob,
};

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> FanoutFunction<Q, A, C> {
    /// Posts the frames of a group's jobs: consecutive jobs of the same shard together, packed anew.
    pub(super) async fn process_shard_jobs(&self, work: &Work, invocation: &Invocation<'_>) -> Result<(), GroupError> {
        let jobs: Vec<&ShardJob> = work.group.shard_jobs().collect();
        // `FANOUT_SHARDS` may have changed between two jobs of a group.
        for jobs in jobs.chunk_by(|one, next| one.shard == next.shard) {
            self.process_jobs(work, jobs, invocation).await?;
        }
        Ok(())
    }

    async fn process_jobs(
        &self,
        work: &Work,
        jobs: &[&ShardJob],
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        let Some(ShardJob { room, shard, .. }) = jobs.first() else { return Ok(()) };
        let of = ProgressOf::Shard(shard.number);
        let row = invocation.deadline.work(self.log.table().progress(room, of)).await??;
        // For a shard, unlike for a room's log, only the row of its progress says what is finished with.
        let mut resume = Resume::new(row, 0);
        let frames: Vec<&JobFrame> = jobs.iter().flat_map(|job| &job.frames).collect();
        loop {
            let done = resume.done();
            let is_finished = |position: usize| matches!(&work.group.records[position].job, Job::Shard(job) if job.shard == *shard && job.last_number() <= done);
            self.finish_records(work, invocation, is_finished).await?;
            let mut left = frames.iter().filter(|frame| frame.last() > done);
            let Some(first) = left.next() else { return Ok(()) };
            let last = left.map(|frame| frame.last()).max().map_or(first.last(), |last| last.max(first.last()));
            match resume.next(first.first(), last) {
                Next::Save(row) => {
                    self.record_progress(room, of, &row, invocation).await?;
                    resume.saved();
                }
                Next::BringOut { through, slots } => {
                    // An interrupted step may have ended inside what is one frame now. Then everybody gets that frame,
                    // since nothing tells which slots lack a part of it.
                    let is_whole = frames.iter().any(|frame| frame.last() == through);
                    let (through, slots) = if is_whole { (through, slots) } else { (last, Slots::default()) };
                    let step = frames.iter().filter(|frame| frame.last() <= through);
                    let packed = repack(room, step.copied(), done);
                    let packed = &packed[..packed.len().min(self.most_frames(invocation))];
                    let through = packed.last().map_or(through, EncodedFrame::last);
                    let audience = self.audience(room, shard.slots(), slots, None, invocation).await?;
                    // After a full batch more jobs are to be expected, whose frames show a gap. Of batches of one it
                    // says nothing that they are full.
                    let is_all = frames.iter().all(|frame| frame.last() <= through);
                    let is_full = self.batch_size > 1 && work.group.records.len() >= self.batch_size;
                    let is_last = is_all && !is_full;
                    let step = Step { frames: packed, through, is_last };
                    self.post(room, of, step, audience, &resume, invocation).await?;
                    resume.finished(through);
                    // Progress must be written down before the jobs are acknowledged: the room's layout may change once
                    // all shards have posted everything.
                    self.record_progress(room, of, resume.row(), invocation).await?;
                    resume.saved();
                    work.has_step_on_record.set(true);
                }
            }
        }
    }
}

//! A step of a group: some frames, posted to everybody who lacks them.

use std::ops::RangeInclusive;

use futures::future::try_join;
use shared::{RoomId, clock::Clock, metrics::names::RESUMED, queue::Queue, store::log::ProgressOf};

use super::GroupError;
use crate::{
    broadcast::{Audience, Invocation, Posted, members::Members},
    connections_api::ConnectionsApi,
    environment::FanoutFunction,
    frame::EncodedFrame,
    resume::{Resume, Slots},
};

/// Frames that are posted to everybody before any later frame.
pub(super) struct Step<'a> {
    /// The frames.
    pub frames: &'a [EncodedFrame],
    /// The last number that they stand for.
    pub through: u64,
    /// Nothing of the room's batch comes after them.
    pub is_last: bool,
}

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> FanoutFunction<Q, A, C> {
    /// The most frames of a step: so many that even a connection whose posts all time out gets through them within half
    /// of an invocation's time. So every invocation gets further.
    pub(super) fn most_frames(&self, invocation: &Invocation<'_>) -> usize {
        let posts =
            invocation.deadline.work_time().as_millis() / 2 / self.broadcaster.post_timeout().as_millis().max(1);
        usize::try_from(posts).unwrap_or(usize::MAX).max(1)
    }

    /// The members in some slots of a range. `members` are those that have been read already, which are used when all
    /// slots are wanted.
    pub(super) async fn audience(
        &self,
        room: &RoomId,
        range: RangeInclusive<u16>,
        slots: Slots,
        members: Option<Members<C>>,
        invocation: &Invocation<'_>,
    ) -> Result<Audience<C>, GroupError> {
        invocation.metrics.add(RESUMED, u64::from(!slots.is_all()));
        let first_slot = slots.from.max(*range.start());
        let reading = async {
            if let Some(members) = members {
                return Ok((members, Vec::new()));
            }
            let members = Members::open(&self.connections, room, first_slot..=*range.end());
            try_join(members, Members::of_slots(&self.connections, room, &slots.missing)).await
        };
        let (members, left_open) = invocation.deadline.work(reading).await??;
        Ok(Audience { first_slot, members, left_open })
    }

    /// Posts a step's frames. If it is interrupted, its progress is written down.
    pub(super) async fn post(
        &self,
        room: &RoomId,
        of: ProgressOf,
        step: Step<'_>,
        audience: Audience<C>,
        resume: &Resume,
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        let Step { frames, through, is_last } = step;
        let save = async |lacking: Slots| {
            self.save_progress(room, of, &resume.interrupted(through, lacking), invocation).await;
        };
        match self.broadcaster.post(room, frames, is_last, audience, invocation, &save).await {
            Posted::ToAll => Ok(()),
            Posted::ToSome { lacking, got_further, cause } => {
                save(lacking).await;
                Err(GroupError::Interrupted { cause, got_further })
            }
        }
    }
}

//! A step of a group: some frames, posted to everybody who lacks them.

use std::ops::RangeInclusive;

use futures::future::try_join;
use shared::{RoomId, clock::Clock, queue::Queue, store::log::ProgressOf};

use super::GroupError;
use crate::{
    broadcast::{Audience, Invocation, Posted, members::Members},
    connections_api::ConnectionsApi,
    frame::Frame,
    handler::Fanout,
    resume::{Resume, Slots},
};

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> Fanout<Q, A, C> {
    /// Frames of a step at the most. However slowly a connection answers, it gets as many within half of an invocation's
    /// time: so every invocation gets further.
    pub(super) fn most_frames(&self, invocation: &Invocation) -> usize {
        let posts =
            invocation.deadline.work_time().as_millis() / 2 / self.broadcaster.post_timeout().as_millis().max(1);
        usize::try_from(posts).unwrap_or(usize::MAX).max(1)
    }

    /// The members in some slots of a range: those in `members` where they have been read already.
    pub(super) async fn audience(
        &self,
        room: &RoomId,
        range: RangeInclusive<u16>,
        slots: Slots,
        members: Option<Members<C>>,
        invocation: &Invocation,
    ) -> Result<Audience<C>, GroupError> {
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

    /// Posts frames that stand for numbers up to `through`. When that is interrupted, how far it got is written down.
    #[expect(clippy::too_many_arguments, reason = "what a step is made of")]
    pub(super) async fn post(
        &self,
        room: &RoomId,
        of: ProgressOf,
        frames: &[Frame],
        audience: Audience<C>,
        through: u64,
        resume: &Resume,
        invocation: &Invocation,
    ) -> Result<(), GroupError> {
        let save = async |lacking: Slots| {
            self.save_progress(room, of, &resume.interrupted(through, lacking), invocation).await;
        };
        match self.broadcaster.post(room, frames, audience, invocation, &save).await {
            Posted::ToAll => Ok(()),
            Posted::ToSome { lacking, got_further, cause } => {
                save(lacking).await;
                Err(GroupError::Interrupted { cause, got_further })
            }
        }
    }
}

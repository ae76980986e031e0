//! The publications of presence in a group: posted after the messages of the batch, to everybody in the room.

use std::num::NonZeroU16;

use shared::{
    RoomId,
    clock::Clock,
    presence::Publication,
    queue::Queue,
    store::{connections::ALL_SLOTS, log::Layout},
};

use super::{GroupError, Work};
use crate::{
    broadcast::{Audience, Invocation, Posted, members::Members},
    connections_api::ConnectionsApi,
    environment::FanoutFunction,
    presence::{self, PresenceJob},
    shard::Shard,
};

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> FanoutFunction<Q, A, C> {
    /// Posts a group's publications, merged into one frame. `layout` is how the messages before them went out, if there
    /// were any. A frame that does not reach everybody is dropped: a record that came back would hold up the room's
    /// messages, to say what the next publication says anyway.
    pub(super) async fn process_presence(&self, work: &Work, layout: Option<Layout>, invocation: &Invocation<'_>) {
        let Some(job) = presence::merge(work.group.presence_jobs()) else { return };
        match invocation.deadline.finish(self.bring_out(&job, layout, invocation)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(room = %job.room, %error, "a presence frame is let go"),
            Err(error) => tracing::warn!(room = %job.room, %error, "a presence frame is let go"),
        }
    }

    async fn bring_out(
        &self,
        PresenceJob { room, shard, publication }: &PresenceJob,
        layout: Option<Layout>,
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        if let Some(Layout::Shards(shards)) = layout {
            // It must come after the messages, which may still wait in the shard queue.
            return self.enqueue_presence(room, publication, shards, invocation).await;
        }
        let slots = shard.map_or(ALL_SLOTS, Shard::slots);
        let first_slot = *slots.start();
        let members = invocation.deadline.work(Members::open(&self.connections, room, slots)).await??;
        if shard.is_none() {
            let size = self.layouts.learn(room, members.page(), members.is_last_page());
            if let Layout::Shards(shards) = self.layouts.wanted(size, 1, Layout::Direct) {
                return self.enqueue_presence(room, publication, shards, invocation).await;
            }
        }
        let frames = [presence::frame(room, publication)];
        let audience = Audience { first_slot, members, left_open: Vec::new() };
        match self.broadcaster.post(room, &frames, false, audience, invocation, async |_| {}).await {
            Posted::ToAll => Ok(()),
            Posted::ToSome { cause, got_further, .. } => Err(GroupError::Interrupted { cause, got_further }),
        }
    }

    /// Hands a publication to the shard queue.
    async fn enqueue_presence(
        &self,
        room: &RoomId,
        publication: &Publication,
        shards: NonZeroU16,
        invocation: &Invocation<'_>,
    ) -> Result<(), GroupError> {
        let records = presence::records(room, publication, shards, invocation.trace.as_ref());
        let sent = invocation.deadline.work(self.shard_queue.send(&records)).await?;
        Ok(sent.into_iter().collect::<Result<(), _>>()?)
    }
}

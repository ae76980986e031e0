//! Which groups are behind: noted beside the broadcast, so that whoever sends learns of it. A batch of which no group is
//! behind costs no call, and no broadcast fails or waits for this.

use std::time::Duration;

use futures::future::join_all;
use shared::{
    clock::Clock,
    congestion::law::{PATIENCE, Sight, judge},
    queue::Queue,
};

use crate::{batch::Group, connections_api::ConnectionsApi, deadline::Deadline, handler::Fanout};

/// Time for all calls of a batch. What is not noted now is noted with the group's next batch.
const NOTED_WITHIN: Duration = Duration::from_secs(1);

/// A group's head.
#[derive(Debug)]
pub(crate) struct Head {
    group: String,
    queued_at: u64,
    is_first: bool,
}

/// The heads of the groups that are behind. A batch that is not full has emptied its groups.
pub(crate) fn heads_behind(groups: &[Group], batch_size: usize, now: u64) -> Vec<Head> {
    if groups.iter().map(|group| group.records.len()).sum::<usize>() < batch_size {
        return Vec::new();
    }
    let head = |group: &Group| {
        let first = group.records.first()?;
        let head = Head { group: group.id.clone(), queued_at: first.queued_at, is_first: first.receives <= 1 };
        (now.saturating_sub(first.queued_at) > PATIENCE).then_some(head)
    };
    groups.iter().filter_map(head).collect()
}

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> Fanout<Q, A, C> {
    /// Notes how far behind groups are.
    pub(crate) async fn note_congestion(&self, heads: Vec<Head>, deadline: Deadline) {
        if heads.is_empty() {
            return;
        }
        let noting = async {
            let seen_at = self.clock.unix_millis();
            let Some(depth) = self.depth().await else { return };
            join_all(heads.iter().map(|head| self.note(head, seen_at, depth))).await;
        };
        if deadline.finish(tokio::time::timeout(NOTED_WITHIN, noting)).await.is_ok_and(|noted| noted.is_ok()) {
            return;
        }
        tracing::warn!("it took too long to note which groups are behind");
    }

    async fn depth(&self) -> Option<u64> {
        let depth = self.source_queue.depth().await;
        depth.inspect_err(|error| tracing::warn!(%error, "how full the queue is is not known")).ok()
    }

    async fn note(&self, head: &Head, seen_at: u64, depth: u64) {
        let Head { group, queued_at, is_first } = head;
        let row = match self.congestion.row(group).await {
            Ok(row) => row,
            Err(error) => return tracing::warn!(group, %error, "whether a group falls behind is not known"),
        };
        let sight = Sight { seen_at, queued_at: *queued_at, depth };
        let Some(new) = judge(row.as_ref(), sight, *is_first) else { return };
        if let Err(error) = self.congestion.put(group, &new).await {
            return tracing::warn!(group, %error, "how far a group is behind is not noted");
        }
        let old_cut = row.and_then(|row| row.cut);
        if let Some(cut) = new.cut.filter(|cut| Some(*cut) != old_cut) {
            let (waited_ms, hold_ms) = (sight.waited(), cut.hold);
            tracing::warn!(group, waited_ms, depth, fraction = cut.fraction, hold_ms, "a room falls behind and sheds");
        }
    }
}

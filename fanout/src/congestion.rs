//! Notes of groups that are behind, written beside the broadcast, from which the functions that accept messages learn
//! whom to refuse. A batch without such a group costs no call, and no broadcast fails or waits because of a note.

use std::{cell::Cell, time::Duration};

use futures::future::try_join_all;
use shared::{
    congestion::law::{PATIENCE, Sight, judge},
    queue::{Queue, QueueError},
    store::{StoreError, congestion::CongestionTable},
};

use crate::{batch::Group, deadline::Deadline};

/// Time for all calls of a batch. A group that could not be noted in it is noted with its next batch.
const NOTED_WITHIN: Duration = Duration::from_secs(2);

/// The time for which nothing is noted after a failure, in milliseconds: a table or queue in trouble must not slow down
/// every broadcast.
const PAUSE: u64 = 10_000;

/// Writes the notes. There is one for each environment.
#[derive(Debug)]
pub struct Notes {
    table: CongestionTable,
    /// Until then nothing is noted. In milliseconds since the Unix epoch.
    paused_until: Cell<u64>,
}

impl Notes {
    /// Notes that are written to a table.
    #[must_use]
    pub fn new(table: CongestionTable) -> Self {
        Self { table, paused_until: Cell::new(0) }
    }
}

/// The reason why a group was not noted.
#[derive(Debug, thiserror::Error)]
enum NotNoted {
    /// The queue did not say how many messages it holds.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The table was not read or written.
    #[error(transparent)]
    Table(#[from] StoreError),
}

/// The first record of a group in a batch.
#[derive(Debug)]
pub(crate) struct Head {
    group: String,
    queued_at: u64,
    is_first: bool,
}

/// The heads of the groups that are behind. A batch that is not full has emptied its groups. In a full batch, a group
/// with less than half of the records is not what fills the batch: it waits because others do.
pub(crate) fn heads_behind(groups: &[Group], batch_size: usize, now: u64) -> Vec<Head> {
    if groups.iter().map(|group| group.records.len()).sum::<usize>() < batch_size {
        return Vec::new();
    }
    let head = |group: &Group| {
        let first = group.receipts().next().filter(|_| 2 * group.records.len() >= batch_size)?;
        let head = Head { group: group.id.clone(), queued_at: first.queued_at, is_first: first.receives <= 1 };
        (now.saturating_sub(first.queued_at) > PATIENCE).then_some(head)
    };
    groups.iter().filter_map(head).collect()
}

impl Notes {
    /// Notes how far behind the groups of a queue are.
    pub(crate) async fn note(&self, heads: Vec<Head>, queue: &impl Queue, seen_at: u64, deadline: Deadline) {
        if heads.is_empty() || seen_at < self.paused_until.get() {
            return;
        }
        let noting = async {
            let depth = queue.depth().await?;
            let notes = heads.iter().map(|head| self.note_head(head, seen_at, depth));
            try_join_all(notes).await.map(drop)
        };
        let problem = match deadline.finish(tokio::time::timeout(NOTED_WITHIN, noting)).await {
            Ok(Ok(Ok(()))) => return,
            Ok(Ok(Err(error))) => error.to_string(),
            _ => "it takes too long".to_owned(),
        };
        tracing::warn!(problem, "which groups are behind is not noted for a while");
        self.paused_until.set(seen_at + PAUSE);
    }

    async fn note_head(&self, head: &Head, seen_at: u64, depth: u64) -> Result<(), NotNoted> {
        let Head { group, queued_at, is_first } = head;
        let row = self.table.row(group).await?;
        let sight = Sight { seen_at, queued_at: *queued_at, depth };
        let Some(new) = judge(row.as_ref(), sight, *is_first) else { return Ok(()) };
        self.table.put(group, &new).await?;
        let old_cut = row.and_then(|row| row.cut);
        if let Some(cut) = new.cut.filter(|cut| Some(*cut) != old_cut) {
            let (waited_ms, hold_ms) = (sight.waited(), cut.hold);
            tracing::warn!(group, waited_ms, depth, fraction = cut.fraction, hold_ms, "a room falls behind and sheds");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::{Client, Config, config::BehaviorVersion};
    use shared::queue::Record;

    use super::*;

    /// A queue that does not say how full it is; how often it was asked.
    #[derive(Default)]
    struct Silent(Cell<usize>);

    impl Queue for Silent {
        async fn send(&self, _: &[Record]) -> Vec<Result<(), QueueError>> {
            Vec::new()
        }

        async fn postpone(&self, _: &[String], _: u32) -> Vec<Result<(), QueueError>> {
            Vec::new()
        }

        async fn delete(&self, _: &[String]) -> Vec<Result<(), QueueError>> {
            Vec::new()
        }

        async fn depth(&self) -> Result<u64, QueueError> {
            self.0.set(self.0.get() + 1);
            Err(QueueError::Throttled { operation: "GetQueueAttributes", reason: String::new() })
        }
    }

    #[tokio::test]
    async fn what_failed_is_left_alone_for_ten_seconds_and_no_longer() {
        let config = Config::builder().behavior_version(BehaviorVersion::latest()).build();
        let table = CongestionTable::new(Client::from_conf(config), "table that is not called");
        let (notes, queue) = (Notes::new(table), Silent::default());
        let deadline = Deadline::new(0, 600_000, Duration::from_secs(1));
        let start = 1_800_000_000_000;
        for (millis, asked) in [(0, 1), (1, 1), (9_999, 1), (10_000, 2), (19_999, 2), (20_000, 3)] {
            let head = Head { group: "room".to_owned(), queued_at: start, is_first: true };
            notes.note(vec![head], &queue, start + millis, deadline).await;
            assert_eq!(queue.0.get(), asked, "after {millis} ms");
        }
    }
}

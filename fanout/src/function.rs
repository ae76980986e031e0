//! The `fanout` function: a batch of the queue, from its records to what of it must stay in the queue.

use std::cell::Cell;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use futures::{FutureExt, future::join_all};
use lambda_runtime::LambdaEvent;
use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    queue::{
        QueueError,
        dead_letter::{DeadLetter, DeadLetters},
        shards::ShardQueue,
    },
    store::{
        StoreError,
        connections::{ALL_SLOTS, ConnectionStore, Member},
        log::LogStore,
    },
};
use tokio::sync::mpsc;

use crate::{
    append::{AppendError, RoomLog},
    board::{Board, Broadcast, PostingFailed},
    connections_api::ConnectionsApi,
    deadline::Deadline,
    decode::{Group, NotARecord, decode},
    encode::{Frame, encode, repack},
    gone::{channel, delete_gone},
    page::Pages,
    post::{PostState, Workers},
    shard::{self, Sharding},
    tally::Tally,
    work::{Step, Task, steps},
};

/// Shard jobs that are made and enqueued together: as many as SQS takes in one call.
const SHARD_BATCH: usize = 10;

/// Connections that are closed at the end of one invocation at the most.
const CLOSES: usize = 100;

/// The function's state.
pub struct FanoutFunction<S, L, D, Q, P, C> {
    /// The connection table.
    pub connections: S,
    /// The room logs.
    pub log: RoomLog<L, C>,
    /// The dead-letter queue.
    pub dead_letters: D,
    /// Where the parts of broadcasts to large rooms go.
    pub shard_queue: Q,
    /// Which rooms are large.
    pub sharding: Sharding,
    /// The @connections API.
    pub connections_api: P,
    /// The time.
    pub clock: C,
    /// What is remembered about posting.
    pub posts: PostState,
    /// Time kept before an invocation's deadline for finishing up.
    pub deadline_reserve: std::time::Duration,
}

/// Why a room's messages stay in the queue.
#[derive(Debug, thiserror::Error)]
enum RoomError {
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Page(#[from] StoreError),
    #[error(transparent)]
    Posting(#[from] PostingFailed),
    #[error(transparent)]
    Shards(#[from] QueueError),
}

/// The position of the first record of a group that must stay in the queue, with all after it. Everything does, until
/// it is known to be done.
type FirstFailed = Cell<Option<usize>>;

impl<S, L, D, Q, P, C> FanoutFunction<S, L, D, Q, P, C>
where
    S: ConnectionStore,
    L: LogStore,
    D: DeadLetters,
    Q: ShardQueue,
    P: ConnectionsApi,
    C: Clock,
{
    /// Serves one batch. Says which of its records must stay in the queue: of each group, those from the first failed one on.
    ///
    /// # Errors
    /// When the event is none of a queue's: the function is wired wrongly.
    pub async fn handle(&self, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, NotARecord> {
        let deadline = Deadline::new(event.context.deadline, self.deadline_reserve);
        let groups = decode(event.payload.records)?;
        let first_failed: Vec<FirstFailed> = groups.iter().map(|_| Cell::new(Some(0))).collect();
        let (gone, gone_receiver) = channel();
        let (failing, failing_receiver) = mpsc::unbounded_channel();
        let board = Board::default();
        let work = deadline.work(async {
            let workers = Workers {
                state: &self.posts,
                connections_api: &self.connections_api,
                clock: &self.clock,
                board: &board,
                gone,
                failing,
            };
            let groups = groups.iter().zip(&first_failed).map(|(group, failed)| self.serve(group, failed, &board));
            let serving = join_all(groups).map(|_| board.close());
            // Workers own the senders: when they leave, or the time is up, the channels end.
            tokio::join!(serving, workers.run());
        });
        let deleting = deadline.finish(delete_gone(&self.connections, gone_receiver));
        let (worked, deleted) = tokio::join!(work, deleting);
        if worked.is_err() {
            tracing::warn!("the invocation's time was up before its work was done");
        }
        if deleted.is_err() {
            tracing::warn!("the invocation's time was up before all rows of closed connections were deleted");
        }
        if !board.is_widely_missed() {
            let _ = deadline.finish(self.close(failing_receiver)).await;
        }
        Ok(respond(&groups, &first_failed))
    }

    /// Does everything for one group, and notes how far it got.
    async fn serve(&self, group: &Group, first_failed: &FirstFailed, board: &Board) {
        let mut done = 0;
        for Step { first, room, task } in steps(group) {
            first_failed.set(self.bury(group, done..first).await.or(Some(first)));
            if first_failed.get() != Some(first) {
                return;
            }
            if let Err(error) = self.broadcast(&room, task, board).await {
                tracing::error!(group = group.id, %error, "a room's records stay in the queue");
                return;
            }
            done = first;
        }
        first_failed.set(self.bury(group, done..group.records.len()).await);
    }

    /// Brings what can never be broadcast to the dead-letter queue. Returns the position of the first record that
    /// the dead-letter queue did not take.
    async fn bury(&self, group: &Group, positions: std::ops::Range<usize>) -> Option<usize> {
        let letters = group.dead_letters().filter(|(position, _)| positions.contains(position));
        let (positions, letters): (Vec<usize>, Vec<DeadLetter>) = letters.unzip();
        if letters.is_empty() {
            return None;
        }
        let mut first_failed = None;
        for ((position, letter), result) in positions.iter().zip(&letters).zip(self.dead_letters.bury(&letters).await) {
            match result {
                Ok(()) => tracing::warn!(group = group.id, record = letter.id, reason = letter.reason, "dead letter"),
                Err(error) => {
                    tracing::error!(group = group.id, record = letter.id, %error, "dead letter not taken");
                    first_failed = first_failed.or(Some(*position));
                }
            }
        }
        first_failed
    }

    /// Logs messages, then posts them to everybody in the room, or has them posted in shards.
    async fn broadcast(&self, room: &RoomId, task: Task, board: &Board) -> Result<(), RoomError> {
        let (frames, slots, whole) = match task {
            Task::Messages(batch) => (encode(room, &self.log.append(room, batch).await?), ALL_SLOTS, true),
            Task::Frames { slots, frames } => (repack(room, &frames), slots, false),
        };
        let mut pages = Pages::new(&self.connections, room, slots);
        let first_page = pages.next().await?.unwrap_or_default();
        let shards = if whole { self.sharding.decide(room, &first_page, pages.is_at_end()) } else { 1 };
        if shards > 1 {
            return self.enqueue_shards(room, &frames, shards).await;
        }
        let frame_count = frames.len();
        let tally = self.post(room, frames, first_page, pages, board).await?;
        log_broadcast(room, frame_count, &tally);
        Ok(())
    }

    async fn enqueue_shards(&self, room: &RoomId, frames: &[Frame], shards: u32) -> Result<(), RoomError> {
        let mut records = shard::records(room, frames, shards);
        let mut jobs = 0;
        loop {
            let batch: Vec<_> = records.by_ref().take(SHARD_BATCH).collect();
            if batch.is_empty() {
                break;
            }
            jobs += batch.len();
            self.shard_queue.enqueue(&batch).await.into_iter().collect::<Result<(), _>>()?;
        }
        tracing::info!(%room, shards, jobs, "broadcast in shards");
        Ok(())
    }

    async fn post(
        &self,
        room: &RoomId,
        frames: Vec<Frame>,
        first_page: Vec<Member>,
        mut pages: Pages<'_, S>,
        board: &Board,
    ) -> Result<Tally, RoomError> {
        let key = board.open(Broadcast { room: room.clone(), frames });
        let now = self.clock.unix_seconds();
        let mut page = Some(first_page);
        while let Some(mut members) = page {
            let read = members.len();
            // The table deletes expired rows in its own time; their connections are closed by then.
            members.retain(|member| member.expires_at > now);
            board.count(key, |tally| tally.expired += (read - members.len()) as u64);
            if !board.put(key, members) {
                break;
            }
            page = pages.next().await?;
            // The next page is there by now, and waits until the workers want it.
            board.wait_for_space(key).await;
        }
        Ok(board.finish(key).await?)
    }

    async fn close(&self, mut failing: mpsc::UnboundedReceiver<ConnectionId>) {
        let mut connections = Vec::new();
        while let Some(connection) = failing.recv().await {
            connections.push(connection);
        }
        connections.truncate(CLOSES);
        join_all(connections.iter().map(|connection| async move {
            let outcome = self.connections_api.close(connection).await;
            tracing::info!(%connection, ?outcome, "closed a connection that missed several broadcasts");
        }))
        .await;
    }
}

fn log_broadcast(room: &RoomId, frames: usize, tally: &Tally) {
    if tally.is_widely_missed() {
        tracing::warn!(%room, undelivered = tally.undelivered, "many connections did not get a broadcast");
    }
    tracing::info!(
        %room,
        frames,
        posts = tally.posts,
        delivered = tally.delivered,
        gone = tally.gone,
        spared = tally.spared,
        undelivered = tally.undelivered,
        too_large = tally.too_large,
        throttled = tally.throttled,
        retries = tally.retries,
        expired = tally.expired,
        "broadcast"
    );
}

fn respond(groups: &[Group], first_failed: &[FirstFailed]) -> SqsBatchResponse {
    let failed = groups.iter().zip(first_failed).flat_map(|(group, first)| {
        let first = first.get().unwrap_or(group.records.len());
        &group.records[first..]
    });
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = failed
        .map(|record| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier.clone_from(&record.id);
            failure
        })
        .collect();
    response
}

//! The handler of both functions that broadcast: `fanout`, which the rooms' queue feeds, and `shards`, which the shard
//! queue feeds. It takes a batch and returns the records that must stay in the queue.

use std::{pin::pin, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures::{
    StreamExt,
    future::{Either, join_all, select},
    stream::FuturesUnordered,
};
use lambda_runtime::LambdaEvent;
use shared::{
    ConnectionId,
    clock::{Clock, SystemClock},
    metrics::{
        Metrics,
        names::{CLOSED, QUEUE_AGE, RETURNED},
    },
    queue::{Hold, NotARecord, Queue, give_back},
    trace::TraceHeader,
};
use tokio::sync::{oneshot, watch};

use crate::{
    batch::{self, Group},
    broadcast::{
        Invocation,
        gone::{self, delete_gone},
    },
    congestion::heads_behind,
    connections_api::{ConnectionsApi, Outcome},
    deadline::Deadline,
    environment::FanoutFunction,
    group::Left,
};

/// The time for which a group that has ended waits for the end of the invocation, before it is acknowledged by a call
/// of its own.
const PATIENCE: Duration = Duration::from_millis(500);

impl<Q: Queue, A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> FanoutFunction<Q, A, C> {
    /// Serves one batch, its groups side by side. Returns which records must stay in the queue: of each group, those
    /// from the first unfinished one on. They are visible again in seconds.
    ///
    /// # Errors
    /// When the event does not come from a queue: the function has the wrong trigger.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
        metrics: &Metrics,
    ) -> Result<SqsBatchResponse, NotARecord> {
        let trace = TraceHeader::sampled(event.context.xray_trace_id.as_deref());
        let groups = batch::read(event.payload.records)?;
        // Lambda's deadline is one of its own clock, as are the queue's times.
        let started_at = SystemClock.unix_millis();
        let deadline = Deadline::new(started_at, event.context.deadline, self.deadline_reserve);
        let hold = Hold::new(started_at, event.context.deadline);
        let now = self.clock.unix_millis();
        // SQS always says when it took a record; 0 means that it was not told.
        for receipt in groups.iter().flat_map(Group::receipts).filter(|receipt| receipt.queued_at > 0) {
            metrics.record(QUEUE_AGE, now.saturating_sub(receipt.queued_at));
        }
        let behind = heads_behind(&groups, self.batch_size, now);
        let (gone, gone_receiver) = gone::channel();
        let (end, over) = watch::channel(());
        let (finished, acknowledged): (Vec<_>, Vec<_>) = groups.iter().map(|_| oneshot::channel()).unzip();
        let processing = async {
            // The invocation is dropped at the end of this block, and with it the channel's only sender: then the last
            // rows are deleted.
            let invocation = Invocation::new(deadline, gone, metrics, trace);
            let processing = groups
                .into_iter()
                .zip(finished)
                .map(|(group, finished)| self.process_and_tell(group, hold, &invocation, finished));
            let left: Vec<Left> = processing.collect::<FuturesUnordered<_>>().collect().await;
            self.broadcaster.measure(&invocation);
            (left, self.broadcaster.closing(invocation))
        };
        // Boxed: the SDK's futures are large, and nested as deeply as the compiler allows.
        let deleting = Box::pin(deadline.finish(delete_gone(&self.connections, gone_receiver)));
        let noting = Box::pin(self.congestion.note(behind, &self.source_queue, self.clock.unix_millis(), deadline));
        let working = async {
            let ((left, closing), deleted, ()) = tokio::join!(processing, deleting, noting);
            if deleted.is_err() {
                tracing::warn!("the invocation's time was up before all rows of closed connections were deleted");
            }
            if deadline.finish(self.close(&closing, metrics)).await.is_err() {
                tracing::warn!("the invocation's time was up before all connections were closed that should be");
            }
            drop(end);
            left
        };
        let acknowledging =
            join_all(acknowledged.into_iter().map(|finished| self.acknowledge(finished, over.clone(), deadline)));
        let (left, _) = tokio::join!(working, acknowledging);
        let response = give_back(left.iter().flat_map(Left::records).map(|record| record.id.clone()));
        metrics.add(RETURNED, response.batch_item_failures.len() as u64);
        Ok(response)
    }

    /// Processes a group, and tells the handles of the records that are finished with.
    async fn process_and_tell(
        &self,
        group: Group,
        hold: Hold,
        invocation: &Invocation<'_>,
        finished: oneshot::Sender<Vec<String>>,
    ) -> Left {
        let left = self.process(group, hold, invocation).await;
        // The acknowledgement waits for this as long as the invocation lasts.
        let _ = finished.send(left.finished_handles());
        left
    }

    /// Acknowledges a group's records. All of the batch's are when the function returns. Those of a group that ends
    /// long before that are deleted at once, so that its next messages need not wait for other groups, nor for what is
    /// left to do when all have ended.
    async fn acknowledge(
        &self,
        finished: oneshot::Receiver<Vec<String>>,
        mut over: watch::Receiver<()>,
        deadline: Deadline,
    ) {
        let Ok(handles) = finished.await else { return };
        // The sender of `over` is dropped at the end.
        if handles.is_empty() || tokio::time::timeout(PATIENCE, over.changed()).await.is_ok() {
            return;
        }
        // A record that is not deleted by the end is deleted with the rest of the batch.
        let deleting = pin!(deadline.finish(self.source_queue.delete(&handles)));
        let Either::Left((deleted, _)) = select(deleting, pin!(over.changed())).await else { return };
        for error in deleted.unwrap_or_default().into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "a record is acknowledged with the rest of its batch");
        }
    }

    /// Closes connections; their clients connect anew and resume. The answer 410 is to be expected, since some of them
    /// are gone.
    async fn close(&self, connections: &[ConnectionId], metrics: &Metrics) {
        join_all(connections.iter().map(|connection| async move {
            let outcome = self.broadcaster.api().close(connection).await;
            metrics.add(CLOSED, u64::from(outcome == Outcome::Delivered));
            match outcome {
                Outcome::Delivered => tracing::info!(%connection, "closed a connection, whose client connects anew"),
                Outcome::Gone => {}
                outcome => tracing::warn!(%connection, ?outcome, "a connection was not closed"),
            }
        }))
        .await;
    }
}

//! The `relay` function: it takes events, which a rule of the bus puts into a standard queue, on to the rooms' FIFO
//! queue. Validation and queue are the same as those of the message route. EventBridge and a standard queue deliver at
//! least once and in no order: the event's id makes a second delivery the same message, and `version` says which of two
//! messages is newer.

mod batch;
mod event;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use lambda_runtime::LambdaEvent;
use shared::{
    clock::Clock,
    metrics::{
        Metrics,
        names::{ACCEPTED, DEAD_LETTERS, QUEUE_AGE, RETURNED},
    },
    queue::{NotARecord, Queue, QueueError, give_back},
};

use self::batch::{Batch, Outgoing, Source};
use crate::{
    congestion::{CongestionMonitor, CongestionSource},
    deadline::Deadline,
};

/// The function's state.
#[derive(Debug)]
pub struct RelayFunction<Q, L, C> {
    queue: Q,
    dead_letters: Q,
    congestion: CongestionMonitor<L>,
    clock: C,
}

impl<Q: Queue, L: CongestionSource, C: Clock> RelayFunction<Q, L, C> {
    /// A function that sends messages to `queue`, and events that can never be messages to `dead_letters`. To a room
    /// that is behind, by `congestion`, it sends only the share that is admitted.
    pub fn new(queue: Q, dead_letters: Q, congestion: CongestionMonitor<L>, clock: C) -> Self {
        Self { queue, dead_letters, congestion, clock }
    }

    /// Serves one batch. Says which records must stay in their queue: those that no queue has confirmed before the
    /// invocation's time is up. Sent again they are the same messages, so a message that was under way is in the queue
    /// only once.
    ///
    /// # Errors
    /// When the event is none of a queue's: the function is wired wrongly.
    pub async fn handle(
        &self,
        event: LambdaEvent<SqsEvent>,
        metrics: &Metrics,
    ) -> Result<SqsBatchResponse, NotARecord> {
        let deadline = Deadline::of(&event.context);
        let Batch { mut messages, mut dead_letters } = Batch::read(event.payload.records)?;
        let now = self.clock.unix_millis();
        for queued_at in messages.queued_at().chain(dead_letters.queued_at()) {
            metrics.record(QUEUE_AGE, now.saturating_sub(queued_at));
        }
        let mut left = self.hold_back(&mut messages).await;
        let results = send(&self.queue, &messages, deadline).await;
        for ((source, record), result) in messages.into_iter().zip(results) {
            match result {
                Some(Ok(())) => {
                    metrics.add(ACCEPTED, 1);
                    tracing::info!(room = record.group_id, id = source.message_id, "accepted");
                }
                Some(Err(QueueError::Refused { reason, .. })) => {
                    dead_letters.push_dead_letter(source, record.group_id, reason);
                }
                result => left.push(leave(source, &record.group_id, result)),
            }
        }
        let results = send(&self.dead_letters, &dead_letters, deadline).await;
        for ((source, record), result) in dead_letters.into_iter().zip(results) {
            match result {
                Some(Ok(())) => {
                    metrics.add(DEAD_LETTERS, 1);
                    tracing::warn!(reason = record.reason, room = record.group_id, "event is no message");
                }
                result => left.push(leave(source, &record.group_id, result)),
            }
        }
        metrics.add(RETURNED, left.len() as u64);
        Ok(give_back(left))
    }
}

impl<Q, L: CongestionSource, C: Clock> RelayFunction<Q, L, C> {
    /// Takes out the messages of rooms that are behind, but for the share that is admitted, and returns the ids of
    /// their records, which stay in their queue. In a standard queue they are in nobody's way; in the FIFO queue they
    /// would take places among its first 120,000 messages.
    async fn hold_back(&self, messages: &mut Outgoing) -> Vec<String> {
        self.congestion.look(self.clock.unix_millis()).await;
        let now = self.clock.unix_millis();
        let held = messages.hold(|room| self.congestion.admits(room, false, now).is_err());
        if !held.is_empty() {
            tracing::warn!(events = held.len(), "events stay in their queue, because their rooms are behind");
        }
        held
    }
}

/// Sends records. The result is `None` for each record if they were not sent in time.
async fn send<Q: Queue>(queue: &Q, outgoing: &Outgoing, deadline: Deadline) -> Vec<Option<Result<(), QueueError>>> {
    let records = outgoing.records();
    match deadline.in_time(queue.send_unordered(records)).await {
        Some(results) => results.into_iter().map(Some).collect(),
        None => vec![None; records.len()],
    }
}

/// The id of a record that stays in its queue, which delivers it again. Logs why.
fn leave(source: Source, room: &str, result: Option<Result<(), QueueError>>) -> String {
    let reason = result
        .and_then(Result::err)
        .map_or_else(|| "the invocation's time was up".to_owned(), |error| error.to_string());
    tracing::warn!(reason, room, "event stays in its queue");
    source.received.id
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, future::pending};

    use fastrand::Rng;
    use lambda_runtime::Context;
    use serde_json::{Value, json};
    use shared::{clock::SystemClock, congestion::Cut, queue::Record, store::StoreError};

    use super::*;

    /// A queue that does not answer.
    struct Silent;

    impl Queue for Silent {
        async fn send(&self, _: &[Record]) -> Vec<Result<(), QueueError>> {
            pending().await
        }

        async fn postpone(&self, _: &[String], _: u32) -> Vec<Result<(), QueueError>> {
            pending().await
        }

        async fn delete(&self, _: &[String]) -> Vec<Result<(), QueueError>> {
            pending().await
        }

        async fn depth(&self) -> Result<u64, QueueError> {
            pending().await
        }
    }

    #[tokio::test]
    async fn what_is_not_sent_in_time_stays_in_its_queue() {
        let records = json!({"Records": [
            {"messageId": "message", "body": event("r")},
            {"messageId": "poison", "body": "{"},
        ]});
        // The deadline of this context is long past.
        let relay = RelayFunction::new(Silent, Silent, congestion(0), SystemClock);
        assert_eq!(left_of(&relay, records, 0).await, ["message", "poison"]);
    }

    /// A queue that takes everything.
    #[derive(Default)]
    struct Taking(RefCell<Vec<String>>);

    impl Queue for &Taking {
        async fn send(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
            self.0.borrow_mut().extend(records.iter().map(|record| record.group_id.clone()));
            vec![Ok(()); records.len()]
        }

        async fn postpone(&self, _: &[String], _: u32) -> Vec<Result<(), QueueError>> {
            Vec::new()
        }

        async fn delete(&self, _: &[String]) -> Vec<Result<(), QueueError>> {
            Vec::new()
        }

        async fn depth(&self) -> Result<u64, QueueError> {
            Ok(0)
        }
    }

    #[tokio::test]
    async fn of_a_room_that_is_behind_hardly_any_event_is_sent_on_and_the_others_wait() {
        let (queue, dead_letters) = (Taking::default(), Taking::default());
        let relay = RelayFunction::new(&queue, &dead_letters, congestion(0), SystemClock);
        let record = |(number, room): (usize, &&str)| json!({"messageId": number.to_string(), "body": event(room)});
        let records: Vec<_> = ["behind", "r", "behind", "s", "behind"].iter().enumerate().map(record).collect();
        assert_eq!(left_of(&relay, json!({ "Records": records }), IN_TIME).await, ["0", "2", "4"]);
        assert_eq!(*queue.0.borrow(), ["r", "s"]);
        assert!(dead_letters.0.borrow().is_empty(), "they are no dead letters");
    }

    #[tokio::test]
    async fn no_event_is_sent_on_to_a_queue_that_is_full() {
        let (queue, dead_letters) = (Taking::default(), Taking::default());
        let relay = RelayFunction::new(&queue, &dead_letters, congestion(DEPTH), SystemClock);
        let records = json!({"Records": [{"messageId": "m", "body": event("r")}]});
        assert_eq!(left_of(&relay, records, IN_TIME).await, ["m"]);
    }

    const DEPTH: u64 = 7;

    /// A deadline in the year 2096.
    const IN_TIME: u64 = 4_000_000_000_000;

    /// Sees that the room `behind` is, and how deep the queue is.
    #[derive(Clone, Debug)]
    struct Seeing;

    impl CongestionSource for Seeing {
        async fn cuts(&self) -> Result<Vec<(String, Cut)>, StoreError> {
            Ok(vec![("behind/3".to_owned(), Cut { fraction: 0.0, since: 0, hold: u64::MAX })])
        }

        async fn depth(&self) -> Result<u64, QueueError> {
            Ok(DEPTH)
        }
    }

    fn congestion(depth_limit: u64) -> CongestionMonitor<Seeing> {
        CongestionMonitor::new(Seeing, depth_limit, Rng::with_seed(3))
    }

    fn event(room: &str) -> String {
        let detail = json!({"roomId": room, "data": 1});
        json!({"id": "e", "detail-type": "roomcast.message", "source": "s", "detail": detail}).to_string()
    }

    /// Hands a batch to the function; returns the ids of the records that it leaves in their queue.
    async fn left_of<Q: Queue>(
        relay: &RelayFunction<Q, Seeing, SystemClock>,
        records: Value,
        deadline: u64,
    ) -> Vec<String> {
        let mut context = Context::default();
        context.deadline = deadline;
        let batch = LambdaEvent::new(serde_json::from_value(records).unwrap(), context);
        let response = relay.handle(batch, &Metrics::default()).await.unwrap();
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }
}

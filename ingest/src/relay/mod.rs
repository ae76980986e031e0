//! The `relay` function: takes the events that the bus's rule puts into a standard queue on to the rooms' FIFO queue. Same
//! validation as the message route, same queue. EventBridge and a standard queue deliver at least once and in no order:
//! the event's id makes a second delivery the same message, and `version` says which of two messages is newer.

mod batch;
mod event;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use lambda_runtime::LambdaEvent;
use shared::queue::{Queue, QueueError};

pub use self::batch::NotARecord;
use self::batch::{Batch, Outgoing};
use crate::deadline::Deadline;

/// The function's state.
#[derive(Debug)]
pub struct RelayFunction<Q> {
    queue: Q,
    dead_letters: Q,
}

impl<Q: Queue> RelayFunction<Q> {
    /// A function that sends messages to `queue`, and to `dead_letters` the events that can never be one.
    pub fn new(queue: Q, dead_letters: Q) -> Self {
        Self { queue, dead_letters }
    }

    /// Serves one batch. Says which records must stay in their queue: those that no queue has confirmed before the
    /// invocation's time is up. Sent once more they are the same messages, so one that was under way is there once.
    ///
    /// # Errors
    /// When the event is none of a queue's: the function is wired wrongly.
    pub async fn handle(&self, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, NotARecord> {
        let deadline = Deadline::of(&event.context);
        let Batch { messages, mut dead_letters } = Batch::read(event.payload.records)?;
        let mut response = SqsBatchResponse::default();
        let results = send(&self.queue, &messages, deadline).await;
        for ((source, record), result) in messages.into_iter().zip(results) {
            match result {
                Some(Ok(())) => {}
                Some(Err(QueueError::Refused { reason, .. })) => {
                    dead_letters.push_dead_letter(source, record.group_id, reason);
                }
                result => leave(&mut response, source.id, &record.group_id, result),
            }
        }
        let results = send(&self.dead_letters, &dead_letters, deadline).await;
        for ((source, record), result) in dead_letters.into_iter().zip(results) {
            match result {
                Some(Ok(())) => tracing::warn!(reason = record.reason, room = record.group_id, "event is no message"),
                result => leave(&mut response, source.id, &record.group_id, result),
            }
        }
        Ok(response)
    }
}

/// Sends records. `None` is the result of those whose sending was not done in time.
async fn send<Q: Queue>(queue: &Q, outgoing: &Outgoing, deadline: Deadline) -> Vec<Option<Result<(), QueueError>>> {
    let records = outgoing.records();
    match deadline.in_time(queue.send_unordered(records)).await {
        Some(results) => results.into_iter().map(Some).collect(),
        None => vec![None; records.len()],
    }
}

/// Leaves a record in its queue, which delivers it again.
fn leave(response: &mut SqsBatchResponse, id: String, room: &str, result: Option<Result<(), QueueError>>) {
    let reason = result
        .and_then(Result::err)
        .map_or_else(|| "the invocation's time was up".to_owned(), |error| error.to_string());
    tracing::warn!(reason, room, "event stays in its queue");
    let mut failure = BatchItemFailure::default();
    failure.item_identifier = id;
    response.batch_item_failures.push(failure);
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use lambda_runtime::Context;
    use serde_json::json;
    use shared::queue::Record;

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
        let event =
            json!({"id": "e", "detail-type": "roomcast.message", "source": "s", "detail": {"roomId": "r", "data": 1}});
        let records = json!({"Records": [
            {"messageId": "message", "body": event.to_string()},
            {"messageId": "poison", "body": "{"},
        ]});
        // The deadline of this context is long past.
        let batch = LambdaEvent::new(serde_json::from_value(records).unwrap(), Context::default());
        let response = RelayFunction::new(Silent, Silent).handle(batch).await.unwrap();
        let failed = response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str());
        assert_eq!(failed.collect::<Vec<_>>(), ["message", "poison"]);
    }
}

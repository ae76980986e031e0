//! A small model of the FIFO queue and its consumers: groups, one batch of a group in flight, visibility,
//! deduplication, batch item failures. A batch's timeout is over when the test says so.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use shared::Message;
use shared::queue::{Queue, QueueError, Record, Sink};
use shared::trace::TraceHeader;

use crate::events::QueueRecord;

/// Records in one batch, as the template maps the queue to `fanout`.
const BATCH: usize = 10;

/// The records, from the first one on, among which SQS looks for deliverable groups ("Amazon SQS quotas").
pub(crate) const WINDOW: usize = 120_000;

/// The queue; clones are the same queue.
#[derive(Clone, Debug, Default)]
pub struct FifoQueue(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    records: VecDeque<QueueRecord>,
    /// Groups of which a batch is in flight, with the batch.
    in_flight: HashMap<String, u64>,
    deduplicated: HashSet<(String, String)>,
    sent: Vec<Record>,
    postponed: Vec<(String, u32)>,
    batches: u64,
    refused: Option<(f64, fastrand::Rng)>,
}

/// Records that a consumer has received.
#[derive(Clone, Debug)]
pub struct Batch {
    number: u64,
    /// The records: of each group the first ones, in their order.
    pub records: Vec<QueueRecord>,
}

impl FifoQueue {
    /// A queue that refuses this share of the records (0 to 1) each time they are sent.
    pub fn refusing(share: f64, random: fastrand::Rng) -> Self {
        let queue = Self::default();
        queue.0.lock().unwrap().refused = Some((share, random));
        queue
    }

    /// From now on takes every record.
    pub fn refuse_nothing(&self) {
        self.0.lock().unwrap().refused = None;
    }

    fn is_refused(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        state.refused.as_mut().is_some_and(|(share, random)| random.f64() < *share)
    }

    /// Adds a record, unless its group has had one with this deduplication id.
    pub fn add(&self, record: &Record) {
        let mut state = self.0.lock().unwrap();
        if state.deduplicated.insert((record.group_id.clone(), record.deduplication_id.clone())) {
            state.sent.push(record.clone());
            let id = format!("record-{}", state.sent.len());
            state.records.push_back(QueueRecord::new(&id, &record.group_id, &record.body).received(0));
        }
    }

    /// Receives a batch of at most ten records, of one or several groups; `None` when there is nothing to receive.
    pub fn receive(&self, random: &mut fastrand::Rng) -> Option<Batch> {
        let mut state = self.0.lock().unwrap();
        let State { records, in_flight, batches, .. } = &mut *state;
        let most = random.usize(1..=BATCH);
        let mut received: Vec<QueueRecord> = Vec::new();
        for record in records.iter_mut().take(WINDOW).filter(|record| !in_flight.contains_key(&record.group)) {
            if received.len() < most {
                record.receive_count += 1;
                received.push(record.clone());
            }
        }
        if received.is_empty() {
            return None;
        }
        *batches += 1;
        in_flight.extend(received.iter().map(|record| (record.group.clone(), *batches)));
        Some(Batch { number: *batches, records: received })
    }

    /// Takes a consumer's answer: deletes the records that are not among the failures. The others are visible again at
    /// once. An answer that comes after the batch has expired changes nothing.
    pub fn settle(&self, batch: &Batch, failures: &[String]) {
        let mut state = self.0.lock().unwrap();
        for record in &batch.records {
            let is_current = state.in_flight.get(&record.group) == Some(&batch.number);
            if is_current && !failures.contains(&record.message_id) {
                state.records.retain(|other| other.message_id != record.message_id);
            }
        }
        state.release(batch.number);
    }

    /// Ends the batch's visibility timeout: its records are received again, whatever the consumer is doing.
    pub fn expire(&self, batch: &Batch) {
        self.0.lock().unwrap().release(batch.number);
    }

    /// Whether nothing is queued and nothing in flight.
    pub fn is_empty(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.records.is_empty() && state.in_flight.is_empty()
    }

    /// Every record that the queue has ever taken, in order.
    pub fn sent(&self) -> Vec<Record> {
        self.0.lock().unwrap().sent.clone()
    }

    /// The ids of records that were postponed, in order, each with the seconds.
    pub fn postponed(&self) -> Vec<(String, u32)> {
        self.0.lock().unwrap().postponed.clone()
    }
}

impl State {
    fn release(&mut self, batch: u64) {
        self.in_flight.retain(|_, other| *other != batch);
    }

    /// The record that is in flight with this handle. That of a delivery whose visibility timeout is over is refused.
    fn in_flight(&self, operation: &'static str, handle: &str) -> Result<&QueueRecord, QueueError> {
        let record = self.records.iter().find(|record| record.receipt_handle() == handle);
        record.filter(|record| self.in_flight.contains_key(&record.group)).ok_or_else(|| QueueError::Unavailable {
            operation,
            reason: "ReceiptHandleIsInvalid: The receipt handle has expired".to_owned(),
        })
    }
}

impl Sink for FifoQueue {
    async fn put(&self, message: &Message, trace: Option<&TraceHeader>) -> Result<(), QueueError> {
        self.add(&Record::of_message(message, trace.cloned()));
        Ok(())
    }
}

impl Queue for FifoQueue {
    async fn send(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
        let mut refused: HashSet<&str> = HashSet::new();
        let mut results = Vec::with_capacity(records.len());
        for record in records {
            results.push(if refused.contains(record.group_id.as_str()) {
                Err(QueueError::NotSent)
            } else if self.is_refused() {
                refused.insert(&record.group_id);
                let reason = "refused, as the test says".to_owned();
                Err(QueueError::Unavailable { operation: "SendMessageBatch", reason })
            } else {
                self.add(record);
                Ok(())
            });
        }
        results
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Ok(self.0.lock().unwrap().records.len() as u64)
    }

    /// Deletes the records. The rest of their groups is received again when their consumer has answered.
    async fn delete(&self, receipt_handles: &[String]) -> Vec<Result<(), QueueError>> {
        let mut state = self.0.lock().unwrap();
        let delete = |handle: &String| {
            let id = state.in_flight("DeleteMessageBatch", handle)?.message_id.clone();
            state.records.retain(|record| record.message_id != id);
            Ok(())
        };
        receipt_handles.iter().map(delete).collect()
    }

    /// Notes the call. The records are visible again when their consumer has answered, since time passes only when the
    /// test says so.
    async fn postpone(&self, receipt_handles: &[String], seconds: u32) -> Vec<Result<(), QueueError>> {
        let mut state = self.0.lock().unwrap();
        let postpone = |handle: &String| {
            let id = state.in_flight("ChangeMessageVisibilityBatch", handle)?.message_id.clone();
            state.postponed.push((id, seconds));
            Ok(())
        };
        receipt_handles.iter().map(postpone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (FifoQueue, fastrand::Rng) {
        let queue = FifoQueue::default();
        for (group, id) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "1")] {
            let (group_id, deduplication_id, body) = (group.to_owned(), id.to_owned(), id.to_owned());
            queue.add(&Record { group_id, deduplication_id, body, reason: None, trace: None });
        }
        (queue, fastrand::Rng::with_seed(1))
    }

    /// Receives until a batch has this many records.
    fn receive(queue: &FifoQueue, random: &mut fastrand::Rng, records: usize) -> Batch {
        loop {
            let batch = queue.receive(random).expect("a batch");
            if batch.records.len() == records {
                return batch;
            }
            queue.expire(&batch);
        }
    }

    #[test]
    fn a_group_waits_while_a_batch_of_it_is_in_flight() {
        let (queue, mut random) = queue();
        let first = receive(&queue, &mut random, 1);
        assert_eq!(first.records[0].body, "1");
        let other = queue.receive(&mut random).unwrap();
        assert_eq!((other.records.len(), other.records[0].body.as_str()), (1, "3"));
        assert!(queue.receive(&mut random).is_none());
        queue.settle(&other, &[]);
        queue.settle(&first, &[]);
        assert_eq!(receive(&queue, &mut random, 1).records[0].body, "2");
        assert!(!queue.is_empty());
    }

    #[test]
    fn failures_come_again_and_late_answers_count_for_nothing() {
        let (queue, mut random) = queue();
        let all = receive(&queue, &mut random, 3);
        queue.settle(&all, &[all.records[1].message_id.clone()]);
        let rest = receive(&queue, &mut random, 1);
        assert_eq!((rest.records[0].body.as_str(), rest.records[0].receive_count >= 2), ("2", true));
        queue.expire(&rest);
        queue.settle(&rest, &[]);
        let again = receive(&queue, &mut random, 1);
        queue.settle(&again, &[]);
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn only_what_is_in_flight_can_be_postponed() {
        let (queue, mut random) = queue();
        let first = receive(&queue, &mut random, 1);
        let handles = [first.records[0].receipt_handle(), "handle-1-of-record-3".to_owned()];
        let results = queue.postpone(&handles, 5).await;
        assert!(results[0].is_ok() && matches!(results[1], Err(QueueError::Unavailable { .. })));
        assert_eq!(queue.postponed(), [("record-1".to_owned(), 5)]);
        queue.expire(&first);
        assert!(queue.postpone(&handles[..1], 5).await[0].is_err(), "nobody has it");
        let again = receive(&queue, &mut random, 1);
        assert_ne!(again.records[0].receipt_handle(), handles[0]);
        assert!(queue.postpone(&handles[..1], 5).await[0].is_err(), "another one has it");
        assert!(queue.delete(&handles[..1]).await[0].is_err() && !queue.is_empty());
    }
}

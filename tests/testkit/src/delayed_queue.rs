//! A model of a FIFO queue with delivery delay and visibility timeouts, in a test's own time. It has groups, one batch
//! of a group in flight, and deduplication for five minutes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use shared::clock::Clock;
use shared::queue::{Queue, QueueError, Record};

use crate::clock::TestClock;
use crate::events::QueueRecord;

/// Records in one batch.
const BATCH: usize = 10;

/// The time for which a second record with the same deduplication id is dropped, in milliseconds ("Amazon SQS quotas").
const DEDUPLICATED: u64 = 5 * 60 * 1_000;

/// The queue; clones are the same queue.
#[derive(Clone, Debug)]
pub struct DelayedQueue {
    state: Arc<Mutex<State>>,
    clock: TestClock,
    delay: u64,
    visibility: u64,
    retention: u64,
}

#[derive(Debug, Default)]
struct State {
    records: Vec<Held>,
    deduplicated: HashMap<(String, String), u64>,
    sent: u64,
    received: u64,
    batches: u64,
}

#[derive(Debug)]
struct Held {
    record: QueueRecord,
    sent_at: u64,
    visible_at: u64,
    /// The batch that has it, or had it until its visibility timeout ended.
    batch: Option<u64>,
}

/// Records that a consumer has received.
#[derive(Clone, Debug)]
pub struct DelayedBatch {
    number: u64,
    /// The records: of each group the first ones, in their order.
    pub records: Vec<QueueRecord>,
}

impl DelayedQueue {
    /// A queue that delivers records `delay` milliseconds after they were sent, and again when they are not deleted
    /// within `visibility`.
    pub fn new(clock: &TestClock, delay: u64, visibility: u64) -> Self {
        Self { state: Arc::default(), clock: clock.clone(), delay, visibility, retention: u64::MAX }
    }

    /// The same queue, which keeps records for so many milliseconds.
    #[must_use]
    pub fn keeping(self, retention: u64) -> Self {
        Self { retention, ..self }
    }

    /// Adds a record, unless its group has had one with this deduplication id lately.
    pub fn add(&self, record: &Record) {
        let now = self.clock.unix_millis();
        let mut state = self.state.lock().unwrap();
        let id = (record.group_id.clone(), record.deduplication_id.clone());
        if state.deduplicated.get(&id).is_some_and(|sent_at| now < sent_at + DEDUPLICATED) {
            return;
        }
        state.deduplicated.insert(id, now);
        state.sent += 1;
        let queued = QueueRecord::new(&format!("record-{}", state.sent), &record.group_id, &record.body);
        state.records.push(Held {
            record: queued.received(0).queued_at(now),
            sent_at: now,
            visible_at: now + self.delay,
            batch: None,
        });
    }

    /// Receives a batch of at most ten records, of one or several groups; `None` when there is nothing to receive.
    pub fn receive(&self) -> Option<DelayedBatch> {
        let now = self.clock.unix_millis();
        let mut state = self.state.lock().unwrap();
        let number = state.batches + 1;
        state.records.retain(|held| now - held.sent_at < self.retention);
        let (mut closed, mut received) = (HashSet::new(), Vec::new());
        for held in &mut state.records {
            if closed.contains(&held.record.group) {
                continue;
            }
            // A record that waits or is in flight holds back those after it in its group.
            if held.visible_at > now {
                closed.insert(held.record.group.clone());
            } else if received.len() < BATCH {
                held.record.receive_count += 1;
                held.visible_at = now + self.visibility;
                held.batch = Some(number);
                received.push(held.record.clone());
            }
        }
        if received.is_empty() {
            return None;
        }
        state.batches = number;
        state.received += received.len() as u64;
        Some(DelayedBatch { number, records: received })
    }

    /// Takes a consumer's answer: deletes the records that are not among the failures and that no other consumer has by
    /// now. The others are visible again when their timeout is over.
    pub fn settle(&self, batch: &DelayedBatch, failures: &[String]) {
        let mut state = self.state.lock().unwrap();
        let is_done = |held: &Held| {
            held.batch == Some(batch.number)
                && batch.records.iter().any(|record| record.message_id == held.record.message_id)
                && !failures.contains(&held.record.message_id)
        };
        state.records.retain(|held| !is_done(held));
    }

    /// Whether nothing is queued and nothing in flight.
    pub fn is_empty(&self) -> bool {
        self.state.lock().unwrap().records.is_empty()
    }

    /// The number of deliveries of records, repeated ones included.
    pub fn received(&self) -> u64 {
        self.state.lock().unwrap().received
    }

    /// The number of records that the queue has taken.
    pub fn sent(&self) -> u64 {
        self.state.lock().unwrap().sent
    }
}

impl State {
    /// The place of the record that is in flight with this handle. That of a delivery whose visibility timeout is over
    /// is refused.
    fn in_flight(&self, operation: &'static str, handle: &str, now: u64) -> Result<usize, QueueError> {
        let is_held = |held: &Held| held.record.receipt_handle() == handle && held.visible_at > now;
        self.records.iter().position(is_held).ok_or_else(|| QueueError::Unavailable {
            operation,
            reason: "ReceiptHandleIsInvalid: The receipt handle has expired".to_owned(),
        })
    }
}

impl Queue for DelayedQueue {
    async fn send(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
        for record in records {
            self.add(record);
        }
        vec![Ok(()); records.len()]
    }

    async fn postpone(&self, receipt_handles: &[String], seconds: u32) -> Vec<Result<(), QueueError>> {
        let now = self.clock.unix_millis();
        let mut state = self.state.lock().unwrap();
        let postpone = |handle: &String| {
            let place = state.in_flight("ChangeMessageVisibilityBatch", handle, now)?;
            state.records[place].visible_at = now + u64::from(seconds) * 1_000;
            Ok(())
        };
        receipt_handles.iter().map(postpone).collect()
    }

    async fn delete(&self, receipt_handles: &[String]) -> Vec<Result<(), QueueError>> {
        let now = self.clock.unix_millis();
        let mut state = self.state.lock().unwrap();
        let delete = |handle: &String| {
            let place = state.in_flight("DeleteMessageBatch", handle, now)?;
            state.records.remove(place);
            Ok(())
        };
        receipt_handles.iter().map(delete).collect()
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Ok(self.state.lock().unwrap().records.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn record(group: &str, id: &str) -> Record {
        let (group_id, deduplication_id, body) = (group.to_owned(), id.to_owned(), id.to_owned());
        Record { group_id, deduplication_id, body, reason: None, trace: None }
    }

    fn bodies(batch: Option<DelayedBatch>) -> Vec<String> {
        batch.map_or_else(Vec::new, |batch| batch.records.into_iter().map(|record| record.body).collect())
    }

    #[test]
    fn what_is_too_old_is_gone() {
        let clock = TestClock::start();
        let queue = DelayedQueue::new(&clock, 0, 1).keeping(2_000);
        queue.add(&record("a", "1"));
        clock.advance(Duration::from_millis(1_000));
        queue.add(&record("a", "2"));
        assert_eq!(bodies(queue.receive()), ["1", "2"]);
        clock.advance(Duration::from_millis(1_000));
        assert_eq!(bodies(queue.receive()), ["2"]);
    }

    #[tokio::test]
    async fn what_waits_holds_its_group_and_no_other() {
        let clock = TestClock::start();
        let queue = DelayedQueue::new(&clock, 3_000, 90_000);
        queue.add(&record("a", "1"));
        queue.add(&record("a", "1"));
        clock.advance(Duration::from_millis(2_000));
        queue.add(&record("a", "2"));
        assert!(queue.receive().is_none());
        clock.advance(Duration::from_millis(1_001));
        let first = queue.receive().unwrap();
        clock.advance(Duration::from_millis(2_000));
        queue.add(&record("b", "3"));
        assert!(queue.receive().is_none(), "the second of the group waits for the first");
        queue.postpone(&[first.records[0].receipt_handle()], 5).await;
        queue.settle(&first, &[first.records[0].message_id.clone()]);
        clock.advance(Duration::from_millis(4_000));
        assert_eq!(bodies(queue.receive()), ["3"]);
        clock.advance(Duration::from_millis(1_001));
        let again = queue.receive().unwrap();
        assert_eq!((again.records.len(), again.records[0].receive_count), (2, 2));
        queue.settle(&first, &[]);
        assert!(!queue.is_empty(), "a late answer counts for nothing");
        clock.advance(Duration::from_millis(90_001));
        assert_eq!(bodies(queue.receive()), ["1", "2", "3"], "what was not deleted comes again");
    }
}

//! A small model of the FIFO queue and of what drains it: groups, one batch of a group in flight, visibility,
//! deduplication, batch item failures. Time passes when the test says that a batch's has expired.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use shared::Message;
use shared::queue::dead_letter::{DeadLetter, DeadLetters};
use shared::queue::shards::{ShardQueue, ShardRecord};
use shared::queue::{QueueError, Sink};

use crate::events::QueueRecord;

/// Records in one batch, as the template maps the queue to `fanout`.
const BATCH: usize = 10;

/// The queue; clones are the same queue. It is also where the message function and the fan-out of large rooms put
/// their records, as they do in SQS.
#[derive(Clone, Debug, Default)]
pub struct FifoQueue(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    records: VecDeque<QueueRecord>,
    /// Groups of which a batch is in flight, with the batch.
    in_flight: HashMap<String, u64>,
    deduplicated: HashSet<(String, String)>,
    dead_letters: Vec<DeadLetter>,
    sent: u64,
    batches: u64,
}

/// Records that a consumer has received.
#[derive(Clone, Debug)]
pub struct Batch {
    number: u64,
    /// The records: of each group the first ones, in their order.
    pub records: Vec<QueueRecord>,
}

impl FifoQueue {
    /// Adds a record, unless its group has had one with this deduplication id.
    pub fn send(&self, group: &str, deduplication: &str, body: &str) {
        let mut state = self.0.lock().unwrap();
        if state.deduplicated.insert((group.to_owned(), deduplication.to_owned())) {
            state.sent += 1;
            let record = QueueRecord::new(&format!("record-{}", state.sent), group, body).received(0);
            state.records.push_back(record);
        }
    }

    /// Receives a batch of at most ten records, of one or several groups; `None` when there is nothing to receive.
    pub fn receive(&self, random: &mut fastrand::Rng) -> Option<Batch> {
        let mut state = self.0.lock().unwrap();
        let State { records, in_flight, batches, .. } = &mut *state;
        let most = random.usize(1..=BATCH);
        let mut received: Vec<QueueRecord> = Vec::new();
        for record in records.iter_mut().filter(|record| !in_flight.contains_key(&record.group)) {
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

    /// Takes a consumer's answer: deletes what is not among the failures. The rest is visible again at once. An answer
    /// that comes after the batch's time has expired changes nothing.
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

    /// The batch's visibility timeout has expired: it is received again, whatever its consumer is doing.
    pub fn expire(&self, batch: &Batch) {
        self.0.lock().unwrap().release(batch.number);
    }

    /// Whether nothing is queued and nothing in flight.
    pub fn is_empty(&self) -> bool {
        let state = self.0.lock().unwrap();
        state.records.is_empty() && state.in_flight.is_empty()
    }

    /// What consumers have put into the dead-letter queue.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.0.lock().unwrap().dead_letters.clone()
    }
}

impl State {
    fn release(&mut self, batch: u64) {
        self.in_flight.retain(|_, other| *other != batch);
    }
}

impl Sink for FifoQueue {
    async fn put(&self, message: &Message) -> Result<(), QueueError> {
        self.send(message.room.as_str(), &message.identity().to_deduplication_id(), &message.to_body());
        Ok(())
    }
}

impl ShardQueue for FifoQueue {
    async fn enqueue(&self, records: &[ShardRecord]) -> Vec<Result<(), QueueError>> {
        let send = |record: &ShardRecord| self.send(&record.group, &record.deduplication, &record.body);
        records.iter().map(send).map(Ok).collect()
    }
}

impl DeadLetters for FifoQueue {
    async fn bury(&self, letters: &[DeadLetter]) -> Vec<Result<(), QueueError>> {
        self.0.lock().unwrap().dead_letters.extend_from_slice(letters);
        letters.iter().map(|_| Ok(())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (FifoQueue, fastrand::Rng) {
        let queue = FifoQueue::default();
        for (group, id) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "1")] {
            queue.send(group, id, id);
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
}

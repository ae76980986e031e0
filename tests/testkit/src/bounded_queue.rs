//! A model of the FIFO queue with its limits, in simulated time, for floods. It has the window in which SQS looks for
//! deliverable groups, and the rate of sends of a partition. It keeps no bodies, so that millions of records can pass
//! through it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::fifo_queue::WINDOW;

/// Records in one batch.
const BATCH: usize = 10;

/// Single sends that a partition takes in a second, and so does each group, which is in one partition ("Amazon SQS
/// quotas": high throughput).
const SENDS: f64 = 300.0;

/// Partitions, over which groups are spread by a hash.
const PARTITIONS: u64 = 32;

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its position in the order of arrival.
    pub number: u64,
    /// When it was sent, in milliseconds.
    pub queued_at: u64,
    /// The number of times that it was received.
    pub receives: u32,
}

/// The records that a consumer has received of one group. Nobody receives more of the group until this is settled.
#[derive(Clone, Debug)]
pub struct Part {
    /// The group.
    pub group: usize,
    /// Its first records.
    pub records: Vec<Waiting>,
}

#[derive(Debug, Default)]
struct Group {
    records: VecDeque<Waiting>,
    is_in_flight: bool,
}

/// The queue. Groups are numbered.
#[derive(Debug)]
pub struct BoundedQueue {
    groups: HashMap<usize, Group>,
    /// Groups that are not in flight, by the number of their head.
    ready: BTreeSet<(u64, usize)>,
    alive: Ranks,
    /// When each partition last took a send, and how many more it takes.
    partitions: HashMap<u64, (u64, f64)>,
    deepest: usize,
}

impl BoundedQueue {
    /// An empty queue that takes so many records in all.
    pub fn new(records: usize) -> Self {
        let alive = Ranks::new(records);
        Self { groups: HashMap::new(), ready: BTreeSet::new(), alive, partitions: HashMap::new(), deepest: 0 }
    }

    /// Sends a record; returns its number, or `None` when the partition takes no more for now.
    pub fn send(&mut self, group: usize, now: u64) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        group.hash(&mut hasher);
        let (at, tokens) = self.partitions.entry(hasher.finish() % PARTITIONS).or_insert((now, SENDS));
        #[expect(clippy::cast_precision_loss, reason = "seconds between two sends")]
        let refilled = (now - *at) as f64 * SENDS / 1_000.0;
        (*at, *tokens) = (now, (*tokens + refilled).min(SENDS));
        if *tokens < 1.0 {
            return None;
        }
        *tokens -= 1.0;
        let number = self.alive.push();
        let state = self.groups.entry(group).or_default();
        if state.records.is_empty() && !state.is_in_flight {
            self.ready.insert((number, group));
        }
        state.records.push_back(Waiting { number, queued_at: now, receives: 0 });
        self.deepest = self.deepest.max(self.alive.len());
        Some(number)
    }

    /// Receives a batch of at most ten records: of the groups whose heads are the oldest, as far as they are in the
    /// window.
    pub fn receive(&mut self) -> Vec<Part> {
        let (mut batch, mut left) = (Vec::new(), BATCH);
        while left > 0 {
            let Some(&(head, group)) = self.ready.first() else { break };
            if self.alive.rank(head) >= WINDOW {
                break;
            }
            self.ready.pop_first();
            let state = self.groups.get_mut(&group).unwrap();
            state.is_in_flight = true;
            state.records.iter_mut().take(left).for_each(|record| record.receives += 1);
            let records: Vec<_> = state.records.iter().take(left).copied().collect();
            left -= records.len();
            batch.push(Part { group, records });
        }
        batch
    }

    /// Deletes the first records of a part, and makes the rest of its group visible.
    pub fn settle(&mut self, part: &Part, deleted: usize) {
        let state = self.groups.get_mut(&part.group).unwrap();
        for record in state.records.drain(..deleted) {
            self.alive.remove(record.number);
        }
        state.is_in_flight = false;
        if let Some(head) = state.records.front() {
            self.ready.insert((head.number, part.group));
        }
    }

    /// The number of records in the queue.
    pub fn depth(&self) -> usize {
        self.alive.len()
    }

    /// The greatest number of records that the queue has had.
    pub fn deepest(&self) -> usize {
        self.deepest
    }
}

/// The numbers that are still there, in a Fenwick tree that counts those before any number.
#[derive(Debug)]
struct Ranks {
    sums: Vec<u32>,
    pushed: usize,
    len: usize,
}

impl Ranks {
    fn new(most: usize) -> Self {
        Self { sums: vec![0; most + 1], pushed: 0, len: 0 }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self) -> u64 {
        let number = self.pushed;
        self.pushed += 1;
        self.len += 1;
        self.add(number, 1);
        number as u64
    }

    fn remove(&mut self, number: u64) {
        self.len -= 1;
        self.add(usize::try_from(number).unwrap(), u32::MAX);
    }

    fn add(&mut self, number: usize, one: u32) {
        let mut at = number + 1;
        while at < self.sums.len() {
            self.sums[at] = self.sums[at].wrapping_add(one);
            at += at & at.wrapping_neg();
        }
    }

    /// The count of numbers before a number.
    fn rank(&self, number: u64) -> usize {
        if self.len <= WINDOW {
            return 0;
        }
        let (mut at, mut sum) = (usize::try_from(number).unwrap(), 0_u32);
        while at > 0 {
            sum = sum.wrapping_add(self.sums[at]);
            at -= at & at.wrapping_neg();
        }
        sum as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_takes_three_hundred_sends_a_second() {
        let mut queue = BoundedQueue::new(10_000);
        let sent = |queue: &mut BoundedQueue, now| (0..1_000).filter(|_| queue.send(1, now).is_some()).count();
        assert_eq!((sent(&mut queue, 0), sent(&mut queue, 100), sent(&mut queue, 10_000)), (300, 30, 300));
    }

    #[test]
    fn a_group_is_in_flight_until_it_is_settled_and_keeps_its_order() {
        let mut queue = BoundedQueue::new(100);
        for group in [1, 1, 2, 1] {
            queue.send(group, 5);
        }
        let batch = queue.receive();
        let numbers: Vec<Vec<u64>> =
            batch.iter().map(|part| part.records.iter().map(|record| record.number).collect()).collect();
        assert_eq!(numbers, [vec![0, 1, 3], vec![2]]);
        queue.send(1, 6);
        assert!(queue.receive().is_empty());
        queue.settle(&batch[0], 2);
        let again = queue.receive();
        let heads: Vec<_> = again[0].records.iter().map(|record| (record.number, record.receives)).collect();
        assert_eq!(heads, [(3, 2), (4, 1)]);
    }

    #[test]
    fn groups_beyond_the_window_are_not_seen() {
        let mut queue = BoundedQueue::new(WINDOW + 10);
        for number in 0..WINDOW as u64 {
            queue.send(1, number * 4);
        }
        let first = queue.receive();
        queue.send(2, 500_000);
        assert_eq!((queue.depth(), queue.receive().len()), (WINDOW + 1, 0));
        queue.settle(&first[0], 1);
        let groups: Vec<_> = queue.receive().iter().map(|part| part.group).collect();
        assert_eq!(groups, [1]);
        assert_eq!(queue.receive()[0].group, 2, "one has made way");
    }
}

//! The receipt of a record, and whether it holds as long as the invocation that has the record.
//!
//! While a function is throttled, Lambda holds the records that it has received, and may invoke the function when
//! another consumer is about to receive them, or has received them. Two consumers of one FIFO group would work on it
//! at once.

use std::collections::HashMap;

use super::{Queue, QueueError};

/// The visibility timeout of a queue, in timeouts of the function that it feeds, as the template sets it.
const VISIBILITY: u64 = 6;

/// The longest time for which a record that keeps failing is left alone, in seconds: after an outage everything goes on
/// within this time.
const LONGEST_WAIT: u32 = 30;

/// The receipt of a record: one delivery of it. Its times are in milliseconds since the Unix epoch, and 0 if they are
/// not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// The queue's handle on this delivery, with which the record is deleted or made visible again.
    pub handle: String,
    /// The number of times that the queue has delivered the record, this time included.
    pub receives: u32,
    /// When the queue took the record.
    pub queued_at: u64,
    /// When the record was received first.
    pub first_received_at: u64,
}

impl Receipt {
    /// The receipt that a record's handle and attributes tell of.
    #[must_use]
    pub fn of(handle: Option<String>, attributes: &HashMap<String, String>) -> Self {
        let number = |name: &str| attributes.get(name).and_then(|number| number.parse::<u64>().ok());
        Self {
            handle: handle.unwrap_or_default(),
            receives: u32::try_from(number("ApproximateReceiveCount").unwrap_or(1)).unwrap_or(u32::MAX),
            queued_at: number("SentTimestamp").unwrap_or_default(),
            first_received_at: number("ApproximateFirstReceiveTimestamp").unwrap_or_default(),
        }
    }

    /// Seconds after which a record that has failed is tried again: 1, 2, 4 and so on, by how often it was received.
    #[must_use]
    pub fn wait_after_failure(&self) -> u32 {
        (1 << (self.receives.clamp(1, 16) - 1)).min(LONGEST_WAIT)
    }

    /// The earliest time at which it can have been. Of a record that has come back the queue says only when it was
    /// received first.
    fn received_after(&self) -> u64 {
        self.first_received_at.max(self.queued_at)
    }
}

/// The time for which an invocation needs its records.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    now: u64,
    until: u64,
}

impl Hold {
    /// From now to an invocation's deadline, both in milliseconds since the Unix epoch. Now is the invocation's start.
    #[must_use]
    pub fn new(now: u64, deadline: u64) -> Self {
        Self { now, until: deadline.max(now) }
    }

    /// Makes sure that no other consumer has the records of a FIFO group before the invocation has ended. That takes a
    /// call only if they may have been received long ago.
    ///
    /// # Errors
    /// When it is not sure. The queue refuses the handle of a receipt whose visibility timeout is over.
    pub async fn of<'a, Q: Queue>(
        self,
        queue: &Q,
        group: impl Iterator<Item = &'a Receipt> + Clone,
    ) -> Result<(), QueueError> {
        let visibility = VISIBILITY * (self.until - self.now);
        if group.clone().all(|receipt| self.until <= receipt.received_after() + visibility) {
            return Ok(());
        }
        let handles: Vec<String> = group.map(|receipt| receipt.handle.clone()).collect();
        let seconds = u32::try_from(visibility.div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
        queue.postpone(&handles, seconds).await.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::queue::Record;

    /// A queue that refuses the handle `over`.
    #[derive(Default)]
    struct Handles(RefCell<Vec<(Vec<String>, u32)>>);

    impl Queue for Handles {
        async fn send(&self, _: &[Record]) -> Vec<Result<(), QueueError>> {
            unreachable!("nothing is sent")
        }

        async fn postpone(&self, receipt_handles: &[String], seconds: u32) -> Vec<Result<(), QueueError>> {
            self.0.borrow_mut().push((receipt_handles.to_vec(), seconds));
            let refused = QueueError::of_entry("postpone", Some("ReceiptHandleIsInvalid"), None);
            let result = |handle: &String| if handle == "over" { Err(refused.clone()) } else { Ok(()) };
            receipt_handles.iter().map(result).collect()
        }

        async fn delete(&self, _: &[String]) -> Vec<Result<(), QueueError>> {
            unreachable!("nothing is deleted")
        }

        async fn depth(&self) -> Result<u64, QueueError> {
            unreachable!("nobody asks")
        }
    }

    fn receipt(handle: &str, receives: u32, queued_at: u64, first_received_at: u64) -> Receipt {
        Receipt { handle: handle.to_owned(), receives, queued_at, first_received_at }
    }

    /// Whether a function with half a minute, which begins at 1,000,000, holds a group; and the queue's calls.
    async fn hold(group: &[Receipt]) -> (bool, Vec<(Vec<String>, u32)>) {
        let queue = Handles::default();
        let held = Hold::new(1_000_000, 1_030_000).of(&queue, group.iter()).await;
        (held.is_ok(), queue.0.into_inner())
    }

    #[tokio::test]
    async fn what_was_received_lately_is_held_without_a_call() {
        let fresh = [
            receipt("over", 1, 999_000, 999_900),
            receipt("over", 1, 1_000, 850_000),
            receipt("over", 7, 1_000, 850_000),
            receipt("over", 7, 850_000, 0),
        ];
        assert_eq!(hold(&fresh).await, (true, vec![]));
    }

    #[tokio::test]
    async fn without_time_records_are_not_shown_to_another_one() {
        let queue = Handles::default();
        Hold::new(1_000_000, 0).of(&queue, [receipt("held", 2, 1, 1)].iter()).await.unwrap();
        assert_eq!(queue.0.into_inner(), [(vec!["held".to_owned()], 1)]);
    }

    #[tokio::test]
    async fn of_what_may_have_been_received_long_ago_the_queue_is_asked() {
        let fresh = receipt("fresh", 1, 1_000, 999_900);
        let asked = |handle: &str| vec![(vec!["fresh".to_owned(), handle.to_owned()], 180)];
        for (receives, queued_at, first_received_at) in
            [(1, 1_000, 849_999), (2, 1_000, 849_999), (1, 849_999, 0), (1, 0, 0)]
        {
            let old = |handle| [fresh.clone(), receipt(handle, receives, queued_at, first_received_at)];
            assert_eq!(hold(&old("held")).await, (true, asked("held")));
            assert_eq!(hold(&old("over")).await, (false, asked("over")), "another consumer may have it");
        }
    }
}

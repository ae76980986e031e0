//! Events of the bus, through the relay to the queue. A line is the body of a record: an event.

use std::{cell::RefCell, collections::BTreeMap};

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};
use fastrand::Rng;
use ingest::{congestion::CongestionMonitor, relay::RelayFunction};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::json;
use shared::{
    RoomId,
    metrics::Metrics,
    queue::{Queue, QueueError, Record},
};

use super::{
    block_on,
    broadcast::queued,
    frames::{FixedClock, NoCongestion},
};
use crate::promises::{assert_tells, assert_within_limits};

/// Records of a batch.
const BATCH: usize = 20;

const QUEUED_AT: &str = "1800000000000";

/// A queue that takes every record and remembers it.
#[derive(Default)]
struct Recording(RefCell<Vec<Record>>);

impl Queue for &Recording {
    async fn send(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
        self.0.borrow_mut().extend_from_slice(records);
        vec![Ok(()); records.len()]
    }

    async fn postpone(&self, receipt_handles: &[String], _: u32) -> Vec<Result<(), QueueError>> {
        vec![Ok(()); receipt_handles.len()]
    }

    async fn delete(&self, receipt_handles: &[String]) -> Vec<Result<(), QueueError>> {
        vec![Ok(()); receipt_handles.len()]
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Ok(0)
    }
}

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines: Vec<&str> = text.lines().take(BATCH).collect();
    let (queue, dead_letters) = (Recording::default(), Recording::default());
    let mut event = SqsEvent::default();
    event.records = lines.iter().enumerate().map(|(position, body)| record(position, body)).collect();
    let congestion = CongestionMonitor::new(NoCongestion, 0, Rng::with_seed(1));
    let relay = RelayFunction::new(&queue, &dead_letters, congestion, FixedClock);
    let response = block_on(relay.handle(LambdaEvent::new(event, Context::default()), &Metrics::default())).unwrap();
    assert!(response.batch_item_failures.is_empty(), "{response:?}");

    let (records, letters) = (queue.0.into_inner(), dead_letters.0.into_inner());
    assert_eq!(records.len() + letters.len(), lines.len(), "every event goes somewhere");
    for letter in letters {
        assert_tells(&letter.reason.expect("a reason"));
        assert!(RoomId::parse(&letter.group_id).is_ok(), "{}", letter.group_id);
        let position: usize = letter.deduplication_id.parse().unwrap();
        assert_eq!(letter.body, lines[position], "a dead letter is what came");
    }
    let mut versions = BTreeMap::new();
    for Record { group_id, deduplication_id, body, reason, .. } in records {
        let room = RoomId::parse(&group_id).expect("a room");
        let message = queued(&room, &body);
        assert_within_limits(&message);
        assert_eq!((message.to_body(), message.identity().to_deduplication_id()), (body, deduplication_id));
        assert_eq!(reason, None);
        if let Some(version) = message.version {
            let previous = versions.insert(group_id, version);
            assert!(previous <= Some(version), "{previous:?} before {version}");
        }
    }
}

fn record(position: usize, body: &str) -> SqsMessage {
    let record = json!({"messageId": position.to_string(), "body": body, "attributes": {"SentTimestamp": QUEUED_AT}});
    serde_json::from_value(record).unwrap()
}

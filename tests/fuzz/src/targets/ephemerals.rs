//! Records of the queue of ephemeral messages, which producers may write themselves: from a batch to frames.
//!
//! A line is a body.

use std::collections::BTreeMap;

use aws_lambda_events::sqs::SqsMessage;
use fanout::ephemeral::{
    dropped::Dropped,
    newest::{STALE_AFTER, by_room},
    post::Frame,
};
use serde_json::{Value, json};
use shared::{Ephemeral, limits::FRAME_BYTES, metrics::Metrics};

use crate::promises::{assert_ephemeral_within_limits, assert_tells, value};

/// Records of a batch.
const BATCH: usize = 1_000;

const NOW: u64 = 1_800_000_000_000;

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let bodies: Vec<&str> = text.lines().take(BATCH).collect();
    for body in &bodies {
        match Ephemeral::read(body, NOW) {
            Ok(message) => {
                assert_ephemeral_within_limits(&message);
                assert_eq!(Ephemeral::read(&message.to_body(), 0).unwrap().to_body(), message.to_body());
            }
            Err(error) => assert_tells(&error.to_string()),
        }
    }
    assert_posted(&bodies, NOW);
    assert_posted(&bodies, NOW - STALE_AFTER - 1);
}

fn record(body: &str, queued_at: u64) -> SqsMessage {
    serde_json::from_value(json!({"body": body, "attributes": {"SentTimestamp": queued_at.to_string()}})).unwrap()
}

/// Asserts that a batch becomes a frame for each room with the newest message of each sender and key, and that all
/// other messages are counted.
pub(super) fn assert_posted(bodies: &[&str], queued_at: u64) {
    let metrics = Metrics::default();
    let rooms = by_room(bodies.iter().map(|body| record(body, queued_at)).collect(), NOW, &metrics);
    let dropped = |cause: Dropped| metrics.count(cause.counter());
    let kept: usize = rooms.iter().map(|room| room.messages.len()).sum();
    let left_out = [Dropped::Broken, Dropped::Old, Dropped::Superseded].map(dropped).iter().sum::<u64>();
    assert_eq!(kept as u64 + left_out, bodies.len() as u64, "every message is posted or counted");

    // The expected messages, computed as plainly as possible: the newest time of each room, sender and key, but no
    // later than the queue's.
    let mut newest: BTreeMap<_, u64> = BTreeMap::new();
    let messages = bodies.iter().filter_map(|body| Ephemeral::read(body, queued_at).ok());
    for message in messages {
        let sent_at = message.sent_at.min(queued_at);
        if sent_at + STALE_AFTER >= NOW {
            let of = newest.entry((message.room.to_string(), message.from, message.key)).or_default();
            *of = sent_at.max(*of);
        }
    }
    assert_eq!(newest.len(), kept);
    for room in &rooms {
        let frame = Frame::of(room);
        assert!(frame.encoded.body().len() <= FRAME_BYTES && frame.messages > 0);
        let read = value(str::from_utf8(frame.encoded.body()).unwrap());
        assert_eq!((&read["type"], &read["roomId"]), (&"ephemeral".into(), &room.room.as_str().into()));
        let entries = read["ephemeral"].as_array().unwrap();
        assert_eq!(entries.len() as u64, frame.messages);
        assert!(entries.is_sorted_by(|one, next| one["sentAt"].as_u64() >= next["sentAt"].as_u64()));
        for entry in entries {
            let text = |name: &str| entry[name].as_str().map(str::to_owned);
            let at = newest.get(&(room.room.to_string(), text("from").unwrap(), text("key")));
            assert_eq!(entry["sentAt"].as_u64().as_ref(), at, "{entry}");
            let names: Vec<&String> = entry.as_object().unwrap().keys().collect();
            assert!(names.iter().all(|name| ["from", "sentAt", "key", "data"].contains(&name.as_str())), "{names:?}");
            assert_ne!(entry.get("data"), None::<&Value>);
        }
    }
}

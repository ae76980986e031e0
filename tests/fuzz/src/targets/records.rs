//! Records of the queue, which producers may write themselves: through the fan-out, from a batch to frames.
//!
//! A line is a record: `group|body`, or only a body of the group `r`.

use std::num::NonZeroU16;

use aws_lambda_events::sqs::SqsMessage;
use fanout::batch::{self, Group, Job, JobRecord};
use fanout::presence::{self, PresenceJob};
use serde_json::json;
use shared::{Message, limits::FRAME_BYTES, message::Identity};

use super::{broadcast::broadcast, shard_jobs::check_job};
use crate::promises::{assert_tells, assert_within_limits};

/// Records of a batch.
const BATCH: usize = 10;

const QUEUED_AT: u64 = 1_800_000_000_000;

const TWO: NonZeroU16 = NonZeroU16::new(2).unwrap();

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines: Vec<(&str, &str)> =
        text.lines().take(BATCH).map(|line| line.split_once('|').unwrap_or(("r", line))).collect();
    let records: Vec<SqsMessage> =
        lines.iter().enumerate().map(|(position, (group, body))| record(position, group, body)).collect();
    let groups = batch::read(records).unwrap();
    assert_eq!(groups.iter().map(|group| group.records.len()).sum::<usize>(), lines.len(), "every record has a job");
    for group in groups {
        check_group(group, &lines);
    }
}

fn record(position: usize, group: &str, body: &str) -> SqsMessage {
    serde_json::from_value(json!({
        "messageId": position.to_string(), "body": body, "receiptHandle": "h",
        "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": "1", "SentTimestamp": QUEUED_AT.to_string()},
    }))
    .unwrap()
}

fn check_group(group: Group, lines: &[(&str, &str)]) {
    let positions: Vec<usize> = group.records.iter().map(|record| record.id.parse().unwrap()).collect();
    assert!(positions.is_sorted() && positions.iter().all(|position| lines[*position].0 == group.id));
    for letter in (0..group.records.len()).flat_map(|first| group.dead_letters_from(first)) {
        assert_eq!(letter.group_id, group.id);
        assert_tells(&letter.reason.expect("a reason"));
        let position: usize = letter.deduplication_id.parse().unwrap();
        assert_eq!(letter.body, lines[position].1, "a dead letter is what came");
    }
    let batch = group.messages();
    assert!(batch.is_none_or(|batch| batch.oldest <= QUEUED_AT && !batch.redelivered));

    let mut messages: Vec<Message> = Vec::new();
    for JobRecord { job, .. } in group.records {
        match job {
            Job::Message(message) => {
                assert_within_limits(&message);
                assert_eq!(message.room.as_str(), group.id);
                messages.push(message);
            }
            Job::Shard(job) => check_job(&job, &group.id),
            Job::Presence(job) => check_presence(&job, &group.id),
            Job::DeadLetter { .. } => {}
        }
    }
    check_identities(&messages);
    if let Some(Message { room, .. }) = messages.first() {
        let room = room.clone();
        broadcast(&room, messages);
    }
}

/// Asserts that a publication goes out in one frame that fits, and passes the shard queue unchanged.
fn check_presence(PresenceJob { room, shard, publication }: &PresenceJob, group_id: &str) {
    let group = shard.map_or_else(|| room.to_string(), |shard| format!("{room}/{}", shard.number));
    assert_eq!(group, group_id);
    assert!(presence::frame(room, publication).body().len() <= FRAME_BYTES);
    for record in presence::records(room, publication, TWO, None) {
        let read = PresenceJob::read(&record.body, &record.group_id).unwrap();
        assert_eq!((&read.room, &read.publication), (room, publication));
    }
}

/// Asserts that two messages are the same if and only if sender and id are, even when the two are cut out of the same
/// text in different ways.
fn check_identities(messages: &[Message]) {
    for one in messages {
        for other in messages {
            let is_same = (&one.from, &one.id) == (&other.from, &other.id);
            assert_eq!(one.identity() == other.identity(), is_same, "{one:?} {other:?}");
            let ids = [one.identity().to_deduplication_id(), other.identity().to_deduplication_id()];
            assert_eq!(ids[0] == ids[1], is_same);
        }
        let Message { from, id, .. } = one;
        let joined = format!("{from}{id}");
        for (cut, _) in joined.char_indices().filter(|(cut, _)| *cut != from.len()) {
            assert_ne!(Identity::of(&joined[..cut], &joined[cut..]), one.identity());
        }
    }
}

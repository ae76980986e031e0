//! Messages on their way to a room's connections: numbered, encoded, and cut into jobs for shards.

use std::num::NonZeroU16;

use fanout::{
    batch::{self, Job},
    frame::{EncodedFrame, encode::encode, repack::repack},
    shard::{self, ShardJob, first_job},
};
use serde_json::{Value, json};
use shared::{LoggedMessage, Message, RoomId};

use crate::promises::assert_broadcasts;

/// Shards into which a broadcast is cut.
const SHARDS: NonZeroU16 = NonZeroU16::new(4).unwrap();

/// Broadcasts messages of a room, and asserts that everything arrives once and in order, directly and through the shard
/// queue. Every seventh number belongs to another message.
pub(super) fn broadcast(room: &RoomId, messages: Vec<Message>) {
    let numbers = (1_700_000_000_000_000_u64..).filter(|number| number % 7 > 0);
    let logged: Vec<_> = numbers.zip(messages).map(|(seq, message)| LoggedMessage { seq, message }).collect();
    let frames = encode(room, &logged);
    assert_covers(&frames, room, &logged);

    let mut left = frames.as_slice();
    let mut through_shards = Vec::new();
    while !left.is_empty() {
        let job = first_job(left);
        for (number, record) in shard::records(room, job, SHARDS, None).enumerate() {
            let read = ShardJob::read(&record.body, &record.group_id).unwrap();
            assert_eq!((usize::from(read.shard.number), read.shard.of, &read.room), (number, SHARDS, room));
            assert_eq!(read.last_number(), job[job.len() - 1].last());
            if number == 0 {
                through_shards.extend(read.frames);
            }
        }
        left = &left[job.len()..];
    }
    assert_covers(&repack(room, &through_shards, 0), room, &logged);
}

/// Asserts that frames stand for all of the messages' numbers, ascending, and for no others.
fn assert_covers(frames: &[EncodedFrame], room: &RoomId, logged: &[LoggedMessage]) {
    let covered = frames.iter().flat_map(|frame| {
        let (from, up_to) = assert_broadcasts(frame.body(), room, logged);
        assert_eq!(frame.last(), up_to);
        from..=up_to
    });
    assert!(covered.eq(logged.iter().map(|logged| logged.seq)), "{logged:?}");
}

/// A message as the fan-out reads it from the queue.
pub(super) fn queued(room: &RoomId, body: &str) -> Message {
    let record: Value = json!({"messageId": "q", "body": body, "attributes": {"MessageGroupId": room.as_str()}});
    let mut groups = batch::read(vec![serde_json::from_value(record).unwrap()]).unwrap();
    match groups.remove(0).records.remove(0).job {
        Job::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

//! Jobs of the shard queue: `group|body`, or only a body of the group `r/0`.

use std::collections::HashMap;

use fanout::{
    frame::repack::repack,
    shard::{MOST_SHARDS, ShardJob},
};

use serde_json::value::RawValue;

use crate::promises::assert_tells;

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (group, body) = text.split_once('|').unwrap_or(("r/0", &text));
    match ShardJob::read(body, group) {
        Ok(job) => check_job(&job, group),
        Err(error) => assert_tells(&error.to_string()),
    }
}

/// Asserts that a job belongs to its group, and that the frames posted for it ascend from any point where the shard may
/// resume.
pub(super) fn check_job(job: &ShardJob, group: &str) {
    let ShardJob { room, shard, frames } = job;
    assert_eq!(group, format!("{room}/{}", shard.number));
    let slots = shard.slots();
    assert!(shard.of.get() <= MOST_SHARDS && slots.start() <= slots.end());
    assert_eq!(u32::from(slots.end() - slots.start()) + 1, 65_536 / u32::from(shard.of.get()));
    let bounds = frames.iter().flat_map(|frame| [frame.first(), frame.last()]);
    for done in bounds.chain([0]) {
        let mut covered = 0;
        for frame in repack(room, frames, done) {
            let read = fields(str::from_utf8(frame.body()).unwrap());
            assert_eq!((read["type"], read["roomId"]), (r#""messages""#, format!("\"{room}\"").as_str()));
            let entries: Vec<&RawValue> = serde_json::from_str(read["messages"]).unwrap();
            let numbers: Vec<u64> = entries.iter().map(|entry| fields(entry.get())["seq"].parse().unwrap()).collect();
            let up_to = read.get("seq").map_or(numbers[numbers.len() - 1], |seq| seq.parse().unwrap());
            assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
            assert!(up_to > done.max(covered) && up_to == frame.last(), "{numbers:?} after {covered}");
            covered = up_to;
        }
        assert_eq!(covered, if job.last_number() > done { job.last_number() } else { 0 });
    }
}

/// An object's fields as text; the content of messages is up to the producer of the job.
fn fields(json: &str) -> HashMap<String, &str> {
    let fields: HashMap<String, &RawValue> = serde_json::from_str(json).unwrap();
    fields.into_iter().map(|(name, value)| (name, value.get())).collect()
}

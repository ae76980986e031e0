//! Jobs of the shard queue: `group|body`, or only a body of the group `r/0`.

use fanout::{
    frame::repack::repack,
    shard::{MOST_SHARDS, ShardJob},
};

use crate::promises::{assert_tells, value};

pub(super) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (group, body) = text.split_once('|').unwrap_or(("r/0", &text));
    match ShardJob::read(body, group) {
        Ok(job) => check_job(&job, group),
        Err(error) => assert_tells(&error.to_string()),
    }
}

/// Asserts that a job is one of its group's, and that what is posted of it ascends, from wherever the shard goes on.
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
            let read = value(str::from_utf8(frame.body()).unwrap());
            assert_eq!((&read["type"], &read["roomId"]), (&"messages".into(), &room.as_str().into()));
            let numbers: Vec<u64> =
                read["messages"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
            let up_to = read["seq"].as_u64().unwrap_or(numbers[numbers.len() - 1]);
            assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
            assert!(up_to > done.max(covered) && up_to == frame.last(), "{numbers:?} after {covered}");
            covered = up_to;
        }
        assert_eq!(covered, if job.last_number() > done { job.last_number() } else { 0 });
    }
}

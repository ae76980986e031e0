//! Shards: the ranges of slots that a large room is cut into, and the jobs on the shard queue, each with frames for one
//! shard.
//!
//! Each shard has a FIFO group of its own, `{room}/{shard}`: one connection's frames stay in order, and a broadcast to
//! a hundred thousand connections runs on several environments at once. The frames in a job are numbered and encoded.

use std::{num::NonZeroU16, ops::RangeInclusive};

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{
    RoomId, json::FieldError, message::Identity, queue::Record, text::escape_noncharacters, trace::TraceHeader,
};

use crate::frame::{EncodedFrame, repack::JobFrame};

/// The most shards of a room: 2^8 ranges of 2^8 slots.
pub const MOST_SHARDS: u16 = 256;

/// The number of all slots.
const SLOTS: u32 = 1 << 16;

/// The most bytes of frames in one job: a frame of the largest size always fits, and the job fits 256 KiB, the record
/// size of SQS before August 2025.
const JOB_BYTES: usize = 200 * 1024;

/// One of the shards that a room is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The shard's number, from 0.
    pub number: u16,
    /// The number of shards of the room: a power of two.
    pub of: NonZeroU16,
}

/// The part of a broadcast that is for one shard.
#[derive(Clone, Debug)]
pub struct ShardJob {
    /// The room.
    pub room: RoomId,
    /// The shard.
    pub shard: Shard,
    /// The frames for it, in order.
    pub frames: Vec<JobFrame>,
}

/// The body of a job's record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    room_id: &'a str,
    shard: ShardBody,
    #[serde(borrow)]
    frames: Vec<&'a RawValue>,
}

/// A shard as a job names it.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum ShardBody {
    Numbered {
        number: u16,
        of: NonZeroU16,
    },
    /// The form of version 1, of which jobs may still wait in the rooms' queue.
    Slots {
        first: u16,
        last: u16,
    },
}

impl ShardBody {
    /// The shard.
    pub(crate) fn checked(self) -> Result<Shard, FieldError> {
        let range = || format!("must have `of`, a power of two up to {MOST_SHARDS}, and `number` below it");
        self.shard().ok_or_else(|| FieldError::invalid("shard", range()))
    }

    /// The shard; `None` unless it is one of a power of two.
    fn shard(&self) -> Option<Shard> {
        let shard = match *self {
            Self::Numbered { number, of } => Shard { number, of },
            Self::Slots { first, last } => {
                let width = u32::from(last.checked_sub(first)?) + 1;
                let of = NonZeroU16::new(u16::try_from(SLOTS / width).ok()?)?;
                Shard { number: u16::try_from(u32::from(first) / width).ok()?, of }
            }
        };
        let is_shard = shard.of.is_power_of_two() && shard.of.get() <= MOST_SHARDS && shard.number < shard.of.get();
        let is_same = match *self {
            Self::Numbered { .. } => true,
            Self::Slots { first, last } => is_shard && shard.slots() == (first..=last),
        };
        (is_shard && is_same).then_some(shard)
    }
}

impl Shard {
    /// The slots of the shard.
    #[must_use]
    pub fn slots(self) -> RangeInclusive<u16> {
        let width = SLOTS / u32::from(self.of.get());
        let bound = |slot: u32| u16::try_from(slot).unwrap_or(u16::MAX);
        let first = u32::from(self.number) * width;
        bound(first)..=bound(first + width - 1)
    }
}

/// A record with the same frames for each of `shards` shards, all of one trace. The records are made one by one, since
/// all of them together are many times the size of the frames.
pub fn records<'a>(
    room: &'a RoomId,
    frames: &[EncodedFrame],
    shards: NonZeroU16,
    trace: Option<&'a TraceHeader>,
) -> impl Iterator<Item = Record> + 'a {
    let hashes: String = frames.iter().map(EncodedFrame::sha256).collect();
    // Frames are JSON, which is UTF-8.
    let bodies: Vec<_> = frames.iter().map(|frame| String::from_utf8_lossy(frame.body())).collect();
    let frames = escape_noncharacters(bodies.join(","));
    (0..shards.get()).map(move |number| {
        let group_id = format!("{room}/{number}");
        // The id is the same for the same frames and slots, so that a redelivered batch does not enqueue them twice.
        let identity = Identity::of(&format!("{group_id} of {shards}"), &hashes);
        // A room id contains no characters that JSON would escape.
        let body =
            format!(r#"{{"v":2,"roomId":"{room}","shard":{{"number":{number},"of":{shards}}},"frames":[{frames}]}}"#);
        Record { group_id, deduplication_id: identity.to_deduplication_id(), body, reason: None, trace: trace.cloned() }
    })
}

/// The first frames that fit one job together; at least one.
#[must_use]
pub fn first_job(frames: &[EncodedFrame]) -> &[EncodedFrame] {
    let totals = frames.iter().scan(0, |bytes, frame| {
        *bytes += frame.body().len();
        Some(*bytes)
    });
    let fitting = totals.take_while(|bytes| *bytes <= JOB_BYTES).count().max(1);
    &frames[..fitting.min(frames.len())]
}

impl ShardJob {
    /// The last number that the job's frames stand for.
    #[must_use]
    pub fn last_number(&self) -> u64 {
        self.frames.iter().map(JobFrame::last).max().unwrap_or_default()
    }

    /// Reads a job of a group.
    ///
    /// # Errors
    /// When the body is not one that [`records`] makes for the group.
    pub fn read(body: &str, group_id: &str) -> Result<Self, FieldError> {
        let body: Body<'_> = serde_json::from_str(body)
            .map_err(|_| FieldError::invalid("shard", "must be that of a shard job, with its frames"))?;
        let room = RoomId::parse(body.room_id).map_err(|error| FieldError::invalid("roomId", error))?;
        let shard = body.shard.checked()?;
        if group_id != format!("{room}/{}", shard.number) {
            return Err(FieldError::invalid("shard", "is not that of the record's MessageGroupId"));
        }
        let frames = body.frames.iter().map(|frame| JobFrame::read(&room, frame.get())).collect::<Option<Vec<_>>>();
        match frames {
            Some(frames) if !frames.is_empty() => Ok(Self { room, shard, frames }),
            _ => Err(FieldError::invalid("frames", "must be broadcast frames")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: NonZeroU16 = NonZeroU16::new(4).unwrap();

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    #[test]
    fn every_slot_is_in_one_shard() {
        for of in [1, 2, 16, 256].map(|of| NonZeroU16::new(of).unwrap()) {
            let all: Vec<u16> = (0..of.get()).flat_map(|number| Shard { number, of }.slots()).collect();
            assert!(all.iter().copied().eq(0..=u16::MAX));
        }
    }

    #[test]
    fn a_record_reads_back_as_the_same_job() {
        let frame = |seq: u64, bytes: usize| {
            let (id, data) = ('\u{fffe}', "y".repeat(bytes));
            EncodedFrame::new(format!(r#"{{"messages":[{{"seq":{seq},"id":"{id}","data":"{data}"}}]}}"#).into())
        };
        let frames = [frame(1, 10), frame(2, 120_000), frame(3, 120_000), frame(4, 5)];
        // At most 200 KiB in a job.
        assert_eq!((first_job(&frames).len(), first_job(&frames[2..]).len(), first_job(&[]).len()), (2, 2, 0));
        let of_all = |frames: &[EncodedFrame]| records(&room(), frames, FOUR, None).collect::<Vec<_>>();
        let records = [of_all(&frames[..2]), of_all(&frames[2..])].concat();
        assert!(records.iter().all(|record| !record.body.contains('\u{fffe}')));
        assert_eq!(records.len(), 8);
        let of_last = records.iter().filter(|record| record.group_id == "r/3");
        let jobs: Vec<_> = of_last.map(|record| ShardJob::read(&record.body, "r/3").unwrap()).collect();
        assert!(jobs.iter().all(|job| job.room == room() && job.shard.slots() == (49_152..=65_535)));
        let numbers: Vec<_> =
            jobs.iter().flat_map(|job| &job.frames).map(|frame| (frame.first(), frame.last())).collect();
        assert_eq!(numbers, [(1, 1), (2, 2), (3, 3), (4, 4)]);
        let ids: std::collections::HashSet<_> = records.iter().map(|record| &record.deduplication_id).collect();
        assert_eq!(ids.len(), 8);
    }

    #[test]
    fn a_job_that_is_none_is_refused() {
        let body = r#"{"roomId":"r","shard":{"number":1,"of":4},"frames":[{"messages":[{"seq":1}]}]}"#;
        let refusal = |body: &str| ShardJob::read(body, "r/1").unwrap_err().to_string();
        assert!(ShardJob::read(body, "r/1").is_ok());
        assert!(ShardJob::read(body, "r/2").is_err() && ShardJob::read(body, "r").is_err());
        assert!(refusal(&body.replace("\"of\":4", "\"of\":3")).contains("power of two"));
        assert!(refusal(&body.replace("\"of\":4", "\"of\":1")).contains("power of two"));
        assert!(refusal(&body.replace("\"of\":4", "\"of\":0")).contains("shard job"));
        let of_slots = |first: u16, last: u16| {
            ShardJob::read(&body.replace("\"number\":1,\"of\":4", &format!("\"first\":{first},\"last\":{last}")), "r/1")
        };
        assert_eq!(of_slots(16_384, 32_767).unwrap().shard, Shard { number: 1, of: FOUR }, "as version 1 wrote it");
        assert!(of_slots(16_384, 32_768).is_err() && of_slots(9, 8).is_err() && of_slots(0, u16::MAX).is_err());
        assert!(refusal(&body.replace("{\"messages\":[{\"seq\":1}]}", "")).contains("`frames`"));
        assert!(refusal(&body.replace("\"seq\":1", "\"no\":1")).contains("`frames`"));
    }
}

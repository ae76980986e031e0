//! Large rooms: their broadcasts are cut into shards, ranges of slots that never move, and enqueued again on the same
//! queue. Each shard has a group of its own, so one connection's frames stay in order, and a broadcast to a hundred
//! thousand connections runs on several environments at once. The frames are numbered and encoded already.

use std::{cell::RefCell, collections::HashMap, ops::RangeInclusive};

use serde_json::value::RawValue;
use shared::{
    RoomId,
    fields::{FieldError, Fields},
    message::Identity,
    queue::Record,
    store::connections::Member,
    text::escape_noncharacters,
};

use crate::encode::{Frame, is_encoded};

/// Shards of a room at the most: 2^8 ranges of 2^8 slots.
const MOST_SHARDS: u32 = 256;

/// Slots in all.
const SLOTS: u32 = 1 << 16;

/// Bytes of frames in one job: one frame of the largest size always fits, and so does the record into SQS's limit of old.
const JOB_BYTES: usize = 200 * 1024;

/// Rooms whose number of shards is remembered while the environment is warm.
const REMEMBERED: usize = 1_024;

/// A part of a broadcast.
#[derive(Clone, Debug)]
pub struct ShardJob {
    /// The room.
    pub room: RoomId,
    /// Which of its connections.
    pub slots: RangeInclusive<u16>,
    /// What they are to get, in order.
    pub frames: Vec<Frame>,
}

/// Decides which rooms are cut, and into how many shards.
#[derive(Debug)]
pub struct Sharding {
    /// Connections of a shard at the most; 0 is no sharding.
    size: u64,
    /// What was decided last for a room: near a threshold, an estimate would go to and fro, and with it the order
    /// in which a client receives.
    decided: RefCell<HashMap<RoomId, u32>>,
}

impl Sharding {
    /// Shards of at most `size` connections; 0 is no sharding.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size, decided: RefCell::default() }
    }

    /// How many shards a room is cut into, judged by the first page of its members: slots are evenly spread, so the
    /// last one on the page says how much of the room it is. 1 is a room that is not cut.
    #[must_use]
    pub fn decide(&self, room: &RoomId, first_page: &[Member], is_all: bool) -> u32 {
        if self.size == 0 {
            return 1;
        }
        let mut decided = self.decided.borrow_mut();
        let before = decided.get(room).copied().unwrap_or(1);
        let shards = shards(estimate(first_page, is_all), self.size, before);
        if shards == 1 {
            decided.remove(room);
        } else {
            if decided.len() >= REMEMBERED {
                decided.clear();
            }
            decided.insert(room.clone(), shards);
        }
        shards
    }
}

/// Connections in the room.
fn estimate(first_page: &[Member], is_all: bool) -> u64 {
    let read = first_page.len() as u64;
    match first_page.last() {
        Some(last) if !is_all => read * u64::from(SLOTS) / (u64::from(last.connection.slot()) + 1),
        _ => read,
    }
}

/// The number of shards: a power of two, so that growing splits shards and shrinking joins them. It is raised when
/// shards would be larger than `size`, and lowered only when half as many would be well below.
fn shards(connections: u64, size: u64, before: u32) -> u32 {
    let needed = connections.div_ceil(size).next_power_of_two().min(MOST_SHARDS.into());
    let needed = u32::try_from(needed).unwrap_or(MOST_SHARDS);
    let would_be_tight = connections * 5 > u64::from(before / 2) * size * 4;
    if needed < before && would_be_tight { before } else { needed }
}

/// The slots of one of `shards` shards.
fn slots(shard: u32, shards: u32) -> RangeInclusive<u16> {
    let width = SLOTS / shards;
    let first = u16::try_from(shard * width).unwrap_or(u16::MAX);
    let last = u16::try_from((shard + 1) * width - 1).unwrap_or(u16::MAX);
    first..=last
}

/// The records of a broadcast that is cut into `shards` shards, those of one shard in order. Made one by one: together they
/// may be many times the size of the broadcast.
pub fn records<'a>(room: &'a RoomId, frames: &'a [Frame], shards: u32) -> impl Iterator<Item = Record> + 'a {
    chunks(frames).into_iter().flat_map(move |chunk| {
        let hashes: String = chunk.iter().map(Frame::sha256).collect();
        // The encoder makes JSON, which is UTF-8.
        let bodies: Vec<_> = chunk.iter().map(|frame| String::from_utf8_lossy(frame.body())).collect();
        let frames = escape_noncharacters(bodies.join(","));
        (0..shards).map(move |shard| {
            let slots = slots(shard, shards);
            let (first, last) = (slots.start(), slots.end());
            let group_id = format!("{room}/{shard}");
            let identity = Identity::of(&format!("{group_id}:{slots:?}"), &hashes);
            // A room id has no characters that JSON escapes.
            let body =
                format!(r#"{{"v":1,"roomId":"{room}","shard":{{"first":{first},"last":{last}}},"frames":[{frames}]}}"#);
            Record { group_id, deduplication_id: identity.to_deduplication_id(), body, reason: None }
        })
    })
}

/// Frames that fit one job together.
fn chunks(frames: &[Frame]) -> Vec<&[Frame]> {
    let mut chunks = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (index, frame) in frames.iter().enumerate() {
        if index > start && bytes + frame.body().len() > JOB_BYTES {
            chunks.push(&frames[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += frame.body().len();
    }
    chunks.push(&frames[start..]);
    chunks
}

impl ShardJob {
    /// Reads a job, if the record is one: it has a field `shard`.
    #[must_use]
    pub fn read(fields: &Fields<'_>, group_id: &str) -> Option<Result<Self, FieldError>> {
        fields.raw("shard").map(|shard| Self::read_from(fields, shard.get(), group_id))
    }

    fn read_from(fields: &Fields<'_>, shard: &str, group_id: &str) -> Result<Self, FieldError> {
        let room = fields.room()?;
        let of_room = group_id.strip_prefix(room.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if !of_room {
            return Err(FieldError::Invalid("roomId", format!("is not that of the MessageGroupId, {group_id:?}")));
        }
        let bounds = Fields::parse(shard)?;
        let bound = |name: &'static str| {
            let slot = bounds.integer(name, 0, u16::MAX.into())?.ok_or(FieldError::Missing(name))?;
            Ok::<u16, FieldError>(u16::try_from(slot).unwrap_or(u16::MAX))
        };
        let slots = bound("first")?..=bound("last")?;
        if slots.is_empty() {
            return Err(FieldError::Invalid("shard", "must have `first` no larger than `last`".to_owned()));
        }
        let raw = fields.raw("frames").ok_or(FieldError::Missing("frames"))?;
        let frames: Vec<&RawValue> = serde_json::from_str(raw.get())
            .map_err(|_| FieldError::Invalid("frames", "must be an array of frames".to_owned()))?;
        let frames: Vec<_> = frames.into_iter().map(|frame| Frame::new(frame.get().to_owned().into())).collect();
        if frames.is_empty() || !frames.iter().all(is_encoded) {
            return Err(FieldError::Invalid("frames", "must be broadcast frames".to_owned()));
        }
        Ok(Self { room, slots, frames })
    }
}

#[cfg(test)]
mod tests {
    use shared::ConnectionId;

    use super::*;

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    fn members(count: usize) -> Vec<Member> {
        let member = |n| Member { connection: ConnectionId::new(&format!("c{n}")), joined_at: 0, expires_at: 0 };
        let mut members: Vec<_> = (0..count).map(member).collect();
        members.sort_by_key(|member| member.connection.slot());
        members
    }

    #[test]
    fn the_first_page_tells_the_size_of_the_room() {
        let all = members(20_000);
        assert_eq!(estimate(&all[..500], true), 500);
        let estimated = estimate(&all[..1_000], false);
        assert!((18_000..22_000).contains(&estimated), "{estimated}");
        assert_eq!(estimate(&[], true), 0);
    }

    #[test]
    fn shards_are_as_many_as_needed_and_do_not_go_to_and_fro() {
        assert_eq!(shards(10_000, 10_000, 1), 1);
        assert_eq!(shards(10_001, 10_000, 1), 2);
        assert_eq!(shards(100_000, 10_000, 1), 16);
        assert_eq!(shards(9_000, 10_000, 2), 2);
        assert_eq!(shards(8_000, 10_000, 2), 1);
        assert_eq!(shards(75_000, 10_000, 16), 16);
        assert_eq!(shards(60_000, 10_000, 16), 8);
        assert_eq!(shards(u64::MAX / 8, 100, 1), 256);
        assert_eq!(Sharding::new(0).decide(&room(), &members(9), true), 1);
        assert_eq!(Sharding::new(4).decide(&room(), &members(9), true), 4);
    }

    #[test]
    fn every_slot_is_in_one_shard() {
        for count in [1, 2, 16, 256] {
            let all: Vec<u16> = (0..count).flat_map(|shard| slots(shard, count)).collect();
            assert!(all.iter().copied().eq(0..=u16::MAX));
        }
    }

    #[test]
    fn a_record_reads_back_as_the_same_job() {
        let frame = |bytes: usize| {
            let (id, data) = ('\u{fffe}', "y".repeat(bytes));
            let body = format!(r#"{{"messages":[{{"seq":1,"id":"{id}","data":"{data}"}}]}}"#);
            Frame::new(body.into())
        };
        let frames = [frame(10), frame(120_000), frame(120_000), frame(5)];
        let records: Vec<_> = records(&room(), &frames, 4).collect();
        assert!(records.iter().all(|record| !record.body.contains('\u{fffe}')));
        // Two jobs of at most 200 KiB for each of four shards, and each shard's in order.
        assert_eq!(records.len(), 8);
        let of_shard = |group: &str| {
            let jobs = records
                .iter()
                .filter(|record| record.group_id == group)
                .map(|record| ShardJob::read(&Fields::parse(&record.body).unwrap(), group).unwrap().unwrap());
            jobs.collect::<Vec<_>>()
        };
        let jobs = of_shard("r/3");
        assert!(jobs.iter().all(|job| job.room == room() && job.slots == (49_152..=65_535)));
        let value = |frame: &Frame| serde_json::from_slice::<serde_json::Value>(frame.body()).unwrap();
        let sent: Vec<_> = jobs.iter().flat_map(|job| &job.frames).map(value).collect();
        assert_eq!(sent, frames.iter().map(value).collect::<Vec<_>>());
        let ids: std::collections::HashSet<_> = records.iter().map(|record| &record.deduplication_id).collect();
        assert_eq!(ids.len(), 8);
    }

    #[test]
    fn a_job_in_another_rooms_group_is_refused() {
        let body = r#"{"roomId":"r","shard":{"first":0,"last":9},"frames":[{"messages":[{"seq":1}]}]}"#;
        let read = |group| ShardJob::read(&Fields::parse(body).unwrap(), group).unwrap();
        assert!(read("r/0").is_ok());
        let read_text = |body: &str| ShardJob::read(&Fields::parse(body).unwrap(), "r/0").unwrap();
        assert!(read_text(&body.replace("\"first\":0", "\"first\":10")).is_err());
        assert!(read_text(&body.replace("{\"messages\":[{\"seq\":1}]}", "")).is_err());
        assert!(read_text(&body.replace("\"seq\":1", "\"no\":1")).is_err());
        assert!(read("r").is_err() && read("room/0").is_err());
        assert!(ShardJob::read(&Fields::parse("{}").unwrap(), "r").is_none());
    }
}

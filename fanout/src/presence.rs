//! Presence frames: publications on their way to a room's connections. They are not logged and have no numbers. A lost
//! one is made up for by the next one, which says which revision it follows, or by a client's `sync`.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
use shared::{
    RoomId,
    json::{self, FieldError},
    limits::FRAME_BYTES,
    message::Identity,
    presence::{Change, Publication},
    queue::Record,
    trace::TraceHeader,
};

use crate::{
    frame::EncodedFrame,
    shard::{Shard, ShardBody},
};

/// A publication that is to be posted to a room, or to a shard of it.
#[derive(Clone, Debug)]
pub struct PresenceJob {
    /// The room.
    pub room: RoomId,
    /// The shard of the room; `None` means all connections.
    pub shard: Option<Shard>,
    /// The publication.
    pub publication: Publication,
}

/// The part of a job's body that names a shard.
#[derive(Deserialize)]
struct Destination {
    shard: Option<ShardBody>,
}

#[derive(Serialize)]
struct Numbered {
    number: u16,
    of: NonZeroU16,
}

impl PresenceJob {
    /// Reads a job of a group.
    ///
    /// # Errors
    /// When the body is not one that a publication or [`records`] makes for the group.
    pub fn read(body: &str, group_id: &str) -> Result<Self, FieldError> {
        let (room, publication) = Publication::read(body)?;
        let Destination { shard } = json::read(body)?;
        let shard = shard.map(ShardBody::checked).transpose()?;
        let group = shard.map_or_else(|| room.to_string(), |shard| format!("{room}/{}", shard.number));
        if group_id != group {
            return Err(FieldError::invalid("roomId", "is not the record's MessageGroupId"));
        }
        Ok(Self { room, shard, publication })
    }
}

/// All publications of a group merged into one; `None` when there are none.
#[must_use]
pub fn merge<'a>(jobs: impl IntoIterator<Item = &'a PresenceJob>) -> Option<PresenceJob> {
    let mut jobs = jobs.into_iter();
    let mut merged = jobs.next()?.clone();
    for next in jobs {
        merged.publication = merged.publication.merge(next.publication.clone());
        merged.shard = next.shard;
    }
    Some(merged)
}

/// The frame of a publication. If merged publications are too large for a frame, it tells clients to ask for the list.
#[must_use]
pub fn frame(room: &RoomId, publication: &Publication) -> EncodedFrame {
    let frame = publication.to_frame(room);
    if frame.len() <= FRAME_BYTES {
        return EncodedFrame::presence(frame.into());
    }
    let reload = Publication { change: Change::Reload, ..publication.clone() };
    EncodedFrame::presence(reload.to_frame(room).into())
}

/// A record with a publication for each of `shards` shards.
#[must_use]
pub fn records(
    room: &RoomId,
    publication: &Publication,
    shards: NonZeroU16,
    trace: Option<&TraceHeader>,
) -> Vec<Record> {
    let record = |number: u16| {
        let group_id = format!("{room}/{number}");
        let body = publication.to_body(room, Some(Numbered { number, of: shards }));
        // The id is the same for the same publication and slots, so that a redelivered batch does not enqueue it twice.
        let identity = Identity::of(&format!("presence of {group_id} of {shards}"), &body);
        Record { group_id, deduplication_id: identity.to_deduplication_id(), body, reason: None, trace: trace.cloned() }
    };
    (0..shards.get()).map(record).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use shared::presence::{ListedMember, MemberData};

    use super::*;

    const FOUR: NonZeroU16 = NonZeroU16::new(4).unwrap();

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    fn publication(after: u64, rev: u64, joined: &[&str], bytes: usize) -> Publication {
        let data = MemberData::parse(&format!("\"{}\"", "x".repeat(bytes)));
        let joined = joined.iter().map(|id| ListedMember { id: (*id).to_owned(), data: data.clone() }).collect();
        Publication { rev, count: 1, change: Change::Facts { after, joined, left: Vec::new() } }
    }

    #[test]
    fn a_job_of_a_room_and_one_of_a_shard_read_back_as_they_were() {
        let told = publication(1, 2, &["ann"], 3);
        let job = PresenceJob::read(&told.to_record(&room(), None).body, "r").unwrap();
        assert_eq!((job.shard, &job.publication), (None, &told));
        let records = records(&room(), &told, FOUR, None);
        let of_last = PresenceJob::read(&records[3].body, "r/3").unwrap();
        assert_eq!((of_last.shard, of_last.publication), (Some(Shard { number: 3, of: FOUR }), told));
        let ids: std::collections::HashSet<_> = records.iter().map(|record| &record.deduplication_id).collect();
        assert_eq!(ids.len(), 4);
        assert!(
            PresenceJob::read(&records[3].body, "r/2").is_err() && PresenceJob::read(&records[3].body, "r").is_err()
        );
    }

    #[test]
    fn a_job_that_is_none_says_why() {
        let body =
            |shard: Value| json!({"roomId": "r", "presence": {"rev": 1, "count": 1}, "shard": shard}).to_string();
        let refusal = |body: &str, group: &str| PresenceJob::read(body, group).unwrap_err().to_string();
        assert!(PresenceJob::read(&body(json!(null)), "r").is_ok());
        assert_eq!(refusal(&body(json!(null)), "s"), "`roomId` is not the record's MessageGroupId");
        assert!(refusal(&body(json!({"number": 1, "of": 3})), "r/1").contains("power of two"));
        assert!(refusal(r#"{"roomId":"r","presence":{"rev":1}}"#, "r").contains("count"));
    }

    #[test]
    fn publications_of_a_batch_are_one_frame() {
        let job = |publication| PresenceJob { room: room(), shard: None, publication };
        let jobs = [job(publication(1, 2, &["ann"], 1)), job(publication(2, 3, &["bob"], 1))];
        let merged = merge(&jobs).unwrap().publication;
        assert_eq!(merged, publication(1, 3, &["ann", "bob"], 1));
        assert!(merge(&[]).is_none());
        let read = |frame: &EncodedFrame| serde_json::from_slice::<Value>(frame.body()).unwrap();
        assert_eq!(read(&frame(&room(), &merged))["joined"].as_array().unwrap().len(), 2);
        let large = merge(&[job(publication(1, 2, &["ann"], 20_000)), job(publication(2, 3, &["bob"], 20_000))]);
        let frame = read(&frame(&room(), &large.unwrap().publication));
        assert_eq!(frame, json!({"type": "presence", "roomId": "r", "rev": 3, "count": 1, "reload": true}));
    }
}

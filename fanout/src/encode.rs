//! Encoding: each message once, packed into as few frames as may be, whatever the number of connections.

use std::{collections::HashMap, ops::RangeInclusive};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use shared::{
    LoggedMessage, RoomId,
    frame::broadcast,
    limits::{FRAME_BYTES, MAX_INTEGER},
    text::hex,
};

/// An encoded frame. Cheap to clone: every post shares its bytes, and the hash that its signature is made from.
#[derive(Clone, Debug)]
pub struct Frame {
    body: Bytes,
    sha256: String,
}

impl Frame {
    /// A frame of these bytes.
    #[must_use]
    pub fn new(body: Bytes) -> Self {
        let sha256 = hex(&Sha256::digest(&body));
        Self { body, sha256 }
    }

    /// The bytes.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes' SHA-256, in lowercase hexadecimal digits.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// Encodes a room's part of a batch, ascending by seq, into broadcast frames. Of several messages with the same key
/// only the newest is in them; a frame says which numbers it stands for where its messages do not.
#[must_use]
pub fn encode(room: &RoomId, logged: &[LoggedMessage]) -> Vec<Frame> {
    let kept = conflate(logged);
    // A redelivered batch may have come with messages from elsewhere in the log: a frame never claims to stand for
    // numbers that are not in the batch.
    let runs = logged.chunk_by(|one, next| one.seq + 1 == next.seq);
    runs.flat_map(|run| encode_run(room, run, &kept)).collect()
}

/// The numbers of the messages that are broadcast.
fn conflate(logged: &[LoggedMessage]) -> Vec<u64> {
    let mut newest: HashMap<&str, &LoggedMessage> = HashMap::new();
    for candidate in logged {
        if let Some(key) = &candidate.message.key {
            let current = newest.entry(key).or_insert(candidate);
            if !is_older(candidate, current) {
                *current = candidate;
            }
        }
    }
    let is_kept = |candidate: &&LoggedMessage| match &candidate.message.key {
        Some(key) => newest[key.as_str()].seq == candidate.seq,
        None => true,
    };
    logged.iter().filter(is_kept).map(|logged| logged.seq).collect()
}

/// Whether `candidate`, which comes later in the log, is the older one of two with the same key.
fn is_older(candidate: &LoggedMessage, current: &LoggedMessage) -> bool {
    match (candidate.message.version, current.message.version) {
        (Some(candidate), Some(current)) => candidate < current,
        _ => false,
    }
}

/// Whether a frame is such as [`encode`] makes.
#[must_use]
pub fn is_encoded(frame: &Frame) -> bool {
    Packing::unpack(frame, 0).is_some()
}

/// Packs frames that were encoded one batch at a time, those of a large room's shard, into as few as may be. Frames
/// that do not follow each other in the log stay apart; what [`is_encoded`] refuses is left out.
#[must_use]
pub fn repack(room: &RoomId, frames: &[Frame]) -> Vec<Frame> {
    let envelope = broadcast::envelope_len(room);
    let mut packed: Vec<Packing> = Vec::new();
    for next in frames.iter().filter_map(|frame| Packing::unpack(frame, envelope)) {
        match packed.last_mut() {
            Some(previous)
                if previous.last + 1 == next.first && previous.bytes + next.bytes - envelope <= FRAME_BYTES =>
            {
                previous.bytes += next.bytes - envelope;
                previous.last = next.last;
                previous.entries.extend(next.entries);
            }
            _ => packed.push(next),
        }
    }
    packed.iter().map(|frame| frame.finish(room)).collect()
}

/// A frame that is being packed.
struct Packing {
    entries: Vec<Vec<u8>>,
    bytes: usize,
    first: u64,
    last: u64,
}

/// What is read of an encoded frame to pack it again.
#[derive(Deserialize)]
struct Encoded<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    after: Option<u64>,
    seq: Option<u64>,
}

/// What is read of an encoded message.
#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

fn encode_run(room: &RoomId, run: &[LoggedMessage], kept: &[u64]) -> Vec<Frame> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Vec::new() };
    let envelope = broadcast::envelope_len(room);
    let mut frames: Vec<Packing> = Vec::new();
    for logged in run.iter().filter(|logged| kept.binary_search(&logged.seq).is_ok()) {
        let entry = broadcast::encode_entry(logged.seq, &logged.message);
        let bytes = entry.len() + 1;
        match frames.last_mut() {
            Some(frame) if frame.bytes + bytes <= FRAME_BYTES => {
                frame.entries.push(entry);
                frame.bytes += bytes;
                frame.last = logged.seq;
            }
            previous => {
                let first = previous.map_or(first.seq, |frame| frame.last + 1);
                frames.push(Packing { entries: vec![entry], bytes: envelope + bytes, first, last: logged.seq });
            }
        }
    }
    // The last frame also stands for what was conflated after it.
    if let Some(frame) = frames.last_mut() {
        frame.last = last.seq;
    }
    frames.iter().map(|frame| frame.finish(room)).collect()
}

impl Packing {
    /// Takes an encoded frame apart; `None` when it is none.
    fn unpack(frame: &Frame, envelope: usize) -> Option<Self> {
        let Encoded { messages, after, seq } = serde_json::from_slice(frame.body()).ok()?;
        let number = |entry: &RawValue| Some(serde_json::from_str::<Numbered>(entry.get()).ok()?.seq);
        let (first, last) = (number(messages.first()?)?, number(messages.last()?)?);
        let first = after.map_or(Some(first), |after| after.checked_add(1))?;
        let last = seq.unwrap_or(last);
        let entries: Vec<Vec<u8>> = messages.iter().map(|entry| entry.get().as_bytes().to_vec()).collect();
        let bytes = envelope + entries.iter().map(|entry| entry.len() + 1).sum::<usize>();
        let is_possible = first <= last && last <= MAX_INTEGER && last - first >= entries.len() as u64 - 1;
        is_possible.then_some(Self { entries, bytes, first, last })
    }

    fn finish(&self, room: &RoomId) -> Frame {
        let entries: Vec<&[u8]> = self.entries.iter().map(Vec::as_slice).collect();
        Frame::new(broadcast::frame(room, &entries, self.covered()).into())
    }

    /// The numbers that the frame stands for, unless its entries say so themselves: all of them are there.
    fn covered(&self) -> Option<RangeInclusive<u64>> {
        let all_there = self.last - self.first + 1 == self.entries.len() as u64;
        (!all_there).then_some(self.first..=self.last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;
    use shared::{Message, limits::MAX_FRAME_BYTES};

    use super::*;

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    fn logged(seq: u64, key: Option<&str>, version: Option<u64>, bytes: usize) -> LoggedMessage {
        let message = Message {
            room: room(),
            id: format!("m{seq}"),
            from: "alice".into(),
            sent_at: 0,
            data: RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap(),
            key: key.map(str::to_owned),
            version,
        };
        LoggedMessage { seq, message }
    }

    fn keyed(seq: u64, key: &str, version: Option<u64>) -> LoggedMessage {
        logged(seq, Some(key), version, 1)
    }

    /// A frame's messages, and its `after` and `seq` where it has them.
    type Read = (Vec<u64>, Option<(u64, u64)>);

    fn read(frames: &[Frame]) -> Vec<Read> {
        let read_one = |frame: &Frame| {
            let frame: Value = serde_json::from_slice(frame.body()).unwrap();
            let messages = frame["messages"].as_array().unwrap();
            let numbers = messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
            (numbers, frame["after"].as_u64().zip(frame["seq"].as_u64()))
        };
        frames.iter().map(read_one).collect()
    }

    #[test]
    fn a_batch_of_small_messages_is_one_frame() {
        let batch: Vec<_> = (5..15).map(|seq| logged(seq, None, None, 100)).collect();
        assert_eq!(read(&encode(&room(), &batch)), [((5..15).collect(), None)]);
    }

    #[test]
    fn frames_are_filled_up_to_32_kib_and_a_larger_message_has_one_alone() {
        let sizes = [15_000, 15_000, 15_000, 100_000, 10];
        let batch: Vec<_> = (1_u64..).zip(sizes).map(|(seq, bytes)| logged(seq, None, None, bytes)).collect();
        let frames = encode(&room(), &batch);
        assert_eq!(read(&frames), [(vec![1, 2], None), (vec![3], None), (vec![4], None), (vec![5], None)]);
        assert!(frames.iter().all(|frame| frame.body().len() <= MAX_FRAME_BYTES));
    }

    #[test]
    fn only_the_newest_version_of_a_key_is_broadcast() {
        let batch = [keyed(1, "a", Some(5)), keyed(2, "b", Some(1)), keyed(3, "a", Some(6))];
        assert_eq!(read(&encode(&room(), &batch)), [(vec![2, 3], Some((0, 3)))]);
        let out_of_order = [keyed(1, "a", Some(6)), keyed(2, "a", Some(5))];
        assert_eq!(read(&encode(&room(), &out_of_order)), [(vec![1], Some((0, 2)))]);
        let no_versions = [keyed(1, "a", None), keyed(2, "a", None)];
        assert_eq!(read(&encode(&room(), &no_versions)), [(vec![2], Some((0, 2)))]);
        let same_version = [keyed(1, "a", Some(1)), keyed(2, "a", Some(1))];
        assert_eq!(read(&encode(&room(), &same_version)), [(vec![2], Some((0, 2)))]);
    }

    #[test]
    fn a_frame_never_stands_for_numbers_outside_the_batch() {
        let batch = [logged(1, None, None, 1), logged(2, None, None, 1), logged(9, None, None, 1)];
        assert_eq!(read(&encode(&room(), &batch)), [(vec![1, 2], None), (vec![9], None)]);
    }

    #[test]
    fn frames_of_several_batches_are_packed_again() {
        let batch = |numbers: std::ops::Range<u64>, bytes| {
            let batch: Vec<_> = numbers.map(|seq| logged(seq, None, None, bytes)).collect();
            encode(&room(), &batch)
        };
        let conflated = encode(&room(), &[keyed(4, "a", Some(2)), keyed(5, "a", Some(1))]);
        let small = [batch(1..2, 9), batch(2..4, 9), conflated, batch(6..7, 9)].concat();
        assert_eq!(read(&repack(&room(), &small)), [(vec![1, 2, 3, 4, 6], Some((0, 6)))]);
        let large = [batch(1..2, 20_000), batch(2..3, 20_000), batch(3..4, 100)].concat();
        assert_eq!(read(&repack(&room(), &large)), [(vec![1], None), (vec![2, 3], None)]);
        let apart = [batch(1..2, 9), batch(5..6, 9), batch(1..2, 9)].concat();
        assert_eq!(read(&repack(&room(), &apart)), [(vec![1], None), (vec![5], None), (vec![1], None)]);
    }

    #[test]
    fn what_is_no_frame_is_known_as_such() {
        assert!(is_encoded(&encode(&room(), &[logged(1, None, None, 9)])[0]));
        let max = u64::MAX;
        for body in [
            "[]".to_owned(),
            r#"{"messages":[]}"#.to_owned(),
            r#"{"messages":[{}]}"#.to_owned(),
            r#"{"messages":[{"seq":2},{"seq":1}]}"#.to_owned(),
            r#"{"messages":[{"seq":1},{"seq":1}]}"#.to_owned(),
            format!(r#"{{"messages":[{{"seq":{max}}}]}}"#),
            format!(r#"{{"messages":[{{"seq":1}}],"after":{max},"seq":{max}}}"#),
        ] {
            assert!(!is_encoded(&Frame::new(body.clone().into())), "{body}");
        }
    }

    proptest! {
        #[test]
        fn frames_stand_for_the_whole_batch_in_order(
            shape in prop::collection::vec((0_usize..4, prop::option::of(0_u64..4), 0_usize..20_000), 1..10)
        ) {
            let keys = [None, Some("a"), Some("b"), Some("c")];
            let batch: Vec<_> = (100_u64..).zip(shape).map(|(seq, (key, version, bytes))| logged(seq, keys[key], version, bytes)).collect();
            let frames = encode(&room(), &batch);
            let mut covered = 99;
            for (frame, (numbers, range)) in frames.iter().zip(read(&frames)) {
                prop_assert!(numbers.len() == 1 || frame.body().len() <= FRAME_BYTES);
                prop_assert!(numbers.is_sorted());
                let (after, seq) = range.unwrap_or((numbers[0] - 1, numbers[numbers.len() - 1]));
                prop_assert_eq!(after, covered);
                prop_assert!(range.is_some() || numbers.len() as u64 == seq - after);
                covered = seq;
            }
            prop_assert_eq!(covered, 99 + batch.len() as u64);
        }
    }
}

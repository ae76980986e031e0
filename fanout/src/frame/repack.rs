//! Repacking: the frames of a shard's jobs, which were encoded one batch at a time, are packed into as few as possible.
//! For example, ten jobs of ten small messages each become one post.

use shared::{RoomId, frame::broadcast, limits::FRAME_BYTES};

use super::{EncodedFrame, packing::Packing};

/// A frame of a job, with the numbers that it stands for.
#[derive(Clone, Debug)]
pub struct JobFrame {
    json: Box<str>,
    first: u64,
    last: u64,
}

impl JobFrame {
    /// Reads a frame; `None` when [`encode`](super::encode::encode) cannot have made it.
    #[must_use]
    pub fn read(room: &RoomId, json: &str) -> Option<Self> {
        let Packing { first, last, .. } = Packing::unpack(room, json)?;
        Some(Self { json: json.into(), first, last })
    }

    /// The first number that it stands for.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The last number that it stands for.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }
}

/// Packs frames, ascending, into as few as possible, without the messages up to number `done`. Frames with a gap
/// between their numbers stay apart.
pub fn repack<'a>(room: &RoomId, frames: impl IntoIterator<Item = &'a JobFrame>, done: u64) -> Vec<EncodedFrame> {
    let envelope = broadcast::envelope_len(room);
    let mut packed: Vec<Packing> = Vec::new();
    let mut done = done;
    for frame in frames {
        if frame.last <= done {
            continue;
        }
        let Some(mut next) = Packing::unpack(room, &frame.json) else { continue };
        next.cut(done);
        done = next.last;
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    /// A frame of a job: messages of so many bytes, and the `after` and `seq` that it stands for where it says so.
    fn frame(numbers: &[u64], covered: Option<(u64, u64)>, bytes: usize) -> JobFrame {
        let messages: Vec<_> = numbers.iter().map(|seq| json!({"seq": seq, "data": "x".repeat(bytes)})).collect();
        let mut frame = json!({"type": "messages", "roomId": "r", "messages": messages});
        if let Some((after, seq)) = covered {
            frame["after"] = json!(after);
            frame["seq"] = json!(seq);
        }
        JobFrame::read(&room(), &frame.to_string()).unwrap()
    }

    /// A frame's messages, and its `after` and `seq` where it has them.
    type Read = (Vec<u64>, Option<(u64, u64)>);

    fn numbers(frames: &[EncodedFrame]) -> Vec<Read> {
        let read = |frame: &EncodedFrame| {
            let frame: serde_json::Value = serde_json::from_slice(frame.body()).unwrap();
            let messages = frame["messages"].as_array().unwrap();
            let numbers = messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
            (numbers, frame["after"].as_u64().zip(frame["seq"].as_u64()))
        };
        frames.iter().map(read).collect()
    }

    #[test]
    fn frames_of_several_batches_are_packed_again() {
        let small = [frame(&[1], None, 9), frame(&[2, 3], None, 9), frame(&[4], Some((3, 5)), 9), frame(&[6], None, 9)];
        assert_eq!(numbers(&repack(&room(), &small, 0)), [(vec![1, 2, 3, 4, 6], Some((0, 6)))]);
        let large = [frame(&[1], None, 20_000), frame(&[2], None, 20_000), frame(&[3], None, 100)];
        assert_eq!(numbers(&repack(&room(), &large, 0)), [(vec![1], None), (vec![2, 3], None)]);
        let apart = [frame(&[1], None, 9), frame(&[5], None, 9)];
        assert_eq!(numbers(&repack(&room(), &apart, 0)), [(vec![1], None), (vec![5], None)]);
    }

    #[test]
    fn what_is_done_is_left_out() {
        let frames = [frame(&[1, 2, 3], None, 9), frame(&[4, 5], None, 9)];
        assert_eq!(numbers(&repack(&room(), &frames, 2)), [(vec![3, 4, 5], None)]);
        assert_eq!(numbers(&repack(&room(), &frames, 3)), [(vec![4, 5], None)]);
        assert_eq!(numbers(&repack(&room(), &frames, 5)), []);
        // A job whose messages were enqueued again together with the one after them.
        let again = [frame(&[1, 2], None, 9), frame(&[1, 2, 3], None, 9)];
        assert_eq!(numbers(&repack(&room(), &again, 0)), [(vec![1, 2, 3], None)]);
        // 3 to 5 were superseded by 2, which is done: the frame still says so, without 1, which would come after 2.
        let superseded = [frame(&[1, 2], Some((0, 5)), 9)];
        assert_eq!(numbers(&repack(&room(), &superseded, 3)), [(vec![2], Some((1, 5)))]);
        // 3 and 4 were superseded: the frame says so of 4, which is not done.
        let hole = [frame(&[2, 5], Some((0, 5)), 9)];
        assert_eq!(numbers(&repack(&room(), &hole, 3)), [(vec![5], Some((3, 5)))]);
    }

    #[test]
    fn a_frame_is_filled_to_its_last_byte() {
        let around = json!({"seq": 1, "data": ""}).to_string().len() + ",".len();
        let left = FRAME_BYTES - broadcast::envelope_len(&room()) - 2 * around - 10_000;
        let packed = |bytes| numbers(&repack(&room(), &[frame(&[1], None, 10_000), frame(&[2], None, bytes)], 0));
        assert_eq!(packed(left), [(vec![1, 2], None)]);
        assert_eq!(packed(left + 1), [(vec![1], None), (vec![2], None)]);
        // A message that is left out makes room in the frame.
        let cut = [frame(&[1, 2], None, 15_000), frame(&[3], None, 15_000)];
        assert_eq!(numbers(&repack(&room(), &cut, 1)), [(vec![2, 3], None)]);
    }

    #[test]
    fn what_is_no_frame_is_known_as_such() {
        let max = u64::MAX;
        for json in [
            "[]".to_owned(),
            r#"{"messages":[]}"#.to_owned(),
            r#"{"messages":[{}]}"#.to_owned(),
            r#"{"messages":[{"seq":2},{"seq":1}]}"#.to_owned(),
            r#"{"messages":[{"seq":1},{"seq":1}]}"#.to_owned(),
            r#"{"messages":[{"seq":1},{"seq":9}],"after":3,"seq":9}"#.to_owned(),
            format!(r#"{{"messages":[{{"seq":{max}}}]}}"#),
            format!(r#"{{"messages":[{{"seq":1}}],"after":{max},"seq":{max}}}"#),
        ] {
            assert!(JobFrame::read(&room(), &json).is_none(), "{json}");
        }
        assert!(JobFrame::read(&room(), r#"{"messages":[{"seq":1}]}"#).is_some());
    }
}

//! Encoding: each message once, however many connections there are, packed into as few frames as possible.

use shared::{LoggedMessage, RoomId, frame::broadcast, limits::FRAME_BYTES, order::greatest};

use super::{
    Carried, EncodedFrame,
    packing::{Entry, Packing},
};

/// Encodes a room's part of a batch, ascending by seq, into broadcast frames. Of several messages with the same key
/// whose numbers are consecutive with the rest of the batch, only the newest is broadcast (conflation). A frame that
/// does not contain all the numbers that it stands for says which ones it stands for.
#[must_use]
pub fn encode(room: &RoomId, logged: &[LoggedMessage]) -> Vec<EncodedFrame> {
    // The numbers of a redelivered batch may have gaps, where other messages stand in the log. A frame never claims to
    // stand for numbers outside the batch, so each run of consecutive numbers is encoded, and conflated, for itself.
    let runs = logged.chunk_by(|one, next| one.seq + 1 == next.seq);
    runs.flat_map(|run| encode_run(room, run)).collect()
}

/// The numbers of the messages that are broadcast.
fn conflate(logged: &[LoggedMessage]) -> Vec<u64> {
    let newest = greatest(logged);
    let is_kept = |candidate: &&LoggedMessage| match &candidate.message.key {
        Some(key) => newest[key.as_str()].seq == candidate.seq,
        None => true,
    };
    logged.iter().filter(is_kept).map(|logged| logged.seq).collect()
}

fn encode_run(room: &RoomId, run: &[LoggedMessage]) -> Vec<EncodedFrame> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Vec::new() };
    let (kept, envelope) = (conflate(run), broadcast::envelope_len(room));
    let mut frames: Vec<Packing> = Vec::new();
    for logged in run.iter().filter(|logged| kept.binary_search(&logged.seq).is_ok()) {
        let carried = Carried { id: logged.message.id.as_str().into(), sent_at: logged.message.sent_at };
        let entry = Entry { seq: logged.seq, json: broadcast::encode_entry(logged.seq, &logged.message), carried };
        let bytes = entry.bytes();
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, value::RawValue};
    use shared::{Message, limits::MAX_POST_BYTES};

    use super::*;

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    fn logged(seq: u64, key: Option<&str>, version: Option<u64>, bytes: usize) -> LoggedMessage {
        let message = Message {
            key: key.map(str::to_owned),
            version,
            ..Message::new(
                room(),
                format!("m{seq}"),
                "alice",
                0,
                RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap(),
            )
        };
        LoggedMessage { seq, message }
    }

    fn keyed(seq: u64, key: &str, version: Option<u64>) -> LoggedMessage {
        logged(seq, Some(key), version, 1)
    }

    /// A frame's messages, and its `after` and `seq` where it has them.
    type Read = (Vec<u64>, Option<(u64, u64)>);

    fn read(frames: &[EncodedFrame]) -> Vec<Read> {
        let read_one = |frame: &EncodedFrame| {
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
        assert!(frames.iter().all(|frame| frame.body().len() <= MAX_POST_BYTES));
    }

    #[test]
    fn only_the_newest_version_of_a_key_is_broadcast() {
        let batch = [keyed(1, "a", Some(5)), keyed(2, "b", Some(1)), keyed(3, "a", Some(6))];
        assert_eq!(read(&encode(&room(), &batch)), [(vec![2, 3], Some((0, 3)))]);
        let out_of_order = [keyed(1, "a", Some(6)), keyed(2, "a", Some(5))];
        assert_eq!(read(&encode(&room(), &out_of_order)), [(vec![1], Some((0, 2)))]);
        let mixed = [keyed(1, "a", Some(5)), keyed(2, "a", None), keyed(3, "a", Some(3))];
        assert_eq!(read(&encode(&room(), &mixed)), [(vec![1], Some((0, 3)))], "the order is total");
        let no_versions = [keyed(1, "a", None), keyed(2, "a", None)];
        assert_eq!(read(&encode(&room(), &no_versions)), [(vec![2], Some((0, 2)))]);
        let same_version = [keyed(1, "a", Some(1)), keyed(2, "a", Some(1))];
        assert_eq!(read(&encode(&room(), &same_version)), [(vec![2], Some((0, 2)))]);
    }

    #[test]
    fn a_message_is_superseded_only_by_one_that_a_frame_can_stand_for_both_of() {
        let batch = [keyed(1, "a", Some(5)), keyed(2, "b", None), keyed(9, "a", Some(4)), keyed(10, "b", None)];
        assert_eq!(read(&encode(&room(), &batch)), [(vec![1, 2], None), (vec![9, 10], None)]);
        let older_later = [keyed(1, "a", Some(5)), keyed(9, "a", Some(4))];
        assert_eq!(read(&encode(&room(), &older_later)), [(vec![1], None), (vec![9], None)]);
    }

    #[test]
    fn a_frame_never_stands_for_numbers_outside_the_batch() {
        let batch = [logged(1, None, None, 1), logged(2, None, None, 1), logged(9, None, None, 1)];
        assert_eq!(read(&encode(&room(), &batch)), [(vec![1, 2], None), (vec![9], None)]);
    }

    proptest! {
        /// The greatest of a key's messages is always sent: a client that keeps that one has the same map, conflated or
        /// not.
        #[test]
        fn conflation_leaves_a_clients_map_as_it_is(
            shape in prop::collection::vec((0_usize..4, prop::option::of(0_u64..4), any::<bool>(), any::<bool>()), 1..12)
        ) {
            let (keys, mut seq) = ([None, Some("a"), Some("b"), Some("c")], 0);
            let batch: Vec<_> = shape.into_iter().map(|(key, version, remove, has_gap)| {
                seq += 1 + u64::from(has_gap);
                let mut logged = logged(seq, keys[key], version, 1);
                logged.message.remove = remove && keys[key].is_some();
                logged
            }).collect();
            let sent: Vec<_> = read(&encode(&room(), &batch)).into_iter().flat_map(|(numbers, _)| numbers).collect();
            let arrived: Vec<_> = batch.iter().filter(|logged| sent.contains(&logged.seq)).cloned().collect();
            let map = |messages: &[LoggedMessage]| {
                greatest(messages).into_iter().map(|(key, logged)| (key.to_owned(), logged.rank())).collect::<std::collections::BTreeMap<_, _>>()
            };
            prop_assert_eq!(map(&arrived), map(&batch));
        }

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

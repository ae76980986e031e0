//! Packing: the entries of a frame before the frame itself is encoded.

use std::{borrow::Cow, ops::RangeInclusive};

use serde::Deserialize;
use serde_json::value::RawValue;
use shared::{RoomId, frame::broadcast, limits::MAX_INTEGER};

use super::{Carried, EncodedFrame};

/// A frame that is being packed: its entries are encoded, the frame is not yet.
pub(super) struct Packing {
    pub(super) entries: Vec<Entry>,
    /// The most bytes that the finished frame may have.
    pub(super) bytes: usize,
    /// The first number that the frame stands for.
    pub(super) first: u64,
    /// The last number that it stands for.
    pub(super) last: u64,
}

/// An encoded message.
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) json: Vec<u8>,
    pub(super) carried: Carried,
}

impl Entry {
    /// Bytes that the entry takes in a frame, with the comma before the next one.
    pub(super) fn bytes(&self) -> usize {
        self.json.len() + 1
    }
}

/// The fields of an encoded frame that packing it again needs.
#[derive(Deserialize)]
struct Encoded<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    after: Option<u64>,
    seq: Option<u64>,
}

/// The fields of an encoded message that packing it again needs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Numbered<'a> {
    seq: u64,
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(default)]
    sent_at: u64,
}

impl Packing {
    /// Takes an encoded frame apart; `None` when [`encode`](super::encode::encode) cannot have made it.
    pub(super) fn unpack(room: &RoomId, json: &str) -> Option<Self> {
        let Encoded { messages, after, seq } = serde_json::from_str(json).ok()?;
        let entry = |message: &&RawValue| {
            let Numbered { seq, id, sent_at } = serde_json::from_str(message.get()).ok()?;
            let carried = Carried { id: id.into(), sent_at };
            Some(Entry { seq, json: message.get().as_bytes().to_vec(), carried })
        };
        let entries = messages.iter().map(entry).collect::<Option<Vec<_>>>()?;
        let (lowest, highest) = (entries.first()?.seq, entries.last()?.seq);
        let first = after.map_or(Some(lowest), |after| after.checked_add(1))?;
        let last = seq.unwrap_or(highest);
        let bytes = broadcast::envelope_len(room) + entries.iter().map(Entry::bytes).sum::<usize>();
        let is_ascending = entries.is_sorted_by(|one, next| one.seq < next.seq);
        let is_possible = is_ascending && first <= lowest && highest <= last && last <= MAX_INTEGER;
        is_possible.then_some(Self { entries, bytes, first, last })
    }

    /// Leaves out the messages up to number `done`. If none would be left, the last one stays, since a frame has a
    /// message, and this one must say that the numbers after `done` were superseded. Those before it do not: to
    /// somebody who has joined after them they would come late.
    pub(super) fn cut(&mut self, done: u64) {
        if self.first > done {
            return;
        }
        let left_out = self.entries.partition_point(|entry| entry.seq <= done).min(self.entries.len() - 1);
        self.bytes -= self.entries.drain(..left_out).map(|entry| entry.bytes()).sum::<usize>();
        self.first = self.entries.first().map_or(done + 1, |left| left.seq.min(done + 1));
    }

    /// Encodes the frame.
    pub(super) fn finish(&self, room: &RoomId) -> EncodedFrame {
        let entries: Vec<&[u8]> = self.entries.iter().map(|entry| entry.json.as_slice()).collect();
        let messages = self.entries.iter().map(|entry| entry.carried.clone()).collect();
        EncodedFrame::of(broadcast::frame(room, &entries, self.covered()).into(), self.first..=self.last, messages)
    }

    /// The numbers that the frame stands for; `None` when its entries show them, because all of them are there.
    fn covered(&self) -> Option<RangeInclusive<u64>> {
        let all_there = self.last - self.first + 1 == self.entries.len() as u64;
        (!all_there).then_some(self.first..=self.last)
    }
}

//! The sizes of everything that is billed by its size. DynamoDB counts names and values, a number as half of its digits
//! and one byte more.

use super::workload::{RoomGroup, Setting};

/// The bytes that API Gateway bills as one message.
pub const MESSAGE_STEP: f64 = 32_768.0;

/// The bytes that SQS and EventBridge bill as one request or event.
pub const QUEUE_STEP: f64 = 65_536.0;

/// The bytes that a write unit writes.
const WRITE_STEP: f64 = 1_024.0;

/// The bytes that a read unit reads, strongly consistent.
const READ_STEP: f64 = 4_096.0;

/// Bytes of a reply such as `accepted` or `synced`, with room and request id.
pub const REPLY: f64 = 200.0;

/// Bytes of a connection's id, such as `L0SM9cOFvHcCIhw=`.
const CONNECTION_ID: f64 = 16.0;

/// Bytes of the numbers that a frame may say it stands for: packing leaves room for them.
const COVERED: f64 = 48.0;

/// Bytes that DynamoDB stores besides each row.
pub const ROW_OVERHEAD: f64 = 100.0;

/// Steps that so many bytes take, one at least.
#[must_use]
pub fn steps(bytes: f64, step: f64) -> f64 {
    (bytes / step).ceil().max(1.0)
}

/// Write units of a row.
#[must_use]
pub fn write_units(row: f64) -> f64 {
    steps(row, WRITE_STEP)
}

/// Read units of so many bytes, eventually consistent.
#[must_use]
pub fn read_units(bytes: f64) -> f64 {
    steps(bytes, READ_STEP) / 2.0
}

/// A message of a group in all its forms.
#[derive(Clone, Copy, Debug)]
pub struct MessageSize {
    /// Its row in the log.
    pub row: f64,
    /// Its place in a frame, with the comma.
    pub entry: f64,
    /// Its record in the queue.
    pub record: f64,
    /// A frame's own bytes.
    pub envelope: f64,
}

impl MessageSize {
    /// The sizes of a group's messages.
    #[must_use]
    pub fn of(group: &RoomGroup, setting: &Setting) -> Self {
        let named = setting.id_bytes + setting.subject_bytes + group.bytes;
        Self {
            row: 75.0 + setting.room_bytes + named,
            entry: 74.0 + named,
            record: 68.0 + setting.room_bytes + named,
            envelope: 45.0 + setting.room_bytes,
        }
    }

    /// Frames that so many messages take.
    #[must_use]
    pub fn frames(&self, messages: f64) -> f64 {
        let fit = ((MESSAGE_STEP - self.envelope - COVERED) / self.entry).floor().max(1.0);
        (messages / fit).ceil().max(1.0)
    }

    /// Bytes of the frames of so many messages.
    #[must_use]
    pub fn frame_bytes(&self, messages: f64) -> f64 {
        self.frames(messages) * self.envelope + messages * self.entry
    }

    /// The messages that API Gateway bills for a post of so many messages to one connection: a message that is too
    /// large for a shared frame is billed alone, by its size.
    #[must_use]
    pub fn billed(&self, messages: f64) -> f64 {
        let frames = self.frames(messages);
        frames * steps(self.frame_bytes(messages) / frames, MESSAGE_STEP)
    }
}

/// Bytes of a member's row in the index of rooms.
#[must_use]
pub fn member(setting: &Setting) -> f64 {
    // connectionId, roomId, slot, joinedAt, expiresAt.
    12.0 + CONNECTION_ID + 6.0 + setting.room_bytes + 8.0 + 16.0 + 15.0
}

/// Calls that read so many members, and their read units: a page of 500, then pages of 1,000.
#[must_use]
pub fn pages(members: f64, setting: &Setting) -> (f64, f64) {
    let row = member(setting);
    let (first, rest) = (members.min(500.0), (members - 500.0).max(0.0));
    let further = (rest / 1_000.0).ceil();
    let full = (rest / 1_000.0).floor();
    let mut units = read_units(first * row) + full * read_units(1_000.0 * row);
    if further > full {
        units += read_units((rest - full * 1_000.0) * row);
    }
    (1.0 + further, units)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use shared::{Message, RoomId, frame::broadcast};

    use super::*;
    use crate::cost::workload;

    #[test]
    fn sizes_are_those_that_are_written() {
        let text = r#"{"rooms": [{"members": 1, "messagesPerSecond": 1, "bytes": 300}], "roomIdBytes": 4}"#;
        let workload = workload::read(text).unwrap();
        let size = MessageSize::of(&workload.rooms[0], &workload.setting);
        let message = Message::new(
            RoomId::parse("room").unwrap(),
            "i".repeat(36),
            "f".repeat(36),
            1_795_219_207_000,
            RawValue::from_string(format!("\"{}\"", "x".repeat(298))).unwrap(),
        );
        let number = |length: usize| u32::try_from(length).map(f64::from).unwrap();
        let entry = broadcast::encode_entry(1_795_219_207_000_000, &message);
        let frame = broadcast::frame(&message.room, &[&entry], None);
        assert!((size.entry - number(entry.len() + 1)).abs() < 0.5, "{} {}", size.entry, entry.len());
        assert!((size.frame_bytes(1.0) - 1.0 - number(frame.len())).abs() < 0.5, "{}", frame.len());
        assert!((size.record - number(message.to_body().len())).abs() < 0.5, "{}", message.to_body().len());
    }

    #[test]
    fn frames_fill_up_and_large_messages_are_billed_by_their_steps() {
        let size = MessageSize { row: 0.0, entry: 400.0, record: 0.0, envelope: 65.0 };
        assert!((size.frames(81.0) - 1.0).abs() < 1e-9 && (size.frames(100.0) - 2.0).abs() < 1e-9);
        let large = MessageSize { entry: 100_000.0, ..size };
        assert!((large.billed(1.0) - 4.0).abs() < 1e-9 && (large.billed(2.0) - 8.0).abs() < 1e-9);
    }
}

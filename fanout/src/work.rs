//! What a group's records ask for, step by step.

use std::ops::RangeInclusive;

use shared::RoomId;

use crate::{
    append::Batch,
    decode::{Content, Group},
    encode::Frame,
};

/// A step of a group's work. When it fails, the records from its first one on stay in the queue.
#[derive(Debug)]
pub struct Step {
    /// The position of its first record.
    pub first: usize,
    /// The room.
    pub room: RoomId,
    /// What is to be done.
    pub task: Task,
}

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// Log messages, then post them.
    Messages(Batch),
    /// Post frames to a part of the room.
    Frames {
        /// Which part.
        slots: RangeInclusive<u16>,
        /// The frames.
        frames: Vec<Frame>,
    },
}

/// Puts a group's records together: all its messages are one step, packed into as few frames as may be; shard jobs of
/// the same slots are one step as well.
#[must_use]
pub fn steps(group: &Group) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (position, record) in group.records.iter().enumerate() {
        match (&record.content, steps.last_mut().map(|step| &mut step.task)) {
            (Content::Poison { .. }, _) => {}
            (Content::Message(message), Some(Task::Messages(batch))) => {
                batch.messages.push(message.clone());
                batch.redelivered |= record.redelivered;
            }
            (Content::Message(message), _) => {
                let batch = Batch { messages: vec![message.clone()], redelivered: record.redelivered };
                steps.push(Step { first: position, room: message.room.clone(), task: Task::Messages(batch) });
            }
            (Content::Shard(job), Some(Task::Frames { slots, frames })) if *slots == job.slots => {
                frames.extend_from_slice(&job.frames);
            }
            (Content::Shard(job), _) => {
                let task = Task::Frames { slots: job.slots.clone(), frames: job.frames.clone() };
                steps.push(Step { first: position, room: job.room.clone(), task });
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use shared::Message;

    use super::*;
    use crate::{decode::Record, shard::ShardJob};

    fn record(content: Content) -> Record {
        Record { id: "i".into(), redelivered: false, content }
    }

    fn message() -> Record {
        record(Content::Message(Message {
            room: RoomId::parse("r").unwrap(),
            id: "m".into(),
            from: "a".into(),
            sent_at: 0,
            data: RawValue::from_string("1".into()).unwrap(),
            key: None,
            version: None,
        }))
    }

    fn poison() -> Record {
        record(Content::Poison { body: String::new(), reason: String::new() })
    }

    fn shard(last: u16) -> Record {
        let frames = vec![Frame::new("{}".into())];
        record(Content::Shard(ShardJob { room: RoomId::parse("r").unwrap(), slots: 0..=last, frames }))
    }

    fn steps_of(records: Vec<Record>) -> Vec<(usize, usize)> {
        let steps = steps(&Group { id: "r".into(), records });
        let size = |task: &Task| match task {
            Task::Messages(batch) => batch.messages.len(),
            Task::Frames { frames, .. } => frames.len(),
        };
        steps.iter().map(|step| (step.first, size(&step.task))).collect()
    }

    #[test]
    fn all_messages_are_one_step() {
        assert_eq!(steps_of(vec![poison(), message(), poison(), message()]), [(1, 2)]);
        assert_eq!(steps_of(vec![poison()]), []);
    }

    #[test]
    fn shard_jobs_of_the_same_slots_are_one_step() {
        assert_eq!(steps_of(vec![shard(9), poison(), shard(9), shard(5)]), [(0, 2), (3, 1)]);
    }
}

//! The state of the model: a room's log and rows of progress, the queues, the consumers at work, the connections.

use super::{scenario::Faults, set::Set};

/// The queue of rooms.
pub(crate) const ROOMS: usize = 0;
/// Queues: that of rooms, then a group of the shard queue for each of two shards.
pub(crate) const QUEUES: usize = 3;

/// The layout of an entry, which stands in the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Layout {
    /// The consumer that appends it posts it.
    Direct,
    /// In jobs, one for each of so many shards: 1 or 2 here.
    Shards(u8),
}

impl Layout {
    /// Shards that it is cut into.
    pub(crate) fn shards(self) -> u8 {
        match self {
            Self::Direct => 0,
            Self::Shards(shards) => shards,
        }
    }
}

/// An entry of the log. Its number is its position, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) message: u8,
    pub(crate) layout: Layout,
    /// Every number below is finished with: acknowledged or given up.
    pub(crate) floor: u8,
}

/// A row of progress: every connection of the group has the numbers up to `done`; those in slots below `slot`, but for
/// the `missing` ones, have the numbers up to `up_to` besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Progress {
    pub(crate) done: u8,
    pub(crate) up_to: u8,
    pub(crate) slot: u8,
    pub(crate) missing: Set,
}

impl Progress {
    /// The row when every number up to `through` is out. The slots of an interrupted step then say nothing any more.
    #[must_use]
    pub(crate) fn finished(self, through: u8) -> Self {
        let done = self.done.max(through);
        if self.up_to <= done { Self { done, ..Self::default() } } else { Self { done, ..self } }
    }
}

/// The age of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Age {
    /// It is delivered for the first time, within the queue's deduplication window: its message is in no log.
    Fresh,
    /// It is older than the window, or back from the dead-letter queue.
    Old,
    /// It was delivered before.
    Again,
}

/// The content of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Content {
    /// A message, in the queue of rooms.
    Message(u8),
    /// A job, in a shard's group: the numbers of its frames, and the number of shards of the room.
    Job { numbers: Set, of: u8 },
}

/// A record of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Record {
    pub(crate) content: Content,
    pub(crate) age: Age,
}

/// A consumer with its batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Consumer {
    /// The queue that it receives from.
    pub(crate) queue: usize,
    pub(crate) batch: Vec<Record>,
    /// The position of the first record that it holds invisible, and how many there are.
    pub(crate) start: usize,
    pub(crate) held: usize,
    /// Some of its records are visible again: its hold has ended.
    pub(crate) lost: bool,
    /// Numbers that it still has to bring out.
    pub(crate) hand: Set,
    /// The layout that it assumes for entries which do not say (only without the rule).
    pub(crate) own_layout: Option<Layout>,
    /// The progress of its group, as it knows it.
    pub(crate) progress: Progress,
    /// Every number below is on record as finished with.
    pub(crate) floor: u8,
    /// Frames posted since progress was written down: a crash repeats them.
    pub(crate) unsaved: u8,
    pub(crate) phase: Phase,
}

/// The next step of a consumer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    /// It reads the end of the log, and its progress.
    Read,
    /// It appends the messages without numbers, on condition that the log still ends at `head`.
    Append { head: u8 },
    /// It posts.
    Post(Step),
    /// It sends jobs to shards: `jobs` are those that are not sent yet, `failed` says that one was not confirmed.
    Send { numbers: Set, jobs: Vec<(u8, Set)>, failed: bool },
    /// It writes its progress down.
    Save { row: Progress, then: Then },
    /// It answers, and finished records are deleted. `beyond` counts the posts that are made again.
    Return { beyond: u8 },
}

/// The step after progress is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Then {
    GoOn,
    Return { beyond: u8 },
}

/// Numbers that are being posted, before anything after them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Step {
    pub(crate) numbers: Set,
    /// The deliveries that have not ended: first those that an earlier step left open, then in the order of slots.
    pub(crate) open: Vec<Delivery>,
    /// The slot at which the step began.
    pub(crate) from: u8,
    /// The slot behind that of the last member.
    pub(crate) behind_all: u8,
    /// A delivery has ended.
    pub(crate) got_further: bool,
    /// Frames posted to each connection whose delivery has ended, by slot.
    pub(crate) posted: Vec<(u8, u8)>,
}

/// One connection's part of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Delivery {
    pub(crate) slot: u8,
    /// Numbers that are still to be posted.
    pub(crate) left: Set,
    /// An earlier invocation has left it open.
    pub(crate) had_its_chance: bool,
    pub(crate) posted: u8,
}

/// A connection. Its slot is its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    pub(crate) place: Place,
    /// The table has a row of it.
    pub(crate) has_row: bool,
    /// The index of rooms has it too.
    pub(crate) is_listed: bool,
    /// The log's head when it joined first: everything after that is its to have.
    pub(crate) since: u8,
    /// The numbers that it has.
    pub(crate) seen: Set,
    /// The numbers that it lacks for a reason: a failed post, a dead letter, an index that lagged.
    pub(crate) excused: Set,
}

/// The state of a client's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Out,
    /// Its row is written. It has not read the log.
    Joining {
        first: bool,
    },
    /// It was told the log's head; its row is not written (only without the rule).
    Told {
        head: u8,
        first: bool,
    },
    In,
    /// It was cut off, and will come back.
    Cut,
    Left,
}

/// A record in the dead-letter queue: the queue that it came from, and its content.
pub(crate) type DeadLetter = (usize, Content);

/// The whole state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) log: Vec<Entry>,
    /// The rows of progress, one for each queue or group.
    pub(crate) rows: [Progress; QUEUES],
    pub(crate) queues: [Vec<Record>; QUEUES],
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) faults: Faults,
    /// The jobs that each group of the shard queue has taken, which it may drop as duplicates.
    pub(crate) taken: [Vec<(u8, Set)>; QUEUES - 1],
    /// Jobs without an answer that may still arrive, with their shard.
    pub(crate) in_the_air: Vec<(u8, u8, Set)>,
    /// Posts that were given up and may still arrive (only without the assumption).
    pub(crate) late_posts: Vec<(u8, Set)>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    /// Messages that ever were in the dead-letter queue.
    pub(crate) given_up: Set,
    /// A number was given to two messages, or a message two numbers.
    pub(crate) forked: bool,
    /// A connection got a new frame out of order.
    pub(crate) disorder: bool,
    /// Posts that crashes and ends of time may repeat, less those that were repeated.
    pub(crate) credit: i8,
}

impl Connection {
    /// A connection that is in the room, or not yet.
    pub(crate) fn new(is_in: bool) -> Self {
        let place = if is_in { Place::In } else { Place::Out };
        Self { place, has_row: is_in, is_listed: is_in, since: 0, seen: Set::NONE, excused: Set::NONE }
    }

    /// Whether it has a number, or need not have it.
    pub(crate) fn knows(self, number: u8) -> bool {
        number <= self.since || self.seen.has(number)
    }

    /// The numbers up to the log's head that it should have and has not.
    pub(crate) fn lacks(self, head: u8) -> Set {
        (1..=head).filter(|number| !self.knows(*number)).collect()
    }

    /// The highest number that it has.
    pub(crate) fn top(self) -> u8 {
        self.seen.last().unwrap_or_default().max(self.since)
    }
}

impl World {
    /// The number of a message.
    pub(crate) fn number_of(&self, message: u8) -> Option<u8> {
        (1..=self.head()).find(|number| self.entry(*number).message == message)
    }

    /// The log's last number.
    pub(crate) fn head(&self) -> u8 {
        u8::try_from(self.log.len()).unwrap_or(u8::MAX)
    }

    /// The log's head as it is saved beside the log, before a batch is acknowledged: a `sync` is told of nothing
    /// beyond.
    pub(crate) fn saved_head(&self) -> u8 {
        let queued = self.queues[ROOMS].iter().map(|record| record.content);
        let unfinished: Vec<_> = queued.chain(self.dead_letters.iter().map(|(_, content)| *content)).collect();
        let waits = |message| unfinished.contains(&Content::Message(message));
        (1..=self.head()).rev().find(|number| !waits(self.entry(*number).message)).unwrap_or_default()
    }

    /// The entry with a number.
    pub(crate) fn entry(&self, number: u8) -> Entry {
        self.log[usize::from(number) - 1]
    }

    /// Whether nothing is left to be done.
    pub(crate) fn is_quiet(&self) -> bool {
        let is_joining =
            |connection: &Connection| matches!(connection.place, Place::Joining { .. } | Place::Told { .. });
        self.consumers.is_empty()
            && self.in_the_air.is_empty()
            && self.queues.iter().all(Vec::is_empty)
            && !self.connections.iter().any(is_joining)
    }

    /// Whether every connected client has all numbers that it should have, except those that it lacks for a reason: it
    /// learns of these from the gap, or from the head at its next `sync`.
    pub(crate) fn is_complete(&self) -> bool {
        let has_all = |connection: &Connection| {
            let lacks = connection.lacks(self.head()).without(connection.excused);
            lacks.iter().all(|number| self.given_up.has(self.entry(number).message))
        };
        self.connections.iter().filter(|connection| connection.place == Place::In).all(has_all)
    }
}

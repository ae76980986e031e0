//! The state of the model: a queue, a log, the row of one key in State, two writers, one client.

/// The effect of a message on the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// It has no key.
    Plain,
    Set,
    Remove,
}

/// A message. Its id is its place among the scenario's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// The version; 0 stands for none.
    pub(super) version: u8,
}

/// A message of the key under its number in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Value {
    pub(super) version: u8,
    pub(super) seq: u8,
    pub(super) message: u8,
    pub(super) removed: bool,
}

impl Value {
    pub(super) fn order(self) -> (u8, u8) {
        (self.version, self.seq)
    }
}

/// An entry of the log. Its number is its position, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) message: u8,
    /// The number up to which State was complete for all that its writer knew.
    pub(super) state_at: Option<u8>,
}

/// The knowledge that a writer keeps from one batch to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Known {
    /// The log's last number.
    pub(super) head: u8,
    /// State has everything up to this number.
    pub(super) complete: u8,
}

/// A consumer of the room's group, with its batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Writer {
    /// The writer's knowledge; `None` when it is cold.
    pub(super) known: Option<Known>,
    /// Ids of messages.
    pub(super) batch: Vec<u8>,
    pub(super) phase: Phase,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    #[default]
    Idle,
    /// The log's end is read next.
    Read,
    /// The batch is appended next, on condition that the log ends where it is known to.
    Append,
    /// It writes the values of these numbers to State, in any order.
    Put(Vec<u8>),
    Acknowledge,
}

/// A page of State in a reader's memory: its head, and what it has of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Page {
    pub(super) head: u8,
    pub(super) value: Option<Value>,
}

/// The state of the client's join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Join {
    Out,
    /// A page is asked for: how far its reader is.
    Page {
        page: u8,
        reader: Reader,
    },
    /// The snapshot is complete, and shown.
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reader {
    Asked,
    /// The log's head was read, with the number up to which it calls State complete.
    Head {
        head: u8,
        complete: u8,
    },
    /// State was read before the head (only without the rule).
    Early {
        value: Option<Value>,
    },
    /// The reply is on its way.
    Reply(Page),
}

/// A client with its map of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) join: Join,
    /// The greatest entry, a tombstone too.
    pub(super) entry: Option<Value>,
    /// The last number that its sequencer handed over.
    pub(super) position: u8,
    /// The head of the snapshot's first page.
    pub(super) first: u8,
    /// The number up to which the map has to be the fold of the log.
    pub(super) covered: u8,
    /// The greatest order that the map ever had.
    pub(super) greatest: (u8, u8),
    /// The map had something lower than before.
    pub(super) fell: bool,
    /// A reply of an earlier join that is still on its way (only without the rule).
    pub(super) late: Option<Page>,
}

impl Client {
    pub(super) fn out() -> Self {
        Self {
            join: Join::Out,
            entry: None,
            position: 0,
            first: 0,
            covered: 0,
            greatest: (0, 0),
            fell: false,
            late: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) messages: Vec<Message>,
    /// Ids of messages that are not acknowledged, in order.
    pub(super) queue: Vec<u8>,
    pub(super) log: Vec<Entry>,
    /// The key's row in State.
    pub(super) row: Option<Value>,
    pub(super) writers: Vec<Writer>,
    /// Pages that an environment keeps.
    pub(super) kept: [Option<Page>; 2],
    pub(super) client: Client,
}

impl World {
    pub(super) fn head(&self) -> u8 {
        u8::try_from(self.log.len()).unwrap()
    }

    /// The value that an entry gives to the key.
    pub(super) fn value(&self, seq: u8) -> Option<Value> {
        let message = self.log[usize::from(seq) - 1].message;
        self.messages[usize::from(message)].value(message, seq)
    }

    /// The number up to which State is complete for all that the head says.
    pub(super) fn complete(&self) -> u8 {
        self.log.last().and_then(|head| head.state_at).unwrap_or(self.head())
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.writers.iter().all(|writer| writer.phase == Phase::Idle)
    }
}

impl Message {
    pub(super) fn value(self, message: u8, seq: u8) -> Option<Value> {
        let value = Value { version: self.version, seq, message, removed: self.kind == Kind::Remove };
        (self.kind != Kind::Plain).then_some(value)
    }
}

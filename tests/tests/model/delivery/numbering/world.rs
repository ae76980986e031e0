//! The state of the model of numbering: producers, the queue, a log that expires, two writers, one reader.

/// A message. Its id is its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Message {
    /// The number of times that its producer may still send it.
    pub(super) sends: u8,
    /// The queue knows it: it was taken less than five minutes ago.
    pub(super) is_known: bool,
    /// The number of times that the queue has taken it.
    pub(super) taken: u8,
}

/// The age of a record when it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Age {
    /// Received for the first time, within the five minutes.
    Fresh,
    /// Later, or again: it may be in the log.
    Old,
}

/// A record of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Record {
    pub(super) message: u8,
    /// A number that tells the record from the others of its message.
    pub(super) copy: u8,
    pub(super) age: Age,
}

/// An entry that is in the log, or was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) number: u8,
    pub(super) message: u8,
    /// The number before it; another one than the next below if the log was started anew with it.
    pub(super) previous: u8,
    /// The number of the first entry of its append.
    pub(super) append_start: u8,
    pub(super) is_there: bool,
    /// A query finds it. The rows of an append come into sight one by one.
    pub(super) is_shown: bool,
    pub(super) life: Life,
}

/// The distance of the time at which an entry expires, which is never earlier than that of entries before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Life {
    /// Longer than the margin, and so than any invocation lasts.
    Lasting,
    /// It is within the margin.
    Ending,
    /// Seconds: by another clock it may be gone.
    Last,
}

/// The end of the log as a writer has seen it: positions among all entries, but for those that it has not seen between
/// others, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tail {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) unseen: u16,
}

/// A write that is made next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Plan {
    /// The first number.
    pub(super) next: u8,
    /// For a write under the lock of the fence: the number that the fence must have, and the last number before this
    /// log.
    pub(super) fenced: Option<(Option<u8>, u8)>,
}

/// A consumer of the room's group.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Writer {
    /// The tail of the log that it remembers from one batch to the next.
    pub(super) memory: Option<Tail>,
    pub(super) batch: Vec<Record>,
    /// Another writer has finished its batch: its own time is over, except for a write that is under way.
    pub(super) is_over: bool,
    pub(super) phase: Phase,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    #[default]
    Idle,
    /// It reads the end of the log.
    Look,
    /// It reads the fence, and the head that was saved.
    ReadFence,
    /// It reads the end of the log once more: only a read after that of the fence shows who has moved the fence.
    LookAgain {
        fence: Option<u8>,
        saved: u8,
    },
    Write(Plan),
    /// It waits for the answer.
    Written,
    /// It saves the log's head, and acknowledges.
    Finish,
}

/// A client that has been in the room since the first entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    /// The last number that it has, without a gap.
    pub(super) position: u8,
    /// The last number that it had when it asked last.
    pub(super) asked: u8,
    /// Positions of the entries that it has, and of those that it was told it cannot have, one bit each.
    pub(super) seen: u16,
    pub(super) given_up: u16,
    /// Entries before this position were posted.
    pub(super) posted: usize,
    pub(super) reply: Reply,
    /// Something up to the head that it was told of is missing, and it does not know.
    pub(super) misses: bool,
    /// It was told that something is gone which is there.
    pub(super) is_misled: bool,
}

/// A reply to a `sync` or a join with `after`, on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    None,
    /// The log is read next.
    Asked,
    /// It has these entries of a first page, one bit each. The rest of the log is read next.
    Begun {
        read: u16,
    },
    /// It has these of the entries before `to`, one bit each.
    Found {
        read: u16,
        to: usize,
    },
    /// It found no entry there. The saved head is read next.
    Nothing,
    /// The saved head is another one. The newest entry is read next.
    Elsewhere {
        saved: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) messages: Vec<Message>,
    pub(super) queue: Vec<Record>,
    /// All entries that ever were in the log, ascending.
    pub(super) entries: Vec<Entry>,
    /// The fence: the number at which the log was last started, or carried on near its end.
    pub(super) fence: Option<u8>,
    /// The fence that comes into sight with an append.
    pub(super) next_fence: Option<u8>,
    /// The head as it was saved beside the log.
    pub(super) saved_head: u8,
    pub(super) writers: Vec<Writer>,
    pub(super) reader: Reader,
    /// The number of times that the log may still end.
    pub(super) ends: u8,
    pub(super) takes: u8,
    pub(super) redrives: u8,
    /// A number was given twice, or one below another that there was.
    pub(super) went_back: bool,
    /// A number was left out, and the log was not at its end.
    pub(super) gap: bool,
}

impl World {
    /// The newest entry, if the log shows any.
    pub(super) fn newest(&self) -> Option<usize> {
        self.entries.iter().rposition(|entry| entry.is_there && entry.is_shown)
    }

    /// Whether an append is under way whose rows are not all in sight.
    pub(super) fn has_hidden(&self) -> bool {
        self.next_fence.is_some() || self.entries.iter().any(|entry| !entry.is_shown)
    }

    /// Whether an entry is in sight and not all of its append before it.
    pub(super) fn is_in_part(&self) -> bool {
        let is_after = |hidden: &Entry, entry: &Entry| {
            entry.is_there && entry.is_shown && (entry.append_start..entry.number).contains(&hidden.number)
        };
        let hidden = self.entries.iter().filter(|entry| !entry.is_shown);
        hidden.into_iter().any(|hidden| self.entries.iter().any(|entry| is_after(hidden, entry)))
    }

    /// Forgets what was appended together once all of it is in sight.
    pub(super) fn forget_appends(&mut self) {
        if !self.has_hidden() {
            self.entries.iter_mut().for_each(|entry| entry.append_start = entry.number);
        }
    }

    /// The distance of the log's end.
    pub(super) fn life(&self) -> Option<Life> {
        self.entries.iter().rfind(|entry| entry.is_there).map(|newest| newest.life)
    }

    /// The oldest entry, if the log has any.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.entries.iter().position(|entry| entry.is_there && entry.is_shown)
    }

    /// The highest number that there ever was.
    pub(super) fn highest(&self) -> u8 {
        self.entries.iter().map(|entry| entry.number).max().unwrap_or_default()
    }

    /// The time, as a number: beyond all that there are, and all that somebody is about to give.
    pub(super) fn time(&self) -> u8 {
        let planned = |writer: &Writer| match writer.phase {
            Phase::Write(plan) => plan.next + u8::try_from(writer.batch.len()).unwrap_or_default(),
            _ => 0,
        };
        self.writers.iter().map(planned).fold(self.highest(), u8::max) + 2
    }
}

//! Numbering over the lives of a room's log: producers that send again, redelivery, two writers that remember what they
//! have seen, a log that expires, and a client that reads it.

mod act;
mod reader;
mod tests;
mod world;

use stateright::{Model, Property};

use world::{Age, Entry, Life, Message, Phase, Reader, Reply, World, Writer};

const NUMBERED_ONCE: &str = "no number is given twice, and none below another";
const CONSECUTIVE: &str = "numbers are consecutive while the log lasts";
const ONE_NUMBER: &str = "a message has one number for each time that the queue took it";
const NOTHING_LOST: &str = "what was accepted is in the queue, or was in the log";
const CONVERGES: &str = "a client has everything up to the head that it is told of, or knows what is gone";
const TRUTHFUL: &str = "a client is told that something is gone only where it is";

/// A log that was started anew, which the search must reach.
const RESTARTS: &str = "a log that was started anew";

/// The most by which the time may be above all numbers: 2, and 4 more for each of three plans, of two messages each,
/// that the two writers make in turns.
const LATEST: u8 = 14;

/// A rule that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// The queue takes a message with one id once in five minutes.
    Deduplicate,
    /// A batch that may be in the log is looked for as far back as it may be.
    Search,
    /// Entries are appended on condition that their numbers are free.
    Condition,
    /// A writer that finds its numbers taken, or the fence moved, reads on and appends its messages after that.
    ReadOn,
    /// A log that is empty, or ends soon, is written to under the lock of its fence.
    Fence,
    /// The end of the log is read after the fence.
    LookAgain,
    /// A log is carried on without the fence only if its end is further off than any invocation lasts.
    Margin,
    /// In its last seconds a log starts anew.
    StartAnew,
    /// An empty log starts at the time, beyond all numbers that there were.
    StartAtTime,
    /// A log that is started anew names as its predecessor the newest entry that there ever was, and not the newest
    /// that is still there.
    SavedHead,
    /// An append that is in sight in part is read again until it is there from its start on.
    ReadWhole,
    /// A writer that finds the fence of a log, and no entry from there on, waits for the entries.
    AwaitStart,
    /// A client is told when entries after its position are gone.
    TellGone,
    /// Also when it was between entries that are there.
    TellHoles,
}

/// A scenario that is searched.
#[derive(Clone, Debug)]
struct Numbering {
    messages: u8,
    /// The number of times that each message is sent.
    sends: u8,
    writers: usize,
    /// Writers crash.
    crashes: bool,
    /// The number of times that the log may come to its last seconds.
    ends: u8,
    /// Entries that retention takes while there are others.
    takes: u8,
    /// Records that come back from the dead-letter queue, behind all others.
    redrives: u8,
    /// The rows of an append come into sight one by one.
    in_part: bool,
    reader: bool,
    without: Option<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// A producer sends a message: for the first time, or again because it got no answer.
    Send {
        message: u8,
    },
    /// The five minutes are over in which the queue knows a message.
    Forget {
        message: u8,
    },
    Receive {
        writer: usize,
        records: usize,
    },
    Look {
        writer: usize,
    },
    ReadFence {
        writer: usize,
    },
    Write {
        writer: usize,
    },
    /// A row of an append comes into sight.
    Show {
        entry: usize,
    },
    ShowFence,
    /// The append is answered.
    Hear {
        writer: usize,
    },
    Finish {
        writer: usize,
    },
    Crash {
        writer: usize,
    },
    /// The first record, which was received before, is moved to the dead-letter queue, and comes back from there.
    Redrive,
    /// Retention takes the oldest entry.
    TakeOldest,
    /// The end of the log comes nearer.
    ComeNearer,
    /// The newest entry is deleted before one that is older (in the last seconds).
    TakeNewest,
    /// The log ends.
    End,
    /// A fence of a log that has ended expires.
    TakeFence,
    /// The next entry is posted to the reader; it arrives, or the reader is cut off.
    Post {
        arrives: bool,
    },
    /// The reader syncs, or comes back.
    Ask,
    Answer,
}

impl Numbering {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn writer_actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (writer, at_work) in world.writers.iter().enumerate() {
            match at_work.phase {
                Phase::Idle => {
                    let receivable = world.queue.len().min(2);
                    actions.extend((1..=receivable).map(|records| Action::Receive { writer, records }));
                }
                Phase::Look | Phase::LookAgain { .. } if self.shows_part(world) => {}
                Phase::Look | Phase::LookAgain { .. } => actions.push(Action::Look { writer }),
                Phase::ReadFence => actions.push(Action::ReadFence { writer }),
                Phase::Write(_) => actions.push(Action::Write { writer }),
                Phase::Written if world.has_hidden() => {}
                Phase::Written => actions.push(Action::Hear { writer }),
                Phase::Finish => actions.push(Action::Finish { writer }),
            }
            if self.crashes && *at_work != Writer::default() {
                actions.push(Action::Crash { writer });
            }
        }
    }

    /// Whether a query would show an append in part, and is made again.
    fn shows_part(&self, world: &World) -> bool {
        self.has(Rule::ReadWhole) && world.is_in_part()
    }

    fn table_actions(world: &World, actions: &mut Vec<Action>) {
        let hidden = (0..world.entries.len()).filter(|entry| !world.entries[*entry].is_shown);
        actions.extend(hidden.map(|entry| Action::Show { entry }));
        if world.next_fence.is_some() {
            actions.push(Action::ShowFence);
        }
    }

    fn time_actions(&self, world: &World, actions: &mut Vec<Action>) {
        // Rows come into sight within moments.
        if world.has_hidden() {
            return;
        }
        let (Some(oldest), Some(newest)) = (world.oldest(), world.newest()) else {
            if world.fence.is_some() && self.ends > 0 {
                actions.push(Action::TakeFence);
            }
            return;
        };
        // No invocation lasts as long as an entry: a writer that made its plan before the oldest entry was appended has
        // ended before retention takes that entry.
        let is_older = |phase: &Phase| matches!(phase, Phase::Write(plan) if plan.next <= world.entries[oldest].number);
        if world.takes > 0 && oldest < newest && !world.writers.iter().any(|writer| is_older(&writer.phase)) {
            actions.push(Action::TakeOldest);
        }
        let mut phases = world.writers.iter().map(|writer| &writer.phase);
        match world.entries[newest].life {
            // No invocation lasts as long as most of a log's life: a writer that was about to start the log, or has
            // appended to it, has ended.
            Life::Lasting if world.ends > 0 => {
                let is_old = |phase: &Phase| match phase {
                    Phase::Write(plan) => plan.fenced.is_some(),
                    phase => [Phase::Written, Phase::Finish].contains(phase),
                };
                if !phases.any(is_old) {
                    actions.push(Action::ComeNearer);
                }
            }
            // No invocation lasts as long as the margin: a writer that found the log lasting has written by now.
            Life::Ending => {
                let is_old = |phase: &Phase| matches!(phase, Phase::Write(plan) if plan.fenced.is_none());
                if !phases.any(is_old) || !self.has(Rule::Margin) {
                    actions.push(Action::ComeNearer);
                }
            }
            Life::Lasting => {}
            Life::Last => {
                actions.push(Action::End);
                // By the table's clock it has expired already.
                if world.takes > 0 && oldest < newest {
                    actions.push(Action::TakeNewest);
                }
            }
        }
    }

    fn reader_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let reader = &world.reader;
        // Entries are posted once their append is answered.
        let next = world.entries.get(reader.posted);
        let is_answered =
            |next: &Entry| world.entries.iter().all(|entry| entry.append_start != next.append_start || entry.is_shown);
        if next.is_some_and(is_answered) {
            actions.extend([true, false].map(|arrives| Action::Post { arrives }));
        }
        match reader.reply {
            Reply::None => actions.push(Action::Ask),
            Reply::Asked | Reply::Begun { .. } if self.shows_part(world) => {}
            _ => actions.push(Action::Answer),
        }
    }
}

impl Model for Numbering {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let message = Message { sends: self.sends, is_known: false, taken: 0 };
        // The first entry is a message that everybody has.
        let first = Entry {
            number: 1,
            message: u8::MAX,
            previous: 0,
            append_start: 1,
            is_there: true,
            is_shown: true,
            life: Life::Lasting,
        };
        let reader = Reader {
            position: 1,
            asked: 1,
            seen: 1,
            given_up: 0,
            posted: 1,
            reply: Reply::None,
            misses: false,
            is_misled: false,
        };
        vec![World {
            messages: vec![message; usize::from(self.messages)],
            queue: Vec::new(),
            entries: vec![first],
            fence: None,
            next_fence: None,
            saved_head: 1,
            writers: vec![Writer::default(); self.writers],
            reader,
            ends: self.ends,
            takes: self.takes,
            redrives: self.redrives,
            went_back: false,
            gap: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for (message, of) in (0..).zip(&world.messages) {
            // Messages are sent one after the other, since they are interchangeable.
            let is_next = of.taken > 0 || world.messages[..usize::from(message)].iter().all(|before| before.taken > 0);
            if of.sends > 0 && is_next {
                actions.push(Action::Send { message });
            }
            if of.is_known && of.sends > 0 {
                actions.push(Action::Forget { message });
            }
        }
        let came_before = world.queue.first().is_some_and(|record| record.age == Age::Old);
        if world.redrives > 0 && came_before && world.writers.iter().all(|writer| writer.batch.is_empty()) {
            actions.push(Action::Redrive);
        }
        self.writer_actions(world, actions);
        Self::table_actions(world, actions);
        self.time_actions(world, actions);
        if self.reader {
            self.reader_actions(world, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        act::act(self, &mut world, action);
        world.forget_appends();
        // The two writers are interchangeable.
        world.writers.sort();
        Some(world)
    }

    /// Two writers that crash in turns could each take a later time than the other for ever. How much later makes no
    /// difference.
    fn within_boundary(&self, world: &World) -> bool {
        world.time() <= world.highest() + LATEST
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NUMBERED_ONCE, |_: &Self, world: &World| !world.went_back),
            Property::always(CONSECUTIVE, |_: &Self, world: &World| !world.gap),
            Property::always(ONE_NUMBER, |_: &Self, world: &World| {
                let has_one = |(message, of): (u8, &Message)| {
                    let there = world.entries.iter().filter(|entry| entry.is_there && entry.message == message);
                    there.count() <= usize::from(of.taken)
                };
                (0..).zip(&world.messages).all(has_one)
            }),
            Property::always(NOTHING_LOST, |_: &Self, world: &World| {
                let is_safe = |(message, of): (u8, &Message)| {
                    of.taken == 0
                        || world.queue.iter().any(|record| record.message == message)
                        || world.entries.iter().any(|entry| entry.message == message)
                };
                (0..).zip(&world.messages).all(is_safe)
            }),
        ];
        if self.reader {
            properties.push(Property::always(CONVERGES, |_: &Self, world: &World| !world.reader.misses));
            properties.push(Property::always(TRUTHFUL, |_: &Self, world: &World| !world.reader.is_misled));
        }
        if self.ends > 0 {
            properties.push(Property::sometimes(RESTARTS, |_: &Self, world: &World| {
                world.entries.windows(2).any(|two| two[1].number > two[0].number + 1)
            }));
        }
        properties
    }
}

//! The groups of a batch: rooms side by side, one of which is stuck, and records that can never be broadcast.

mod tests;

use stateright::{Model, Property};

const NOTHING_LOST: &str = "a record is in the queue, in its room's log, or a dead letter with its reason";
const NO_HOPE: &str = "only what can never be broadcast is a dead letter, and once";
const IN_ORDER: &str = "a room's log has its messages in the order of the queue";
const NOT_HELD_UP: &str = "while one room is stuck, the other one's records are brought to their end";

/// A rule that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// A group that fails keeps its own records in the queue, and no other's.
    OwnRecords,
    /// All records of a failing group from the first unfinished one on come back.
    FromTheFirst,
    /// A dead letter is acknowledged when its queue has confirmed it.
    ConfirmLetters,
    /// A dead letter's deduplication id is that of its record.
    LetterId,
    /// The queue: a record in flight holds back all records of its group that come after it.
    InFlightBlocks,
}

/// A scenario that is searched.
#[derive(Clone, Debug)]
struct Groups {
    /// The records in the queue at first: the room of each, and whether the record can be broadcast.
    records: &'static [(usize, bool)],
    without: Option<Rule>,
}

/// A record, by its place among the scenario's.
type Record = usize;

/// One group's part of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Group {
    records: Vec<Record>,
    /// The number of leading records that are finished with.
    finished: usize,
    /// Its messages are in the log.
    is_logged: bool,
    has_failed: bool,
}

/// A consumer of the queue with its batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Consumer {
    groups: [Group; 2],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    queue: Vec<Record>,
    consumers: Vec<Consumer>,
    logs: [Vec<Record>; 2],
    letters: Vec<Record>,
    /// Nothing can be appended for the first room.
    is_stuck: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Receive {
        records: usize,
    },
    /// A group's messages are appended.
    Log {
        consumer: usize,
        room: usize,
    },
    /// A group's next dead letter is sent. `confirmed`: its queue's answer arrives.
    SendLetter {
        consumer: usize,
        room: usize,
        confirmed: bool,
    },
    /// A dead letter is not taken.
    RefuseLetter {
        consumer: usize,
        room: usize,
    },
    Answer {
        consumer: usize,
    },
    Crash {
        consumer: usize,
    },
    /// The room's table fails from now on, or answers again.
    Stick,
    Mend,
}

/// The next step of a group.
enum Next {
    Log,
    SendLetter,
    Nothing,
}

impl Groups {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn is_hopeless(&self, record: Record) -> bool {
        !self.records[record].1
    }

    /// Dead letters ahead of the first message go before anything is logged.
    fn next(&self, group: &Group) -> Next {
        match group.records.get(group.finished) {
            _ if group.has_failed => Next::Nothing,
            None => Next::Nothing,
            Some(record) if self.is_hopeless(*record) => Next::SendLetter,
            Some(_) => Next::Log,
        }
    }

    /// Counts off the messages that are in the log, up to the next dead letter.
    fn count_off(&self, group: &mut Group) {
        while group.is_logged && group.records.get(group.finished).is_some_and(|record| !self.is_hopeless(*record)) {
            group.finished += 1;
        }
    }

    /// Records that can be received: of a group that is in flight, none. Without the rule, those that are not in flight
    /// themselves.
    fn receivable(&self, world: &World) -> Vec<Record> {
        let is_held_back = |record: Record| {
            let room = self.records[record].0;
            let mut of_group = world.consumers.iter().flat_map(|consumer| &consumer.groups[room].records);
            of_group.any(|in_flight| *in_flight == record || self.has(Rule::InFlightBlocks))
        };
        world.queue.iter().copied().filter(|record| !is_held_back(*record)).collect()
    }

    fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Receive { records } => {
                let mut groups: [Group; 2] = Default::default();
                for record in self.receivable(world).into_iter().take(records) {
                    groups[self.records[record].0].records.push(record);
                }
                world.consumers.push(Consumer { groups });
            }
            Action::Log { consumer, room } => {
                let group = &mut world.consumers[consumer].groups[room];
                if room == 0 && world.is_stuck {
                    group.has_failed = true;
                    return;
                }
                group.is_logged = true;
                for record in group.records.iter().filter(|record| !self.is_hopeless(**record)) {
                    if !world.logs[room].contains(record) {
                        world.logs[room].push(*record);
                    }
                }
                self.count_off(group);
            }
            Action::SendLetter { consumer, room, confirmed } => {
                let group = &mut world.consumers[consumer].groups[room];
                let letter = group.records[group.finished];
                if !world.letters.contains(&letter) || !self.has(Rule::LetterId) {
                    world.letters.push(letter);
                }
                self.letter_sent(group, confirmed);
            }
            Action::RefuseLetter { consumer, room } => {
                let group = &mut world.consumers[consumer].groups[room];
                let counts = !self.has(Rule::ConfirmLetters);
                self.letter_sent(group, counts);
            }
            Action::Answer { consumer } => self.answer(world, consumer),
            Action::Crash { consumer } => drop(world.consumers.remove(consumer)),
            Action::Stick => world.is_stuck = true,
            Action::Mend => world.is_stuck = false,
        }
    }

    fn letter_sent(&self, group: &mut Group, confirmed: bool) {
        if confirmed {
            group.finished += 1;
            self.count_off(group);
        } else {
            group.has_failed = true;
        }
    }

    fn answer(&self, world: &mut World, consumer: usize) {
        let Consumer { groups } = world.consumers.remove(consumer);
        if !self.has(Rule::OwnRecords) && groups.iter().any(|group| group.has_failed) {
            return;
        }
        for group in groups {
            let is_left = |place: usize, record: Record| {
                // Without the rule, only the record that failed and later dead letters come back.
                place == group.finished
                    || (place > group.finished && (self.has(Rule::FromTheFirst) || self.is_hopeless(record)))
            };
            let mut done = group.records.iter().enumerate().filter(|(place, record)| !is_left(*place, **record));
            let done: Vec<Record> = done.by_ref().map(|(_, record)| *record).collect();
            world.queue.retain(|record| !done.contains(record));
        }
    }

    /// Whether all records of the second room come to their end while the first one is stuck for good.
    fn second_room_ends(&self, world: &World) -> bool {
        let mut world = World { is_stuck: true, ..world.clone() };
        for _ in 0..50 {
            if !world.queue.iter().any(|record| self.records[*record].0 == 1) && world.consumers.is_empty() {
                return true;
            }
            let mut actions = Vec::new();
            self.actions(&world, &mut actions);
            let step = actions.into_iter().rev().find(|action| match action {
                Action::Receive { .. } => world.consumers.is_empty(),
                Action::Log { .. } | Action::SendLetter { confirmed: true, .. } | Action::Answer { .. } => true,
                _ => false,
            });
            let Some(step) = step else { return false };
            self.act(&mut world, step);
        }
        false
    }
}

impl Model for Groups {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            queue: (0..self.records.len()).collect(),
            consumers: Vec::new(),
            logs: Default::default(),
            letters: Vec::new(),
            is_stuck: false,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.push(if world.is_stuck { Action::Mend } else { Action::Stick });
        actions.extend((1..=self.receivable(world).len()).map(|records| Action::Receive { records }));
        for (consumer, at_work) in world.consumers.iter().enumerate() {
            actions.push(Action::Crash { consumer });
            let mut is_over = true;
            for (room, group) in at_work.groups.iter().enumerate() {
                match self.next(group) {
                    Next::Nothing => continue,
                    Next::Log => actions.push(Action::Log { consumer, room }),
                    Next::SendLetter => {
                        actions.push(Action::RefuseLetter { consumer, room });
                        actions.push(Action::SendLetter { consumer, room, confirmed: false });
                        actions.push(Action::SendLetter { consumer, room, confirmed: true });
                    }
                }
                is_over = false;
            }
            if is_over {
                actions.push(Action::Answer { consumer });
            }
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        self.act(&mut world, action);
        world.consumers.sort();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOTHING_LOST, |model: &Self, world: &World| {
                let is_safe = |record: Record| {
                    let place =
                        if model.is_hopeless(record) { &world.letters } else { &world.logs[model.records[record].0] };
                    world.queue.contains(&record) || place.contains(&record)
                };
                (0..model.records.len()).all(is_safe)
            }),
            Property::always(NO_HOPE, |model: &Self, world: &World| {
                let once = |record: &Record| world.letters.iter().filter(|other| *other == record).count() == 1;
                world.letters.iter().all(|record| model.is_hopeless(*record) && once(record))
            }),
            Property::always(IN_ORDER, |_: &Self, world: &World| world.logs.iter().all(|log| log.is_sorted())),
            Property::always(NOT_HELD_UP, Self::second_room_ends),
        ]
    }
}

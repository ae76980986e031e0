//! State: one key of one room. Two writers take batches of the rooms' queue, append them to the log and write the
//! key's row; a client joins with state, and joins again.

mod act;
mod tests;
mod world;

use stateright::{Model, Property};

use world::{Client, Join, Message, Page, Phase, Reader, Value, World, Writer};

/// A client's snapshot, with the messages after it, is what the log says.
const EXACT: &str = "a client's map is the fold of the log";
/// A client's entry is only ever replaced by a greater one.
const NEVER_BACK: &str = "a key never goes back for a client";
/// State has everything up to the number that the log's head names.
const TRUE_HEAD: &str = "State is as complete as the head says";
/// Once everything is acknowledged, State is the fold of the log.
const CAUGHT_UP: &str = "when all is quiet, State is the fold of the log";
/// State has nothing that the log has not.
const LOGGED: &str = "what State has is in the log";

/// A rule that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Values are ordered by version, then number. Without the rule, the later one wins if either has no version.
    TotalOrder,
    /// A row is replaced by a greater value only.
    Condition,
    /// State is written after the append.
    AfterAppend,
    /// Entries say up to where State is complete.
    StateAt,
    /// Entries that State may lack are applied again before a writer calls State complete.
    ApplyAgain,
    /// An entry without a key says, too, up to where State is complete, while something before it may not be applied.
    PlainStateAt,
    /// Readers put the log's entries over the page.
    Merge,
    /// The head is read before State.
    HeadFirst,
    /// A kept page is used only if its head is not below the first page's.
    KeptAfterFirst,
    /// Pages tell of removed keys.
    Removed,
    /// Messages up to the first page's head do not touch the map.
    FirstHead,
    /// A key that is on no page of a later snapshot is dropped.
    Dropped,
    /// Pages of an earlier join are not applied.
    OwnJoin,
}

/// A scenario that is searched.
#[derive(Clone, Debug)]
struct Scenario {
    mixes: Vec<Vec<Message>>,
    writers: usize,
    /// Writers crash, and their writes fail.
    crashes: bool,
    client: bool,
    /// Pages of a snapshot: the key is on the last.
    pages: u8,
    without: Option<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Receive {
        writer: usize,
        messages: usize,
    },
    ReadEnd {
        writer: usize,
    },
    Append {
        writer: usize,
    },
    Put {
        writer: usize,
        seq: u8,
    },
    Acknowledge {
        writer: usize,
    },
    Crash {
        writer: usize,
    },
    /// A write was refused: the batch goes back, the memory stays.
    Refuse {
        writer: usize,
    },
    Join,
    ReadHead,
    ReadState,
    UseKept,
    /// The reply arrives. `again`: messages from before it are replayed too.
    Reply {
        again: bool,
    },
    LateReply,
    Deliver {
        up_to: u8,
    },
}

impl Scenario {
    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn supersedes(&self, new: Value, old: Option<Value>) -> bool {
        let Some(old) = old else { return true };
        if self.has(Rule::TotalOrder) || (new.version > 0 && old.version > 0) {
            new.order() > old.order()
        } else {
            new.seq > old.seq
        }
    }

    /// The greatest value among some numbers.
    fn fold(&self, world: &World, numbers: impl Iterator<Item = u8>) -> Option<Value> {
        let values = numbers.filter_map(|seq| world.value(seq));
        values.fold(None, |greatest, value| if self.supersedes(value, greatest) { Some(value) } else { greatest })
    }

    fn writer_actions(&self, world: &World, writer: usize, actions: &mut Vec<Action>) {
        match &world.writers[writer].phase {
            Phase::Idle => {
                let receivable = world.queue.len().min(2);
                actions.extend((1..=receivable).map(|messages| Action::Receive { writer, messages }));
            }
            Phase::Read => actions.push(Action::ReadEnd { writer }),
            Phase::Append => actions.push(Action::Append { writer }),
            Phase::Put(puts) => actions.extend(puts.iter().map(|seq| Action::Put { writer, seq: *seq })),
            Phase::Acknowledge => actions.push(Action::Acknowledge { writer }),
        }
        if self.crashes {
            if world.writers[writer] != Writer::default() {
                actions.push(Action::Crash { writer });
            }
            if matches!(world.writers[writer].phase, Phase::Put(_)) {
                actions.push(Action::Refuse { writer });
            }
        }
    }

    fn client_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let client = &world.client;
        actions.push(Action::Join);
        let is_streaming = match client.join {
            Join::Out => false,
            Join::Ready => true,
            Join::Page { page, .. } => page > 0,
        };
        if is_streaming {
            let most = world.head().min(client.position + 2);
            actions.extend((client.position + 1..=most).map(|up_to| Action::Deliver { up_to }));
        }
        let Join::Page { page, reader } = client.join else { return };
        if client.late.is_some() {
            actions.push(Action::LateReply);
        }
        match reader {
            Reader::Asked => {
                actions.push(if self.has(Rule::HeadFirst) { Action::ReadHead } else { Action::ReadState });
                let is_usable = |kept: &Page| page == 0 || kept.head >= client.first || !self.has(Rule::KeptAfterFirst);
                if world.kept[usize::from(page)].as_ref().is_some_and(is_usable) {
                    actions.push(Action::UseKept);
                }
            }
            Reader::Head { .. } => actions.push(Action::ReadState),
            Reader::Early { .. } => actions.push(Action::ReadHead),
            Reader::Reply(_) => {
                actions.push(Action::Reply { again: false });
                if page == 0 {
                    actions.push(Action::Reply { again: true });
                }
            }
        }
    }
}

/// A value as an application sees it: a tombstone is not shown.
fn shown(value: Option<Value>) -> Option<Value> {
    value.filter(|value| !value.removed)
}

impl Model for Scenario {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let world = |messages: &Vec<Message>| World {
            messages: messages.clone(),
            queue: (0..u8::try_from(messages.len()).unwrap()).collect(),
            log: Vec::new(),
            row: None,
            writers: vec![Writer::default(); self.writers],
            kept: [None; 2],
            client: Client::out(),
        };
        self.mixes.iter().map(world).collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for writer in 0..world.writers.len() {
            self.writer_actions(world, writer, actions);
        }
        if self.client {
            self.client_actions(world, actions);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        self.act(&mut world, action);
        // The two writers are interchangeable.
        world.writers.sort();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(TRUE_HEAD, |model: &Self, world: &World| {
                let due = model.fold(world, 1..=world.complete()).map(Value::order);
                due.is_none() || world.row.map(Value::order) >= due
            }),
            Property::always(CAUGHT_UP, |model: &Self, world: &World| {
                !world.is_quiet() || world.row == model.fold(world, 1..=world.head())
            }),
            Property::always(LOGGED, |_: &Self, world: &World| {
                world.row.is_none_or(|row| row.seq <= world.head() && world.value(row.seq) == Some(row))
            }),
        ];
        if self.client {
            properties.push(Property::always(EXACT, |model: &Self, world: &World| {
                // A page may be ahead of its head: State was read later.
                let entry = shown(world.client.entry);
                let mut folds = (world.client.covered..=world.head()).map(|number| model.fold(world, 1..=number));
                world.client.join != Join::Ready || folds.any(|fold| shown(fold) == entry)
            }));
            properties.push(Property::always(NEVER_BACK, |_: &Self, world: &World| !world.client.fell));
        }
        properties
    }
}

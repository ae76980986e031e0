//! State: one key of one room. Two writers take batches of the room's queue, append them to the log and write the key's row;
//! a client joins with state, and joins again.

mod tests;
mod world;

use stateright::{Model, Property};

use world::{Client, Entry, Join, Kind, Known, Message, Page, Phase, Reader, Value, World, Writer};

/// The snapshot, with what came after it, is what the log says.
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
    /// Values are ordered by version, then number; otherwise the later one wins if either has no version.
    TotalOrder,
    /// A row is replaced by a greater value only.
    Condition,
    /// State is written after the append.
    AfterAppend,
    /// Entries say up to where State is complete.
    StateAt,
    /// A writer that did not write what lies between applies it again before it calls it complete.
    ApplyAgain,
    /// An entry without a key says so too while something before it may not be applied.
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
    /// What no page of a later snapshot had is dropped.
    Dropped,
    /// Pages of an earlier join are not applied.
    OwnJoin,
}

/// What is looked at.
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

    fn append(&self, world: &mut World, writer: usize) {
        let Some(known) = world.writers[writer].known else { return };
        if known.head != world.head() {
            // Somebody else has appended.
            world.writers[writer].phase = Phase::Read;
            return;
        }
        let is_new = |message: &&u8| !world.log.iter().any(|entry| entry.message == **message);
        let new: Vec<_> = world.writers[writer].batch.iter().filter(is_new).copied().collect();
        let mut complete = known.complete;
        for message in new {
            while complete < world.head() && world.value(complete + 1).is_none() {
                complete += 1;
            }
            let has_key = world.messages[usize::from(message)].kind != Kind::Plain;
            let behind = complete < world.head() && self.has(Rule::PlainStateAt);
            let state_at = (has_key || behind).then_some(complete).filter(|_| self.has(Rule::StateAt));
            world.log.push(Entry { message, state_at });
        }
        let batch = world.writers[writer].batch.clone();
        let number_of = |message: &u8| world.log.iter().position(|entry| entry.message == *message);
        let own = batch.iter().filter_map(number_of).map(|position| u8::try_from(position + 1).unwrap());
        let (again, own) = (self.fold(world, known.complete + 1..=known.head), self.fold(world, own));
        let again = again.filter(|_| self.has(Rule::ApplyAgain));
        let mut puts: Vec<_> = again.into_iter().chain(own).map(|value| value.seq).collect();
        puts.sort_unstable();
        puts.dedup();
        if !self.has(Rule::AfterAppend) {
            puts.clear();
        }
        let head = world.head();
        world.writers[writer].known = Some(Known { head, ..known });
        world.writers[writer].phase = Phase::Put(puts);
        Self::after_put(world, writer);
    }

    fn put(&self, world: &mut World, value: Value) {
        if !self.has(Rule::Condition) || self.supersedes(value, world.row) {
            world.row = Some(value);
        }
    }

    /// Without a put that is left, everything up to the head is in State.
    fn after_put(world: &mut World, writer: usize) {
        let writer = &mut world.writers[writer];
        if writer.phase == Phase::Put(Vec::new()) {
            writer.known = writer.known.map(|known| Known { complete: known.head, ..known });
            writer.phase = Phase::Acknowledge;
        }
    }

    /// State is written before the append, under the numbers that are expected (only without the rule).
    fn put_early(&self, world: &mut World, writer: usize) {
        let Some(known) = world.writers[writer].known else { return };
        let mut seq = known.head;
        for message in world.writers[writer].batch.clone() {
            let logged = world.log.iter().take(usize::from(known.head)).any(|entry| entry.message == message);
            if !logged {
                seq += 1;
                if let Some(value) = world.messages[usize::from(message)].value(message, seq) {
                    self.put(world, value);
                }
            }
        }
    }

    /// What the map does with a value.
    fn apply(&self, client: &mut Client, value: Value) {
        if self.supersedes(value, client.entry) {
            client.fell |= value.order() < client.greatest;
            client.greatest = client.greatest.max(value.order());
            client.entry = Some(value);
        }
    }

    /// The last page has the key.
    fn page_of(&self, world: &World, page: u8, (head, complete): (u8, u8), value: Option<Value>) -> Page {
        if page + 1 < self.pages {
            return Page { head, value: None };
        }
        let between = self.fold(world, complete + 1..=head).filter(|_| self.has(Rule::Merge));
        let newer = between.filter(|between| self.supersedes(*between, value));
        Page { head, value: newer.or(value) }
    }

    fn reply(&self, world: &mut World, page: u8, Page { head, value }: Page, again: bool) {
        let client = &mut world.client;
        if page == 0 {
            client.first = head;
            client.position = if again { client.position } else { head };
        }
        if page + 1 < self.pages {
            client.join = Join::Page { page: page + 1, reader: Reader::Asked };
            return;
        }
        let is_told = |value: &Value| {
            !value.removed || self.has(Rule::Removed) && (value.version > 0 || value.seq > client.first)
        };
        let value = value.filter(is_told);
        client.covered = client.covered.max(head);
        match (value, client.entry) {
            (Some(value), _) => self.apply(client, value),
            (None, Some(entry)) if entry.seq <= client.first && self.has(Rule::Dropped) => client.entry = None,
            _ => {}
        }
        client.join = Join::Ready;
    }

    fn deliver(&self, world: &mut World, up_to: u8) {
        let value = self.fold(world, world.client.position + 1..=up_to);
        let client = &mut world.client;
        client.position = up_to;
        client.covered = client.covered.max(up_to);
        if let Some(value) = value.filter(|value| value.seq > client.first || !self.has(Rule::FirstHead)) {
            self.apply(client, value);
        }
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

    fn read(&self, world: &mut World, action: Action) {
        let Join::Page { page, reader } = world.client.join else { return };
        let (head, row) = ((world.head(), world.complete()), world.row);
        let reader = match (action, reader) {
            (Action::UseKept, _) => world.kept[usize::from(page)].map_or(reader, Reader::Reply),
            (Action::ReadHead, Reader::Early { value }) => Reader::Reply(self.page_of(world, page, head, value)),
            (Action::ReadHead, _) => Reader::Head { head: head.0, complete: head.1 },
            (Action::ReadState, Reader::Head { head, complete }) => {
                Reader::Reply(self.page_of(world, page, (head, complete), row))
            }
            (Action::ReadState, _) => Reader::Early { value: row },
            _ => reader,
        };
        if let Reader::Reply(read) = reader {
            world.kept[usize::from(page)] = Some(read);
        }
        world.client.join = Join::Page { page, reader };
    }

    fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Receive { writer, messages } => {
                let batch = world.queue[..messages].to_vec();
                let writer = &mut world.writers[writer];
                writer.phase = if writer.known.is_some() { Phase::Append } else { Phase::Read };
                writer.batch = batch;
            }
            Action::ReadEnd { writer } => {
                // What it knows itself stays true.
                let known = world.writers[writer].known.map_or(0, |known| known.complete);
                let complete = known.max(world.complete());
                world.writers[writer].known = Some(Known { head: world.head(), complete });
                world.writers[writer].phase = Phase::Append;
                if !self.has(Rule::AfterAppend) {
                    self.put_early(world, writer);
                }
            }
            Action::Append { writer } => self.append(world, writer),
            Action::Put { writer, seq } => {
                if let Some(value) = world.value(seq) {
                    self.put(world, value);
                }
                if let Phase::Put(puts) = &mut world.writers[writer].phase {
                    puts.retain(|put| *put != seq);
                }
                Self::after_put(world, writer);
            }
            Action::Acknowledge { writer } => {
                let batch = std::mem::take(&mut world.writers[writer].batch);
                world.queue.retain(|message| !batch.contains(message));
                world.writers[writer].phase = Phase::Idle;
            }
            Action::Crash { writer } => world.writers[writer] = Writer::default(),
            Action::Refuse { writer } => {
                world.writers[writer].batch.clear();
                world.writers[writer].phase = Phase::Idle;
            }
            Action::Join => {
                if let (false, Join::Page { reader: Reader::Reply(page), .. }) =
                    (self.has(Rule::OwnJoin), world.client.join)
                {
                    world.client.late = Some(page);
                }
                world.client.join = Join::Page { page: 0, reader: Reader::Asked };
            }
            Action::ReadHead | Action::ReadState | Action::UseKept => self.read(world, action),
            Action::Reply { again } => {
                if let Join::Page { page, reader: Reader::Reply(reply) } = world.client.join {
                    self.reply(world, page, reply, again);
                }
            }
            Action::LateReply => {
                if let (Join::Page { page, .. }, Some(reply)) = (world.client.join, world.client.late.take()) {
                    self.reply(world, page, reply, false);
                }
            }
            Action::Deliver { up_to } => self.deliver(world, up_to),
        }
    }
}

/// A tombstone is not shown.
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
        // Which of two writers does a thing makes no difference.
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

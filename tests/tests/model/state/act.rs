//! The effect of each step of the writers and of the client.

use super::world::{Client, Entry, Join, Kind, Known, Page, Phase, Reader, Value, World, Writer};
use super::{Action, Rule, Scenario};

impl Scenario {
    fn append(&self, world: &mut World, writer: usize) {
        let Some(known) = world.writers[writer].known else { return };
        if known.head != world.head() {
            // Another writer has appended.
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

    /// Notes that State has everything up to the head, when no put is left.
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

    /// Applies a value to the client's map.
    fn apply(&self, client: &mut Client, value: Value) {
        if self.supersedes(value, client.entry) {
            client.fell |= value.order() < client.greatest;
            client.greatest = client.greatest.max(value.order());
            client.entry = Some(value);
        }
    }

    /// A page of a snapshot, of which only the last one has the key.
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

    pub(super) fn act(&self, world: &mut World, action: Action) {
        match action {
            Action::Receive { writer, messages } => {
                let batch = world.queue[..messages].to_vec();
                let writer = &mut world.writers[writer];
                writer.phase = if writer.known.is_some() { Phase::Append } else { Phase::Read };
                writer.batch = batch;
            }
            Action::ReadEnd { writer } => {
                // State stays complete up to the number that the writer knew.
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

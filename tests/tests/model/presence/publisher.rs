//! The publication of a room's list: rows that change, ticks that stand for the changes, an index that lags, and two
//! consumers of the ticks that crash anywhere.

use stateright::{Model, Property};

use super::room::{Consumer, Phase, Room, Row, list_of};

/// No change is overlooked for ever.
pub(super) const CAUGHT_UP: &str = "when all is quiet, the list is that of the rows";
/// Two publications never share a rev.
pub(super) const ONE_LIST: &str = "a rev has one list";
/// The leases of living members do not end.
pub(super) const STAYS: &str = "nobody's lease ends who is there";
/// The lifecycle events of every publication are put.
pub(super) const EVENTS: &str = "when all is quiet, every publication's events were put";
/// The order of events, also across crashes.
pub(super) const IN_ORDER: &str = "events of a rev are put after those of the rev before";
/// The frames of every publication are sent.
pub(super) const FRAMES: &str = "when all is quiet, every publication's frame was sent";

/// A rule that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A client's `sync` renews its row before the lease ends.
    Renew,
    /// A tick is sent after the row is written.
    TickAfterWrite,
    /// A tick is handled when the index shows the changes that it stands for.
    Delay,
    /// A room at which nobody has looked for long gets a tick.
    Check,
    /// The row is put on condition that its rev is the one that was read.
    Condition,
    /// A tick that finds itself named in the row sends the row's last change again.
    By,
    /// A tick is done when frame and events are out.
    DoneLast,
    /// A tick is held by one consumer at a time: an invocation ends before its ticks are visible again.
    Hold,
}

/// A scenario that is searched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Publishing {
    /// The number of changes of rows.
    pub(super) changes: u8,
    /// The number of ticks that get lost and of leases that end unreported.
    pub(super) losses: u8,
    pub(super) without: &'static [Rule],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A connection joins or ends.
    Change {
        connection: usize,
    },
    /// `same_second`: the tick before stands for this change too.
    SendTick {
        connection: usize,
        same_second: bool,
    },
    LoseTick {
        connection: usize,
    },
    /// The row that was announced is written (only without the rule).
    WriteLate {
        connection: usize,
    },
    /// A client is gone, and nobody is told: it renews its row no more.
    FallSilent {
        connection: usize,
    },
    /// The lease of a silent client ends.
    Lapse {
        connection: usize,
    },
    Check,
    CatchUp {
        connection: usize,
    },
    Due {
        tick: usize,
    },
    Receive {
        consumer: usize,
        ticks: usize,
    },
    Step {
        consumer: usize,
    },
    Crash {
        consumer: usize,
    },
}

impl Publishing {
    fn has(&self, rule: Rule) -> bool {
        !self.without.contains(&rule)
    }

    fn is_quiet(&self, room: &Room) -> bool {
        room.ticks.is_empty()
            && room.lagging() == 0
            && !(room.is_untold && self.has(Rule::Check))
            && (0..3).all(|connection| !room.unsent[connection] && room.unwritten[connection].is_none())
            && room.consumers.iter().all(|consumer| consumer.phase == Phase::Idle)
    }

    fn change(&self, room: &mut Room, connection: usize) {
        room.changes += 1;
        let data = if room.rows[connection] == 0 { room.joins + 1 } else { 0 };
        room.joins = room.joins.max(data);
        if self.has(Rule::TickAfterWrite) {
            room.write(connection, data);
            room.unsent[connection] = true;
        } else {
            room.unwritten[connection] = Some(data);
            room.unsent[connection] = true;
        }
    }

    fn step(&self, room: &mut Room, consumer: usize) {
        let Consumer { batch, has_resent, phase } = room.consumers[consumer].clone();
        let next = match phase {
            Phase::Idle => Phase::Idle,
            Phase::ReadRow => {
                let row = room.row;
                if self.has(Rule::By) && batch.contains(&row.by) && !has_resent {
                    room.consumers[consumer].has_resent = true;
                    // The frame last: while the bus refuses, it would be sent again each time.
                    Phase::Events { rev: row.rev, is_last: false }
                } else if batch.iter().all(|tick| *tick <= row.read_at) {
                    Phase::Done
                } else {
                    Phase::ReadIndex(row)
                }
            }
            Phase::ReadIndex(row) => Phase::ReadRest { row, read_at: room.last_due(), first: list_of(room.index)[0] },
            Phase::ReadRest { row, read_at, first } => {
                let list = [first, list_of(room.index)[1]];
                if list == row.list { Phase::Done } else { Phase::Put { row, read_at, list } }
            }
            Phase::Put { row, read_at, list } => {
                if self.has(Rule::Condition) && room.row.rev != row.rev {
                    Phase::ReadRow
                } else {
                    self.publish(room, consumer, Row { rev: row.rev + 1, list, by: batch[0], read_at })
                }
            }
            Phase::Send { rev, is_last } => {
                room.frames |= 1 << rev;
                if is_last { Phase::ReadRow } else { Phase::Events { rev, is_last: true } }
            }
            Phase::Events { rev, is_last } => {
                room.skipped |= rev > room.events + 1;
                room.events = room.events.max(rev);
                if is_last { Phase::ReadRow } else { Phase::Send { rev, is_last: true } }
            }
            Phase::Done => {
                room.done(&batch);
                room.consumers[consumer] = Consumer::default();
                return;
            }
        };
        room.consumers[consumer].phase = next;
    }

    fn publish(&self, room: &mut Room, consumer: usize, row: Row) -> Phase {
        let rev = usize::from(row.rev);
        if rev < room.history.len() {
            room.two_lists |= room.history[rev] != row.list;
        } else {
            room.history.push(row.list);
        }
        room.row = row;
        // The consumer sends this change now, and need not send it again.
        room.consumers[consumer].has_resent = true;
        if !self.has(Rule::DoneLast) {
            let batch = room.consumers[consumer].batch.clone();
            room.done(&batch);
        }
        Phase::Send { rev: row.rev, is_last: false }
    }
}

impl Model for Publishing {
    type State = Room;
    type Action = Action;

    fn init_states(&self) -> Vec<Room> {
        vec![Room {
            rows: [0; 3],
            index: [0; 3],
            unsent: [false; 3],
            unwritten: [None; 3],
            changes: 0,
            joins: 0,
            losses: 0,
            is_silent: [false; 3],
            is_untold: false,
            ticks: Vec::new(),
            last_tick: 0,
            row: Row::default(),
            consumers: vec![Consumer::default(); 2],
            history: vec![[0; 2]],
            two_lists: false,
            frames: 0,
            events: 0,
            skipped: false,
            lapsed: false,
        }]
    }

    fn actions(&self, room: &Room, actions: &mut Vec<Action>) {
        for connection in 0..3 {
            let is_idle =
                !room.unsent[connection] && room.unwritten[connection].is_none() && !room.is_silent[connection];
            if is_idle && room.changes < self.changes {
                actions.push(Action::Change { connection });
            }
            if room.unsent[connection] {
                actions.push(Action::SendTick { connection, same_second: false });
                if room.ticks.last().is_some_and(|tick| !tick.is_due) {
                    actions.push(Action::SendTick { connection, same_second: true });
                }
                if room.losses < self.losses {
                    actions.push(Action::LoseTick { connection });
                }
            } else if room.unwritten[connection].is_some() {
                actions.push(Action::WriteLate { connection });
            }
            if is_idle && room.rows[connection] > 0 && room.losses < self.losses {
                actions.push(Action::FallSilent { connection });
            }
            let renews = self.has(Rule::Renew) && !room.is_silent[connection];
            if room.rows[connection] > 0 && !renews && room.lagging() & 1 << connection == 0 {
                actions.push(Action::Lapse { connection });
            }
            if room.lagging() & 1 << connection != 0 {
                actions.push(Action::CatchUp { connection });
            }
        }
        if room.is_untold && self.has(Rule::Check) {
            actions.push(Action::Check);
        }
        if let Some(tick) = room.ticks.iter().position(|tick| !tick.is_due)
            && (room.ticks[tick].lagging == 0 || !self.has(Rule::Delay))
        {
            actions.push(Action::Due { tick });
        }
        let due = room.ticks.iter().take_while(|tick| tick.is_due).count();
        let is_held = room.consumers.iter().any(|consumer| !consumer.batch.is_empty());
        for (consumer, at_work) in room.consumers.iter().enumerate() {
            if at_work.phase == Phase::Idle {
                let free = if is_held && self.has(Rule::Hold) { 0 } else { due };
                actions.extend((1..=free).map(|ticks| Action::Receive { consumer, ticks }));
            } else {
                actions.push(Action::Step { consumer });
                actions.push(Action::Crash { consumer });
            }
        }
    }

    fn next_state(&self, room: &Room, action: Action) -> Option<Room> {
        let mut room = room.clone();
        match action {
            Action::Change { connection } => self.change(&mut room, connection),
            Action::SendTick { connection, same_second } => {
                room.unsent[connection] = false;
                room.send_tick(same_second);
            }
            Action::LoseTick { connection } => {
                room.losses += 1;
                room.unsent[connection] = false;
                room.is_untold = true;
            }
            Action::WriteLate { connection } => {
                if let Some(data) = room.unwritten[connection].take() {
                    room.write(connection, data);
                }
            }
            Action::FallSilent { connection } => {
                room.losses += 1;
                room.is_silent[connection] = true;
            }
            Action::Lapse { connection } => {
                // The index has the lease's end as well, so it shows the lapse at once.
                room.lapsed |= !room.is_silent[connection];
                room.is_silent[connection] = false;
                (room.rows[connection], room.index[connection]) = (0, 0);
                room.is_untold = true;
            }
            Action::Check => {
                room.is_untold = false;
                room.send_tick(false);
            }
            Action::CatchUp { connection } => {
                room.index[connection] = room.rows[connection];
                room.ticks.iter_mut().for_each(|tick| tick.lagging &= !(1 << connection));
            }
            Action::Due { tick } => room.ticks[tick].is_due = true,
            Action::Receive { consumer, ticks } => {
                let batch = room.ticks[..ticks].iter().map(|tick| tick.id).collect();
                room.consumers[consumer] = Consumer { batch, has_resent: false, phase: Phase::ReadRow };
            }
            Action::Step { consumer } => self.step(&mut room, consumer),
            Action::Crash { consumer } => room.consumers[consumer] = Consumer::default(),
        }
        // The two consumers are interchangeable.
        room.consumers.sort();
        Some(room)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(CAUGHT_UP, |model: &Self, room: &Room| {
                !model.is_quiet(room) || room.row.list == list_of(room.rows)
            }),
            Property::always(ONE_LIST, |_: &Self, room: &Room| !room.two_lists),
            Property::always(STAYS, |_: &Self, room: &Room| !room.lapsed),
            Property::always(EVENTS, |model: &Self, room: &Room| !model.is_quiet(room) || room.events == room.row.rev),
            Property::always(IN_ORDER, |_: &Self, room: &Room| !room.skipped),
            Property::always(FRAMES, |model: &Self, room: &Room| {
                !model.is_quiet(room) || (1..=room.row.rev).all(|rev| room.frames & 1 << rev != 0)
            }),
        ]
    }
}

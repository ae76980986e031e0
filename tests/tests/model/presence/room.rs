//! The room that the model of publishing keeps: the rows of its members, the index, ticks, and the consumers of these.

use super::List;

/// The subject of each of three connections: one has two.
const SUBJECTS: [usize; 3] = [0, 0, 1];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tick {
    pub(super) id: u8,
    /// Its delay is over.
    pub(super) is_due: bool,
    /// The connections whose changes it stands for and the index does not show yet, one bit each.
    pub(super) lagging: u8,
}

/// The room's row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Row {
    pub(super) rev: u8,
    pub(super) list: List,
    /// The tick that it was published for.
    pub(super) by: u8,
    /// The last tick that was due when the index was read.
    pub(super) read_at: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Consumer {
    /// Ids of ticks.
    pub(super) batch: Vec<u8>,
    /// It has sent the row's last change again.
    pub(super) has_resent: bool,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Phase {
    #[default]
    Idle,
    ReadRow,
    ReadIndex(Row),
    /// The first subject is read.
    ReadRest {
        row: Row,
        read_at: u8,
        first: u8,
    },
    Put {
        row: Row,
        read_at: u8,
        list: List,
    },
    /// The frame: before the events of a publication, after them when it is told again.
    Send {
        rev: u8,
        is_last: bool,
    },
    Events {
        rev: u8,
        is_last: bool,
    },
    Done,
}

#[allow(clippy::struct_excessive_bools, reason = "what the properties ask")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Room {
    /// The data of each connection's row, 0 where there is none. Data is newer the higher it is.
    pub(super) rows: [u8; 3],
    pub(super) index: [u8; 3],
    /// A session's invocation between its two calls: the row that it has yet to write, or the tick that it has yet to
    /// send.
    pub(super) unsent: [bool; 3],
    pub(super) unwritten: [Option<u8>; 3],
    pub(super) changes: u8,
    pub(super) joins: u8,
    pub(super) losses: u8,
    /// Clients that renew their rows no more: a lease may end at any step from then on.
    pub(super) is_silent: [bool; 3],
    /// There was a change without a tick.
    pub(super) is_untold: bool,
    /// Ticks that are not done, in order.
    pub(super) ticks: Vec<Tick>,
    pub(super) last_tick: u8,
    pub(super) row: Row,
    pub(super) consumers: Vec<Consumer>,
    /// The list of each rev.
    pub(super) history: Vec<List>,
    pub(super) two_lists: bool,
    /// The revs whose frames were sent, one bit each.
    pub(super) frames: u8,
    /// The last rev whose events were put.
    pub(super) events: u8,
    pub(super) skipped: bool,
    /// A living client is not a member any more.
    pub(super) lapsed: bool,
}

/// The list for these rows: the newest data of each subject.
pub(super) fn list_of(rows: [u8; 3]) -> List {
    let mut list = [0; 2];
    for (data, subject) in rows.iter().zip(SUBJECTS) {
        list[subject] = list[subject].max(*data);
    }
    list
}

impl Room {
    pub(super) fn lagging(&self) -> u8 {
        (0..3)
            .filter(|connection| self.rows[*connection] != self.index[*connection])
            .map(|connection| 1 << connection)
            .sum()
    }

    pub(super) fn send_tick(&mut self, same_second: bool) {
        let lagging = self.lagging();
        match self.ticks.last_mut() {
            Some(tick) if same_second => tick.lagging |= lagging,
            _ => {
                self.last_tick += 1;
                self.ticks.push(Tick { id: self.last_tick, is_due: false, lagging });
            }
        }
    }

    pub(super) fn last_due(&self) -> u8 {
        // Ticks that are done were due before.
        let not_due = self.ticks.iter().find(|tick| !tick.is_due).map(|tick| tick.id);
        not_due.unwrap_or(self.last_tick + 1) - 1
    }

    pub(super) fn write(&mut self, connection: usize, data: u8) {
        self.rows[connection] = data;
    }

    pub(super) fn done(&mut self, batch: &[u8]) {
        self.ticks.retain(|tick| !batch.contains(&tick.id));
    }
}

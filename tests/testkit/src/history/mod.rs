//! The checker of recorded histories: it compares what each connection's application saw with each room's log.
//!
//! It knows nothing of how messages travel. The recorder says what a connection had to see and what it was allowed to
//! see. Every deviation is reported on its own, precisely enough to find it in the logs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// A room's log, the truth of what was sent and in which order.
#[derive(Clone, Debug)]
pub struct RoomLog {
    room: String,
    entries: BTreeMap<u64, LogEntry>,
}

#[derive(Clone, Debug)]
struct LogEntry {
    id: String,
    skippable: bool,
}

impl RoomLog {
    /// A log of messages, each with its `seq` and `id`.
    ///
    /// # Panics
    /// When a number or an id occurs twice, or numbers do not ascend: then the log itself is broken.
    pub fn new(room: &str, messages: impl IntoIterator<Item = (u64, String)>) -> Self {
        let (mut entries, mut ids, mut last) = (BTreeMap::new(), BTreeSet::new(), None);
        for (seq, id) in messages {
            assert!(last < Some(seq), "the log of {room} is not in order: {seq} follows {last:?}");
            assert!(ids.insert(id.clone()), "the log of {room} has {id} twice, again at {seq}");
            entries.insert(seq, LogEntry { id, skippable: false });
            last = Some(seq);
        }
        Self { room: room.to_owned(), entries }
    }

    /// Marks a message that a connection need not see, because a newer version of its key was broadcast in the same
    /// frame.
    ///
    /// # Panics
    /// When there is no such message.
    pub fn skippable(&mut self, seq: u64) {
        self.entries.get_mut(&seq).expect("a message of the log").skippable = true;
    }

    /// The number of the last message; 0 when the log is empty.
    pub fn head(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(seq, _)| *seq)
    }
}

/// A span in which a connection was in a room, in numbers of the room's log.
#[derive(Clone, Debug)]
pub struct Membership {
    room: String,
    must_see: Span,
    may_see: Span,
}

/// The numbers above `after`, up to and including `through`.
#[derive(Clone, Copy, Debug)]
struct Span {
    after: u64,
    through: u64,
}

impl Span {
    fn contains(self, seq: u64) -> bool {
        self.after < seq && seq <= self.through
    }
}

impl Membership {
    /// A connection that stays in the room, since the head was `head`: it must see everything after that. It may see
    /// earlier messages too, since a broadcast can be under way while it joins.
    pub fn since(room: &str, head: u64) -> Self {
        let through = u64::MAX;
        Self { room: room.to_owned(), must_see: Span { after: head, through }, may_see: Span { after: 0, through } }
    }

    /// It may not even see messages up to number `seq`.
    #[must_use]
    pub fn nothing_before(mut self, seq: u64) -> Self {
        self.may_see.after = seq;
        self
    }

    /// It left the room: it must have seen everything up to `must`, and nothing beyond `may`. The numbers between were
    /// sent while it was leaving.
    #[must_use]
    pub fn until(mut self, must: u64, may: u64) -> Self {
        self.must_see.through = must;
        self.may_see.through = may;
        self
    }
}

/// A message that an application saw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The room.
    pub room: String,
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub id: String,
}

impl Seen {
    /// A message that was seen.
    pub fn new(room: &str, seq: u64, id: &str) -> Self {
        Self { room: room.to_owned(), seq, id: id.to_owned() }
    }
}

/// The rooms of one connection, and the messages that its application saw, in order.
#[derive(Clone, Debug)]
pub struct History {
    /// A name for reports.
    pub connection: String,
    /// The spans in which it was in rooms.
    pub memberships: Vec<Membership>,
    /// The messages that it saw, in order.
    pub seen: Vec<Seen>,
}

/// The promise about repetitions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// Every message at most once: what an application behind a client library sees.
    Once,
    /// Messages may come again, even after later ones, as they arrive on a connection. Their first arrivals must be in
    /// order all the same.
    AtLeastOnce,
}

/// A deviation from the promises. `place` counts the messages that a connection saw, from 0.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Violation {
    /// A message that it had to see.
    Lost {
        /// The message.
        message: Seen,
    },
    /// A message seen before.
    Twice {
        /// The message.
        message: Seen,
        /// The place where it was seen first.
        first: usize,
        /// The place where it was seen again.
        place: usize,
    },
    /// A message seen after a later one.
    OutOfOrder {
        /// The message.
        message: Seen,
        /// The number of the later one.
        later: u64,
        /// The place where it was seen.
        place: usize,
    },
    /// A message of a room that it never was in.
    ForeignRoom {
        /// The message.
        message: Seen,
        /// The place where it was seen.
        place: usize,
    },
    /// A message of a room that it was in, but not at that time.
    OutsideMembership {
        /// The message.
        message: Seen,
        /// The place where it was seen.
        place: usize,
    },
    /// A message that is not in the log.
    NotInLog {
        /// The message.
        message: Seen,
        /// The place where it was seen.
        place: usize,
    },
    /// A number under which the log has another message.
    WrongId {
        /// The message.
        message: Seen,
        /// The id that the log has under its number.
        in_log: String,
        /// The place where it was seen.
        place: usize,
    },
}

/// A violation, and the connection that it happened to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The connection.
    pub connection: String,
    /// The violation.
    pub violation: Violation,
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} #{} ({})", self.room, self.seq, self.id)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.connection)?;
        match &self.violation {
            Violation::Lost { message } => write!(formatter, "lost {message}"),
            Violation::Twice { message, first, place } => {
                write!(formatter, "saw {message} twice, at {first} and at {place}")
            }
            Violation::OutOfOrder { message, later, place } => {
                write!(formatter, "saw {message} at {place}, after #{later}")
            }
            Violation::ForeignRoom { message, place } => {
                write!(formatter, "saw {message} at {place}, but never was in that room")
            }
            Violation::OutsideMembership { message, place } => {
                write!(formatter, "saw {message} at {place}, but was not in the room then")
            }
            Violation::NotInLog { message, place } => {
                write!(formatter, "saw {message} at {place}, which is not in the log")
            }
            Violation::WrongId { message, in_log, place } => {
                write!(formatter, "saw {message} at {place}, but the log has {in_log} under that number")
            }
        }
    }
}

/// Checks every history against the logs; returns all violations.
///
/// # Panics
/// When there is no log of a room that a connection was in.
pub fn check(logs: &[RoomLog], histories: &[History], delivery: Delivery) -> Vec<Finding> {
    let logs: HashMap<_, _> = logs.iter().map(|log| (log.room.as_str(), log)).collect();
    let mut findings = Vec::new();
    for history in histories {
        let connection = history.connection.clone();
        let mut report = |violation| findings.push(Finding { connection: connection.clone(), violation });
        let mut rooms = HashMap::new();
        for (place, message) in history.seen.iter().enumerate() {
            let room: &mut RoomProgress = rooms.entry(message.room.as_str()).or_default();
            check_one(&logs, history, delivery, room, place, message).into_iter().for_each(&mut report);
        }
        let saw = |room: &str, seq| rooms.get(room).is_some_and(|room| room.first_seen.contains_key(&seq));
        for (room, seq, entry) in owed(&logs, history) {
            if !saw(room, seq) {
                report(Violation::Lost { message: Seen::new(room, seq, &entry.id) });
            }
        }
    }
    findings
}

/// Checks and panics with a report when anything is wrong.
///
/// # Panics
/// When anything is wrong.
pub fn assert_clean(logs: &[RoomLog], histories: &[History], delivery: Delivery) {
    const SHOWN: usize = 20;
    let findings = check(logs, histories, delivery);
    let shown: Vec<_> = findings.iter().take(SHOWN).map(|finding| format!("  {finding}")).collect();
    assert!(findings.is_empty(), "{} violations, the first of them:\n{}", findings.len(), shown.join("\n"));
}

/// The messages that a connection has seen of a room so far: where each number was seen first, and the largest.
#[derive(Default)]
struct RoomProgress {
    first_seen: HashMap<u64, usize>,
    largest: u64,
}

fn check_one(
    logs: &HashMap<&str, &RoomLog>,
    history: &History,
    delivery: Delivery,
    progress: &mut RoomProgress,
    place: usize,
    message: &Seen,
) -> Option<Violation> {
    let mut memberships = history.memberships.iter().filter(|membership| membership.room == message.room).peekable();
    if memberships.peek().is_none() {
        return Some(Violation::ForeignRoom { message: message.clone(), place });
    }
    let Some(entry) = log_of(logs, &message.room).entries.get(&message.seq) else {
        return Some(Violation::NotInLog { message: message.clone(), place });
    };
    if entry.id != message.id {
        return Some(Violation::WrongId { message: message.clone(), in_log: entry.id.clone(), place });
    }
    if !memberships.any(|membership| membership.may_see.contains(message.seq)) {
        return Some(Violation::OutsideMembership { message: message.clone(), place });
    }
    if let Some(first) = progress.first_seen.get(&message.seq) {
        return (delivery == Delivery::Once).then(|| Violation::Twice {
            message: message.clone(),
            first: *first,
            place,
        });
    }
    progress.first_seen.insert(message.seq, place);
    let later = progress.largest;
    progress.largest = later.max(message.seq);
    (message.seq < later).then(|| Violation::OutOfOrder { message: message.clone(), later, place })
}

/// The messages that a connection had to see, each once.
fn owed<'a>(logs: &HashMap<&str, &'a RoomLog>, history: &'a History) -> Vec<(&'a str, u64, &'a LogEntry)> {
    let rooms: BTreeSet<_> = history.memberships.iter().map(|membership| membership.room.as_str()).collect();
    let mut owed = Vec::new();
    for room in rooms {
        let memberships: Vec<_> = history.memberships.iter().filter(|membership| membership.room == room).collect();
        for (seq, entry) in &log_of(logs, room).entries {
            if !entry.skippable && memberships.iter().any(|membership| membership.must_see.contains(*seq)) {
                owed.push((room, *seq, entry));
            }
        }
    }
    owed
}

fn log_of<'a>(logs: &HashMap<&str, &'a RoomLog>, room: &str) -> &'a RoomLog {
    logs.get(room).unwrap_or_else(|| panic!("there is no log of {room} to check against"))
}

#[cfg(test)]
mod tests;

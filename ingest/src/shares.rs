//! Shares: how much a subject or a room may take of one environment, in messages, bytes, requests and joins. They are
//! kept in memory, without a call. Environments do not know of each other: a subject that three of them serve has three
//! shares.

use std::cell::RefCell;

use shared::{RoomId, Subject, clock::Clock, congestion::view::NotNow};

use crate::{buckets::Buckets, response::RouteError};

/// Seconds of their rate that senders and rooms may use at once.
const BURST: u64 = 5;

/// Seconds of their rate in requests that subjects may use at once: at the default rate a client can join a hundred
/// rooms anew and sync them within one burst.
const REQUESTS_BURST: u64 = 10;

/// A subject is quiet that offers no more than a message in five seconds, or three at once. As buckets: units per
/// second, seconds of burst, and units that a message takes.
const QUIET: (u64, u64, u64) = (1, 15, 5);

/// Ephemeral messages that a subject may send to one room, per second and at once.
const EPHEMERALS: u64 = 10;

/// Seconds of their rate that senders of ephemeral messages may use at once. A longer burst would only be older when it
/// arrives.
const EPHEMERALS_BURST: u64 = 1;

/// The rates that limit sending, per second; 0 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRates {
    /// `SUBJECT_MESSAGES_PER_SECOND`.
    pub subject_messages: u64,
    /// `SUBJECT_BYTES_PER_SECOND`.
    pub subject_bytes: u64,
    /// `ROOM_MESSAGES_PER_SECOND`.
    pub room_messages: u64,
    /// `ROOM_BYTES_PER_SECOND`.
    pub room_bytes: u64,
}

/// The shares of senders and rooms. Times are in microseconds since the Unix epoch.
#[derive(Debug)]
pub struct MessageShares {
    subject_messages: Buckets,
    subject_bytes: Buckets,
    room_messages: Buckets,
    room_bytes: Buckets,
    quiet: Buckets,
}

impl MessageShares {
    /// Full shares.
    #[must_use]
    pub fn new(rates: MessageRates) -> Self {
        let (rate, burst, _) = QUIET;
        Self {
            subject_messages: Buckets::new(rates.subject_messages, BURST),
            subject_bytes: Buckets::new(rates.subject_bytes, BURST),
            room_messages: Buckets::new(rates.room_messages, BURST),
            room_bytes: Buckets::new(rates.room_bytes, BURST),
            quiet: Buckets::new(rate, burst),
        }
    }

    /// Notes a message of a subject, and says whether the subject has hardly sent anything before it lately. A message
    /// counts even if it is refused: refusals make nobody quiet.
    pub fn note_message(&mut self, subject: &str, now: u64) -> bool {
        let (_, _, units) = QUIET;
        let is_quiet = self.quiet.wait(subject, units, now).is_none();
        self.quiet.drain(subject, units, now);
        is_quiet
    }

    /// Whether there is enough left for a message of so many bytes. Takes nothing.
    ///
    /// # Errors
    /// When there is not, with the time to wait.
    pub fn require(&self, subject: &str, room: &str, bytes: u64, now: u64) -> Result<(), RouteError> {
        let subject_wait =
            self.subject_messages.wait(subject, 1, now).max(self.subject_bytes.wait(subject, bytes, now));
        let room_wait = self.room_messages.wait(room, 1, now).max(self.room_bytes.wait(room, bytes, now));
        let Some(wait) = subject_wait.max(room_wait) else { return Ok(()) };
        let what = if subject_wait >= room_wait { "you are sending too much" } else { "too much is sent to the room" };
        Err(over(what, wait))
    }

    /// Takes what a message of so many bytes takes.
    pub fn take(&mut self, subject: &str, room: &str, bytes: u64, now: u64) {
        self.subject_messages.take(subject, 1, now);
        self.subject_bytes.take(subject, bytes, now);
        self.room_messages.take(room, 1, now);
        self.room_bytes.take(room, bytes, now);
    }
}

/// The shares of ephemeral messages. They are separate, so that somebody who has used up these may still send logged
/// messages. Times are in microseconds since the Unix epoch.
///
/// There are no shares of bytes, because the messages are small. There are none of rooms, and congestion does not
/// matter here: what a room cannot keep up with is dropped behind the queue, and holds up nothing.
#[derive(Debug)]
pub struct EphemeralShares {
    /// Buckets by subject and room.
    in_room: Buckets,
    /// Buckets by subject, for all rooms: otherwise a subject that may send to every personal room would have a share
    /// for each.
    in_all: Buckets,
}

impl EphemeralShares {
    /// Full shares. In all rooms together a subject may send `subject_messages` per second; 0 is no limit.
    #[must_use]
    pub fn new(subject_messages: u64) -> Self {
        Self {
            in_room: Buckets::new(EPHEMERALS, EPHEMERALS_BURST),
            in_all: Buckets::new(subject_messages, EPHEMERALS_BURST),
        }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// When there is not enough left, with the time to wait.
    pub fn take(&mut self, subject: &str, room: &RoomId, now: u64) -> Result<(), RouteError> {
        // A room's name has no space.
        let in_room = format!("{room} {subject}");
        if let Some(wait) = self.in_room.wait(&in_room, 1, now).max(self.in_all.wait(subject, 1, now)) {
            return Err(over("you are sending too many ephemeral messages", wait));
        }
        self.in_room.take(&in_room, 1, now);
        self.in_all.take(subject, 1, now);
        Ok(())
    }
}

/// The shares of requests to the `session` function.
#[derive(Debug)]
pub struct RequestShares<C> {
    requests: RefCell<Buckets>,
    joins: RefCell<Buckets>,
    clock: C,
}

impl<C: Clock> RequestShares<C> {
    /// Shares of so many requests per second for each subject, and so many joins for each room; 0 is no limit.
    pub fn new(subject_requests: u64, room_joins: u64, clock: C) -> Self {
        let buckets = |per_second| RefCell::new(Buckets::new(per_second, REQUESTS_BURST));
        Self { requests: buckets(subject_requests), joins: buckets(room_joins), clock }
    }

    /// Takes a request of a subject: a frame, a handshake, or a row that a frame has put.
    ///
    /// # Errors
    /// When there is none left, with the time to wait.
    pub fn take(&self, subject: &Subject) -> Result<(), RouteError> {
        self.take_of(&self.requests, subject.as_str(), "you are asking too much")
    }

    /// Takes a join of a room: a row that is put in it, whoever joins.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_join(&self, room: &RoomId) -> Result<(), RouteError> {
        self.take_of(&self.joins, room.as_str(), "too many are joining the room")
    }

    fn take_of(&self, buckets: &RefCell<Buckets>, key: &str, what: &'static str) -> Result<(), RouteError> {
        let (mut buckets, now) = (buckets.borrow_mut(), self.clock.unix_micros());
        if let Some(wait) = buckets.wait(key, 1, now) {
            return Err(over(what, wait));
        }
        buckets.take(key, 1, now);
        Ok(())
    }
}

fn over(what: &'static str, wait: u64) -> RouteError {
    RouteError::NotNow { what, until: NotNow { retry_after_ms: wait.div_ceil(1_000) } }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const NOW: u64 = 1_800_000_000_000_000;
    const SECOND: u64 = 1_000_000;
    const RATES: MessageRates =
        MessageRates { subject_messages: 2, subject_bytes: 100, room_messages: 4, room_bytes: 1_000 };

    /// Sends if that is possible; otherwise says what there is too much of, and how long to wait, in milliseconds.
    fn send(shares: &mut MessageShares, subject: &str, bytes: u64, now: u64) -> Result<(), (&'static str, u64)> {
        match shares.require(subject, "r", bytes, now) {
            Ok(()) => {
                shares.take(subject, "r", bytes, now);
                Ok(())
            }
            Err(RouteError::NotNow { what, until }) => Err((what, until.retry_after_ms)),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_subject_has_messages_and_bytes() {
        let mut shares = MessageShares::new(RATES);
        for _ in 0..10 {
            assert_eq!(send(&mut shares, "a", 1, NOW), Ok(()));
        }
        assert_eq!(send(&mut shares, "a", 1, NOW), Err(("you are sending too much", 500)));
        assert_eq!(send(&mut shares, "b", 500, NOW), Ok(()));
        assert_eq!(send(&mut shares, "b", 100, NOW), Err(("you are sending too much", 1_000)));
        assert_eq!(send(&mut shares, "b", 100, NOW + SECOND), Ok(()), "what was refused has cost nothing");
    }

    #[test]
    fn a_room_has_messages_and_bytes_of_all_its_senders() {
        let mut shares = MessageShares::new(RATES);
        for sender in 0..20 {
            assert_eq!(send(&mut shares, &format!("s{sender}"), 1, NOW), Ok(()));
        }
        assert_eq!(send(&mut shares, "z", 1, NOW), Err(("too much is sent to the room", 250)));
        let mut shares = MessageShares::new(RATES);
        for sender in 0..10 {
            assert_eq!(send(&mut shares, &format!("s{sender}"), 500, NOW), Ok(()));
        }
        assert_eq!(send(&mut shares, "z", 500, NOW), Err(("too much is sent to the room", 500)));
    }

    #[test]
    fn whoever_says_a_word_now_and_then_is_quiet_and_whoever_is_refused_is_not() {
        let mut shares = MessageShares::new(RATES);
        let mut at = |seconds: u64| shares.note_message("a", NOW + seconds * SECOND);
        assert_eq!([0, 0, 0, 0, 1, 2, 3].map(&mut at), [true, true, true, false, false, false, false]);
        assert!(!at(4), "each attempt counts");
        assert!(at(9));
        assert!([14, 19, 24, 29].into_iter().all(at));
    }

    #[test]
    fn a_subject_has_ephemeral_messages_by_room_and_in_all() {
        let mut shares = EphemeralShares::new(20);
        let mut taken = |subject: &str, room: &str, now| {
            let room = RoomId::parse(room).unwrap();
            (0..30).filter(|_| shares.take(subject, &room, now).is_ok()).count()
        };
        assert_eq!(taken("a", "r", NOW), 10);
        assert_eq!((taken("b", "r", NOW), taken("a", "s", NOW)), (10, 10), "other buckets");
        assert_eq!(taken("a", "t", NOW), 0, "20 in all");
        assert_eq!((taken("a", "r", NOW + SECOND / 2), taken("a", "t", NOW + SECOND / 2)), (5, 5));
        let unlimited = |rooms: usize| {
            let mut shares = EphemeralShares::new(0);
            let room = |number| RoomId::parse(&format!("r{number}")).unwrap();
            (0..rooms).all(|number| shares.take("a", &room(number), NOW).is_ok())
        };
        assert!(unlimited(1_000));
    }

    #[test]
    fn whoever_is_refused_an_ephemeral_message_is_told_when_there_is_room() {
        let mut shares = EphemeralShares::new(0);
        let room = RoomId::parse("r").unwrap();
        while shares.take("a", &room, NOW).is_ok() {}
        let Err(RouteError::NotNow { until, .. }) = shares.take("a", &room, NOW) else { panic!("one too many") };
        assert_eq!(until.retry_after_ms, 100);
        assert!(shares.take("a", &room, NOW + SECOND / 10).is_ok(), "what was refused has cost nothing");
    }

    struct Hands<'a>(&'a Cell<u64>);

    impl Clock for Hands<'_> {
        fn unix_micros(&self) -> u64 {
            self.0.get()
        }
    }

    #[test]
    fn a_room_has_joins_whoever_joins() {
        let time = Cell::new(NOW);
        let shares = RequestShares::new(0, 2, Hands(&time));
        let room = |name| RoomId::parse(name).unwrap();
        assert_eq!((0..30).filter(|_| shares.take_join(&room("r")).is_ok()).count(), 20);
        assert!(shares.take_join(&room("s")).is_ok(), "another room");
        let Err(RouteError::NotNow { until, .. }) = shares.take_join(&room("r")) else { panic!("a join too many") };
        assert_eq!(until.retry_after_ms, 500);
    }

    #[test]
    fn a_subject_that_joins_a_hundred_rooms_anew_gets_through() {
        let time = Cell::new(NOW);
        let shares = RequestShares::new(20, 0, Hands(&time));
        let subject = Subject::parse("a").unwrap();
        // A handshake, the joins, two frames of sync.
        assert!((0..1 + 100 + 2).all(|_| shares.take(&subject).is_ok()));
        assert_eq!((0..200).filter(|_| shares.take(&subject).is_ok()).count(), 200 - 103);
        let Err(RouteError::NotNow { until, .. }) = shares.take(&subject) else { panic!("a request too many") };
        assert_eq!(until.retry_after_ms, 50);
        time.set(NOW + 50_000);
        assert!(shares.take(&subject).is_ok());
    }
}

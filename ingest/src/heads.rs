//! The heads of logs, remembered for a moment: when clients of a busy room sync in one environment, the read for the
//! first one serves the others.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

use shared::{
    RoomId,
    clock::Clock,
    store::{
        StoreError,
        log::{LogHead, LogTable},
    },
};

/// The time for which a head is remembered, in microseconds. Messages that are appended meanwhile are broadcast, and
/// found at the next sync.
const REMEMBERED: u64 = 500_000;

/// Heads that are remembered at the most: less than 2 MiB.
const MOST: usize = 10_000;

/// The heads of logs that were read lately.
#[derive(Debug)]
pub struct Heads<C> {
    clock: C,
    remembered: RefCell<HashMap<RoomId, Remembered>>,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    head: Option<LogHead>,
    read_at: u64,
}

/// Some heads, as far as they are known.
#[derive(Debug, Default)]
pub struct KnownHeads {
    /// The heads by room; `None` for a log without one: it is empty, or an older version has written it.
    pub heads: HashMap<RoomId, Option<LogHead>>,
    /// The reason why the heads of the other rooms are not known.
    pub error: Option<StoreError>,
}

impl<C: Clock> Heads<C> {
    /// No heads yet.
    pub fn new(clock: C) -> Self {
        Self { clock, remembered: RefCell::default() }
    }

    /// The heads of the logs of some rooms, for a client that has everything up to the given numbers. A head comes from
    /// memory unless it is older than half a second or below the client's number; all others are read in one call,
    /// eventually consistent.
    ///
    /// The SDK tries a throttled read again, and rows that the table left unprocessed are asked for a little longer.
    /// Rooms whose heads are still not read then are not in the result.
    pub async fn of(&self, log: &LogTable<C>, positions: &BTreeMap<RoomId, u64>) -> KnownHeads {
        let now = self.clock.unix_micros();
        let mut known = KnownHeads::default();
        let mut unknown = Vec::new();
        for (room, after) in positions {
            match self.remembered.borrow().get(room) {
                Some(Remembered { head, read_at })
                    if read_at + REMEMBERED > now && head.map_or(0, |head| head.seq) >= *after =>
                {
                    known.heads.insert(room.clone(), *head);
                }
                _ => unknown.push(room.clone()),
            }
        }
        if unknown.is_empty() {
            return known;
        }
        match log.heads(&unknown).await {
            Ok(read) => {
                if !read.unread.is_empty() {
                    let left = format!("{} rows were not processed", read.unread.len());
                    known.error = Some(StoreError::throttled("BatchGetItem of logs' heads", left));
                }
                for room in unknown.into_iter().filter(|room| !read.unread.contains(room)) {
                    let head = read.found.get(&room).copied();
                    self.remember(room.clone(), Remembered { head, read_at: now });
                    known.heads.insert(room, head);
                }
            }
            Err(error) => known.error = Some(error),
        }
        known
    }

    fn remember(&self, room: RoomId, head: Remembered) {
        let mut remembered = self.remembered.borrow_mut();
        if remembered.len() >= MOST {
            remembered.retain(|_, old| old.read_at + REMEMBERED > head.read_at);
        }
        if remembered.len() < MOST {
            remembered.insert(room, head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct NoClock;

    impl Clock for NoClock {
        fn unix_micros(&self) -> u64 {
            0
        }
    }

    #[test]
    fn only_so_many_heads_are_remembered_and_old_ones_make_way() {
        let heads = Heads::new(NoClock);
        let remember = |number: usize, read_at: u64| {
            let room = RoomId::parse(&number.to_string()).unwrap();
            heads.remember(room.clone(), Remembered { head: None, read_at });
            let remembered = heads.remembered.borrow();
            (remembered.contains_key(&room), remembered.len())
        };
        for number in 0..MOST {
            assert!(remember(number, if number < 10 { 0 } else { REMEMBERED }).0);
        }
        assert_eq!(remember(MOST, REMEMBERED - 1), (false, MOST));
        assert_eq!(remember(MOST, REMEMBERED), (true, MOST - 9));
    }
}

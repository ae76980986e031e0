//! The remembered ends of the logs that this environment has written to.

use std::num::NonZeroUsize;

use lru::LruCache;
use shared::RoomId;

use super::tail::Tail;

/// The most rooms that are remembered.
const ROOMS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// The most entries that are remembered, of all rooms together: some 64 bytes each.
const ENTRIES: usize = 64 * 1024;

/// The ends of the logs that were used last.
#[derive(Debug)]
pub(super) struct Tails {
    tails: LruCache<RoomId, Tail>,
    entries: usize,
}

impl Tails {
    /// A room's tail as it was last seen: it may be out of date but is never wrong.
    pub(super) fn get(&mut self, room: &RoomId) -> Option<Tail> {
        self.tails.get(room).cloned()
    }

    /// Notes that this environment has written the keys that a room's state lacked, up to a number, if the room's tail
    /// is remembered.
    pub(super) fn note_state_written_to(&mut self, room: &RoomId, seq: u64) {
        if let Some(tail) = self.tails.peek_mut(room) {
            tail.note_state_written_to(seq);
        }
    }

    /// Remembers a room's tail. To make room for it, the rooms that were not used for longest are forgotten; each costs
    /// one read later.
    pub(super) fn put(&mut self, room: &RoomId, tail: Tail) {
        self.entries += tail.len();
        if let Some((_, forgotten)) = self.tails.push(room.clone(), tail) {
            self.entries -= forgotten.len();
        }
        while self.entries > ENTRIES {
            let Some((_, forgotten)) = self.tails.pop_lru() else { return };
            self.entries -= forgotten.len();
        }
    }
}

impl Default for Tails {
    fn default() -> Self {
        Self { tails: LruCache::new(ROOMS), entries: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::fixtures::entry;

    fn tail_of(entries: usize) -> Tail {
        let mut entry = entry(1, "m");
        let mut tail = Tail::default();
        for _ in 0..entries {
            tail.extend(std::slice::from_ref(&entry));
            entry.logged.seq += 1;
        }
        tail
    }

    fn room(number: usize) -> RoomId {
        RoomId::parse(&format!("r{number}")).unwrap()
    }

    /// The numbers of the rooms that are remembered.
    fn known(tails: &mut Tails, rooms: usize) -> Vec<usize> {
        (0..rooms).filter(|number| tails.get(&room(*number)).is_some()).collect()
    }

    #[test]
    fn the_rooms_that_were_not_used_for_longest_make_way_for_a_long_tail() {
        let mut tails = Tails::default();
        for number in 0..4 {
            tails.put(&room(number), tail_of(ENTRIES / 4));
        }
        assert_eq!(known(&mut tails, 4), [0, 1, 2, 3]);
        tails.put(&room(4), tail_of(ENTRIES / 2));
        assert_eq!(known(&mut tails, 5), [2, 3, 4]);
        // A tail that replaces another one of the same room does not count twice.
        for _ in 0..4 {
            tails.put(&room(4), tail_of(ENTRIES / 2));
        }
        assert_eq!(known(&mut tails, 5), [2, 3, 4]);
    }
}

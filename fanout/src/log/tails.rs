//! The ends of the logs that this environment has written to, within bounds.

use std::num::NonZeroUsize;

use lru::LruCache;
use shared::RoomId;

use super::tail::Tail;

/// Rooms that are remembered at the most.
const ROOMS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// Entries that are remembered at the most, of all rooms together: some 64 bytes each.
const ENTRIES: usize = 64 * 1024;

/// The ends of logs, those used last.
#[derive(Debug)]
pub(super) struct Tails {
    tails: LruCache<RoomId, Tail>,
    entries: usize,
}

impl Tails {
    /// A room's tail as it was last seen: it can be out of date, but never wrong.
    pub(super) fn get(&mut self, room: &RoomId) -> Option<Tail> {
        self.tails.get(room).cloned()
    }

    /// Notes that this environment has written what a room's state lacked up to a number, if its tail is remembered.
    pub(super) fn state_is_written_to(&mut self, room: &RoomId, seq: u64) {
        if let Some(tail) = self.tails.peek_mut(room) {
            tail.state_is_written_to(seq);
        }
    }

    /// Remembers a room's tail. The rooms that were not used for longest are forgotten for it: each costs one read.
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

//! Layouts: whether a room's messages are posted by the consumer that logs them or handed to the shard queue.
//!
//! - A room of at most `FANOUT_SHARD_SIZE` members is posted to directly.
//! - A larger one is cut into `FANOUT_SHARDS` ranges of slots, which are posted to side by side.
//! - A room whose batches come in full has more messages waiting than a batch holds. It goes through the shard queue as
//!   one shard: then posting does not hold up the log, and a batch of ten jobs brings up to a hundred messages into one
//!   post.
//!
//! The layout of a message stands in its log entry, so that every consumer treats the message alike, now and on a
//! redelivery. It changes only when nothing of the room is under way on the shard queue.

use std::{cell::RefCell, num::NonZeroU16, num::NonZeroUsize};

use lru::LruCache;
use shared::{
    RoomId,
    store::{connections::Member, log::Layout, room_size},
};

/// Rooms whose sizes are remembered while the environment is warm.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// Messages of a full batch: the largest batch of a FIFO queue.
pub const FULL_BATCH: usize = 10;

/// Decides on the layout of messages.
#[derive(Debug)]
pub struct Layouts {
    /// Rooms with more members are cut into shards; 0 means never.
    shard_size: u64,
    shards: NonZeroU16,
    /// The estimated number of members that a room had when this environment last looked.
    sizes: RefCell<LruCache<RoomId, u64>>,
}

impl Layouts {
    /// Layouts that cut rooms with more than `shard_size` members into `shards` shards; a size of 0 means never.
    #[must_use]
    pub fn new(shard_size: u64, shards: NonZeroU16) -> Self {
        Self { shard_size, shards, sizes: RefCell::new(LruCache::new(REMEMBERED)) }
    }

    /// The estimated number of members that the room had when this environment last looked.
    #[must_use]
    pub fn size(&self, room: &RoomId) -> Option<u64> {
        self.sizes.borrow_mut().get(room).copied()
    }

    /// Estimates the size of a room from the first page of its members, and remembers it.
    pub fn learn(&self, room: &RoomId, first_page: &[Member], is_all: bool) -> u64 {
        let size = room_size::estimate(first_page, is_all);
        self.sizes.borrow_mut().put(room.clone(), size);
        size
    }

    /// The layout that a batch of so many messages should have, when those before it had `current`. A large room counts
    /// as small again only at half the size: otherwise a room at the threshold would change to and fro.
    #[must_use]
    pub fn wanted(&self, size: u64, messages: usize, current: Layout) -> Layout {
        let was_large = matches!(current, Layout::Shards(shards) if shards.get() > 1);
        let threshold = if was_large { self.shard_size / 2 } else { self.shard_size };
        if self.shard_size > 0 && size > threshold {
            Layout::Shards(self.shards)
        } else if messages >= FULL_BATCH {
            Layout::Shards(NonZeroU16::MIN)
        } else {
            Layout::Direct
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::ConnectionId;

    use super::*;

    const SHARDS: NonZeroU16 = NonZeroU16::new(16).unwrap();

    fn room() -> RoomId {
        RoomId::parse("r").unwrap()
    }

    fn members(count: usize) -> Vec<Member> {
        let member = |n| Member { connection: ConnectionId::new(&format!("c{n}")), joined_at: 0, expires_at: 0 };
        let mut members: Vec<_> = (0..count).map(member).collect();
        members.sort_by_key(|member| member.connection.slot());
        members
    }

    #[test]
    fn the_first_page_tells_the_size_of_the_room() {
        let layouts = Layouts::new(10_000, SHARDS);
        assert_eq!(layouts.size(&room()), None);
        let all = members(20_000);
        assert_eq!(layouts.learn(&room(), &all[..500], true), 500);
        let estimated = layouts.learn(&room(), &all[..1_000], false);
        assert!((18_000..22_000).contains(&estimated), "{estimated}");
        assert_eq!(layouts.size(&room()), Some(estimated));
        assert_eq!(layouts.learn(&room(), &[], true), 0);
    }

    #[test]
    fn large_rooms_are_cut_and_stay_so_until_they_are_half_the_size() {
        let layouts = Layouts::new(10_000, SHARDS);
        let cut = Layout::Shards(SHARDS);
        assert_eq!(layouts.wanted(10_000, 1, Layout::Direct), Layout::Direct);
        assert_eq!(layouts.wanted(10_001, 1, Layout::Direct), cut);
        assert_eq!(layouts.wanted(9_000, 1, cut), cut);
        assert_eq!(layouts.wanted(5_000, 1, cut), Layout::Direct);
        assert_eq!(layouts.wanted(20_000, 10, Layout::Direct), cut, "large goes before busy");
        assert_eq!(Layouts::new(0, SHARDS).wanted(u64::MAX, 1, Layout::Direct), Layout::Direct);
    }

    #[test]
    fn a_room_with_full_batches_goes_through_one_shard() {
        let layouts = Layouts::new(10_000, SHARDS);
        let one = Layout::Shards(NonZeroU16::MIN);
        assert_eq!(layouts.wanted(10, 9, Layout::Direct), Layout::Direct);
        assert_eq!(layouts.wanted(10, 10, Layout::Direct), one);
        assert_eq!(layouts.wanted(10, 3, one), Layout::Direct);
        assert_eq!(layouts.wanted(9_000, 10, one), one, "one shard is no large room");
    }
}

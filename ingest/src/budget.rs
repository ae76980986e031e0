//! The bytes of a reply that holds messages.

use shared::{
    Message, RoomId,
    frame::broadcast,
    limits::{FRAME_BYTES, MAX_MESSAGE_BYTES, MAX_POST_BYTES, ROOM_ID_CHARS, SYNC_ROOMS},
};

/// Bytes that a reply keeps for what is around its rooms or entries: type, `requestId`, times, braces.
pub const ENVELOPE: usize = 1024;

/// Bytes that a reply keeps for each room, besides its name:
/// `"":{"seq":9007199254740991,"messages":[],"more":false,"truncated":false},`.
pub const ROOM_ENVELOPE: usize = 80;

/// Bytes that a reply keeps for each room that was renewed, besides its name once more: `"",`.
pub const RENEWED_ENVELOPE: usize = 3;

// The largest message, with its comma, fits the largest reply in which no room was renewed. Otherwise a client would
// ask for it for ever.
const _: () = assert!(
    ENVELOPE + SYNC_ROOMS * (ROOM_ID_CHARS + ROOM_ENVELOPE) + MAX_MESSAGE_BYTES < MAX_POST_BYTES,
    "the largest message does not fit the largest reply"
);

/// The bytes of a reply. Messages are packed up to the size of a broadcast frame; a single message may be larger, since
/// otherwise it would never arrive.
#[derive(Debug)]
pub struct ReplyBudget {
    used: usize,
    first: bool,
    spent: bool,
}

impl ReplyBudget {
    /// The budget of a reply about one room.
    #[must_use]
    pub fn new() -> Self {
        Self { used: ENVELOPE, first: true, spent: false }
    }

    /// The budget of a reply about several rooms, some of which were renewed.
    pub fn for_rooms<'a>(rooms: impl Iterator<Item = &'a RoomId>, renewed: impl Iterator<Item = &'a RoomId>) -> Self {
        let rooms: usize = rooms.map(|room| room.as_str().len() + ROOM_ENVELOPE).sum();
        let renewed: usize = renewed.map(|room| room.as_str().len() + RENEWED_ENVELOPE).sum();
        Self { used: ENVELOPE + rooms + renewed, ..Self::new() }
    }

    /// Takes a message into the reply if it fits, and says whether.
    pub fn take(&mut self, message: &Message) -> bool {
        let bytes = broadcast::entry_len(message) + 1;
        let limit = if self.first { MAX_POST_BYTES } else { FRAME_BYTES };
        let fits = self.used + bytes <= limit;
        if fits {
            self.used += bytes;
            self.first = false;
        }
        self.spent |= !fits;
        fits
    }

    /// Whether nothing more need be read: a message did not fit, or no bytes are left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.spent || (!self.first && self.left() == 0)
    }

    /// Bytes used up.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// Uses bytes up for what comes after the messages.
    pub fn spend(&mut self, bytes: usize) {
        self.used += bytes;
    }

    /// Bytes left for what comes after the messages, up to the largest reply that is possible.
    #[must_use]
    pub fn left_beside_messages(&self) -> usize {
        MAX_POST_BYTES.saturating_sub(self.used)
    }

    /// Bytes left for messages.
    #[must_use]
    pub fn left(&self) -> usize {
        FRAME_BYTES.saturating_sub(self.used)
    }
}

impl Default for ReplyBudget {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_on_something_else_is_not_there_for_messages() {
        let mut budget = ReplyBudget::new();
        let (used, left, beside) = (budget.used(), budget.left(), budget.left_beside_messages());
        budget.spend(1_000);
        assert_eq!((budget.used(), budget.left()), (used + 1_000, left - 1_000));
        assert_eq!(budget.left_beside_messages(), beside - 1_000);
    }
}

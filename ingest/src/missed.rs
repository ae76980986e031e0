//! What a client has missed of a room, as far as it fits a reply.

use shared::{
    Message, RoomId,
    clock::Clock,
    frame::{broadcast, server::Missed},
    limits::{FRAME_BYTES, MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, ROOM_ID_CHARS, SYNC_ROOMS},
    store::{
        StoreError,
        log::{LogEntry, LogTable},
    },
};

/// Entries that are read for one reply.
pub const ENTRIES: u32 = 100;

/// Bytes that a reply keeps for what is around its rooms: type, `requestId`, braces.
const ENVELOPE: usize = 1024;

/// Bytes that a reply keeps for each room, besides its name:
/// `"":{"seq":9007199254740991,"messages":[],"more":false,"truncated":false},`.
const ROOM_ENVELOPE: usize = 80;

// The largest message fits the largest reply, comma included: else a client would ask for it for ever.
const _: () = assert!(
    ENVELOPE + SYNC_ROOMS * (ROOM_ID_CHARS + ROOM_ENVELOPE) + MAX_MESSAGE_BYTES < MAX_FRAME_BYTES,
    "the largest message does not fit the largest reply"
);

/// Bytes left in a reply. Messages are packed up to the size of a broadcast frame; one alone may be larger, since
/// otherwise it would never arrive.
#[derive(Debug)]
pub struct ReplyBudget {
    used: usize,
    first: bool,
}

impl ReplyBudget {
    /// For a reply about one room.
    #[must_use]
    pub fn new() -> Self {
        Self { used: ENVELOPE, first: true }
    }

    /// For a reply about several rooms.
    pub fn for_rooms<'a>(rooms: impl Iterator<Item = &'a RoomId>) -> Self {
        let rooms: usize = rooms.map(|room| room.as_str().len() + ROOM_ENVELOPE).sum();
        Self { used: ENVELOPE + rooms, first: true }
    }

    /// Whether the message goes into the reply; if so, its bytes are used up.
    pub fn takes(&mut self, message: &Message) -> bool {
        let bytes = broadcast::entry_len(message) + 1;
        let limit = if self.first { MAX_FRAME_BYTES } else { FRAME_BYTES };
        let fits = self.used + bytes <= limit;
        if fits {
            self.used += bytes;
            self.first = false;
        }
        fits
    }
}

impl Default for ReplyBudget {
    fn default() -> Self {
        Self::new()
    }
}

/// What was read of a log for somebody who has everything up to `after`.
#[derive(Debug)]
pub struct Found {
    after: u64,
    head: u64,
    entries: Vec<LogEntry>,
    truncated: bool,
}

/// Where a log stands, for somebody who wants nothing of what was.
///
/// # Errors
/// When the table does not answer.
pub async fn head(log: &LogTable<impl Clock>, room: &RoomId) -> Result<Missed, StoreError> {
    let page = log.latest(room, None, 1).await?;
    Ok(Missed { seq: page.entries.first().map_or(0, LogEntry::seq), ..Missed::default() })
}

/// Reads what comes after `after`; 0 stands for the beginning of what is retained.
///
/// # Errors
/// When the table does not answer.
pub async fn read(log: &LogTable<impl Clock>, room: &RoomId, after: u64, limit: u32) -> Result<Found, StoreError> {
    // `after` itself is read too: while it is there, nothing after it can have expired.
    let page = log.since(room, after, limit).await?;
    let first = page.entries.first().map(LogEntry::seq);
    let last = page.entries.last().map(LogEntry::seq);
    let head = match last {
        Some(last) if !page.more => last,
        // The log may have started or ended since the first read: its head is never below what that has found.
        _ => log.latest(room, None, 1).await?.entries.first().map_or(0, LogEntry::seq).max(last.unwrap_or_default()),
    };
    // Without any entry from `after` on, either everything has expired, and some of it may have come after `after`,
    // or `after` is beyond the head, and so not of this log.
    let truncated = after > 0 && first.is_none_or(|first| first > after + 1);
    let entries = page.entries.into_iter().filter(|entry| entry.seq() > after).collect();
    Ok(Found { after, head, entries, truncated })
}

/// Takes as many entries as the budget allows.
pub fn fill(found: Found, budget: &mut ReplyBudget) -> Missed {
    let Found { after, head, entries, truncated } = found;
    let messages: Vec<_> =
        entries.into_iter().map(|entry| entry.logged).take_while(|logged| budget.takes(&logged.message)).collect();
    let more = messages.last().map_or(after, |last| last.seq) < head;
    Missed { seq: head, messages, more, truncated }
}

/// What a client has missed of one room.
///
/// # Errors
/// When the table does not answer.
pub async fn missed_since(
    log: &LogTable<impl Clock>,
    room: &RoomId,
    after: u64,
    budget: &mut ReplyBudget,
) -> Result<Missed, StoreError> {
    Ok(fill(read(log, room, after, ENTRIES).await?, budget))
}

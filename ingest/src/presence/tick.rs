//! Ticks: "something may have changed in room R", never what. The function `presence` reads the rows and publishes what
//! it finds.
//!
//! A tick stands for every change of its second. The queue delays it by three seconds, so that it is handled after the
//! last of these changes, in whichever environment it was made:
//!
//! ```text
//! 10.0 change, tick of second 10   10.9 change, no tick   13.0 the tick is handled, and both changes are seen
//! ```

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashSet},
};

use serde::Serialize;
use shared::{
    RoomId,
    clock::Clock,
    metrics::{
        Metrics,
        names::{TICKS_LOST, TICKS_SENT},
    },
    queue::{Queue, Record},
};

/// The sender of ticks: at most one for each room and second.
#[derive(Debug)]
pub struct Ticks<C, Q> {
    /// `None` if no room has presence or lifecycle events.
    queue: Option<Q>,
    clock: C,
    sent: RefCell<Sent>,
}

/// The rooms that have had a tick in the newest second, in seconds since the Unix epoch. Older ones are forgotten.
#[derive(Debug, Default)]
struct Sent {
    second: u64,
    rooms: HashSet<RoomId>,
}

/// A tick's body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TickBody<'a> {
    v: u8,
    room_id: &'a RoomId,
}

impl<C: Clock, Q: Queue> Ticks<C, Q> {
    /// A sender to a queue, if there is one.
    pub fn new(queue: Option<Q>, clock: C) -> Self {
        Self { queue, clock, sent: RefCell::default() }
    }

    /// Tells that rows of some rooms have been written or deleted. It must be called after the change: a tick of an
    /// earlier second could be handled before it.
    ///
    /// A tick that cannot be sent is counted, and is no error: the next `sync` of a member finds a room that nobody has
    /// looked at.
    pub async fn send(&self, rooms: BTreeSet<RoomId>, metrics: &Metrics) {
        let Some(queue) = &self.queue else { return };
        let second = self.clock.unix_seconds();
        let rooms: Vec<RoomId> = rooms.into_iter().filter(|room| !self.is_sent(second, room)).collect();
        if rooms.is_empty() {
            return;
        }
        let records: Vec<_> = rooms.iter().map(|room| record(room, second)).collect();
        let results = queue.send(&records).await;
        for (room, result) in rooms.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    metrics.add(TICKS_SENT, 1);
                    self.note(second, room);
                }
                Err(error) => {
                    metrics.add(TICKS_LOST, 1);
                    tracing::warn!(%room, %error, "tick lost");
                }
            }
        }
    }

    fn is_sent(&self, second: u64, room: &RoomId) -> bool {
        let sent = self.sent.borrow();
        sent.second == second && sent.rooms.contains(room)
    }

    fn note(&self, second: u64, room: RoomId) {
        let mut sent = self.sent.borrow_mut();
        // A tick of an older second, whose sending took long: the queue knows it by its deduplication id.
        if second < sent.second {
            return;
        }
        if second > sent.second {
            *sent = Sent { second, rooms: HashSet::new() };
        }
        sent.rooms.insert(room);
    }
}

/// The second is the deduplication id: of the ticks that all environments send in it, the queue takes one.
fn record(room: &RoomId, second: u64) -> Record {
    Record {
        group_id: room.to_string(),
        deduplication_id: format!("tick/{second}"),
        // A name and a number always serialize.
        body: serde_json::to_string(&TickBody { v: 1, room_id: room }).unwrap_or_default(),
        reason: None,
        trace: None,
    }
}

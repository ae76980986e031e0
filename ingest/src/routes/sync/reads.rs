//! The messages that a `sync` reads: only in rooms where the client is behind, as far as the reply and the read budget
//! go.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use futures::{StreamExt, stream};
use shared::{
    RoomId,
    clock::Clock,
    frame::server::CatchUp,
    rights::Right,
    store::log::{LogHead, LogTable},
};

use super::failures::Failures;
use crate::{
    budget::ReplyBudget,
    catch_up::{ANY_TIME, Found, Missed},
    event::Frame,
    grant::LEEWAY_SECONDS,
};

/// Logs that are read at the same time: each may cost some 90 read units before it is known how large its messages are.
const READS_AT_ONCE: usize = 3;

/// Read units that one frame may cost in logs, besides those of reads that are under way when they are used up.
const READ_UNITS: usize = 150;

/// Read units that a failed read counts as: after a few of them no more is read, so that a throttled table is not asked
/// fifty times.
const FAILED_READ_UNITS: usize = READ_UNITS / 3;

/// A room to be served.
#[derive(Debug)]
pub(super) struct RoomToServe {
    /// The room.
    pub(super) room: RoomId,
    /// The client's position: it has everything up to this number.
    pub(super) after: u64,
    /// The way in which it is served.
    pub(super) way: Way,
}

/// The way in which a room is served.
#[derive(Debug)]
pub(super) enum Way {
    /// The reply is known without a read.
    Known(Found),
    /// The client is behind this head.
    Behind(LogHead),
    /// Nothing is known for sure: the log itself must be read.
    Unknown,
}

impl Way {
    /// The way for a client that has everything up to `after` of a log with this head, as far as that is known.
    #[must_use]
    pub(super) fn at(after: u64, head: Option<LogHead>, was_member: bool, now_seconds: u64) -> Self {
        match head {
            Some(head) if head.seq > after && head.expires_at > now_seconds => Self::Behind(head),
            _ if !was_member => Self::Unknown,
            Some(head) if head.seq >= after => Self::Known(Found::nothing_beyond(after, head)),
            None if after == 0 => Self::Known(Found::empty()),
            // A head below the client's position is out of date, or the position is one in another log: only the log
            // itself can tell.
            _ => Self::Unknown,
        }
    }
}

/// The rooms that were served.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// The messages that the client has missed.
    pub(super) rooms: BTreeMap<RoomId, CatchUp>,
    /// When the newest message of the rooms was appended, in milliseconds since the Unix epoch, if there is any.
    pub(super) newest: Option<u64>,
    /// The bytes that are left in the largest possible reply.
    pub(super) bytes_left: usize,
    /// The reasons why rooms were left out.
    pub(super) failures: Failures,
}

/// Serves rooms one after the other, as far as the budgets go.
pub(super) async fn serve<C: Clock>(
    log: &LogTable<C>,
    frame: &Frame,
    rooms: Vec<RoomToServe>,
    budget: ReplyBudget,
) -> Served {
    let (budget, units, has_failed) = (RefCell::new(budget), Cell::new(0), Cell::new(false));
    let reads = stream::iter(rooms).map(|RoomToServe { room, after, way }| {
        let (budget, units, has_failed) = (&budget, &units, &has_failed);
        async move {
            let is_spent = units.get() >= READ_UNITS;
            let head = match way {
                Way::Known(found) => return (room, Ok(Some(found))),
                // A client that is told of more asks again at once; one whose room is left out waits, as it should
                // while reads fail.
                Way::Behind(_) if is_spent && has_failed.get() => return (room, Ok(None)),
                Way::Behind(head) if is_spent || budget.borrow().is_spent() => {
                    return (room, Ok(Some(Found::unread(head))));
                }
                Way::Behind(head) => Some(head),
                Way::Unknown if is_spent => return (room, Ok(None)),
                Way::Unknown => None,
            };
            let bytes_left = budget.borrow().left();
            let missed = Missed { after, head, not_before: not_before(frame, &room), bytes_left };
            let found = missed.read(log, &room).await;
            units.set(units.get() + found.as_ref().map_or(FAILED_READ_UNITS, |found| found.units));
            has_failed.set(has_failed.get() || found.is_err());
            (room, found.map(Some))
        }
    });
    let mut served = Served::default();
    let mut reads = std::pin::pin!(reads.buffered(READS_AT_ONCE));
    while let Some((room, found)) = reads.next().await {
        match found {
            Ok(Some(found)) => {
                served.newest = served.newest.max(found.appended_at);
                served.rooms.insert(room, found.fill(&mut budget.borrow_mut()));
            }
            Ok(None) => {}
            Err(error) => served.failures.extend(Some(error)),
        }
    }
    served.bytes_left = budget.borrow().left_beside_messages();
    served
}

/// The time before which a room's log is kept from the subject, in milliseconds since the Unix epoch. A subject that
/// may join a room may read what was sent since its connection was opened; for older messages there is a right of its
/// own.
fn not_before(frame: &Frame, room: &RoomId) -> u64 {
    let grant = &frame.grant;
    if grant.rights.allow(&grant.subject, Right::History, room) {
        return ANY_TIME;
    }
    frame.connected_at.saturating_sub(LEEWAY_SECONDS * 1_000)
}

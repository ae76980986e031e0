//! `sync`: heartbeat, keep-alive, gap fill and renewal of memberships in one.
//!
//! Its reads are bounded: the connection's rows and the rooms' heads take one call each, and messages are read only in
//! rooms where the client is behind, as far as the reply and the read budget go. A room that cannot be served is left
//! out of the reply, and the client asks for it again.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use fastrand::Rng;
use futures::{StreamExt, future::join, stream};
use shared::{
    RoomId, Subject,
    clock::Clock,
    frame::server::{CatchUp, PresenceStanding, Reply},
    queue::Queue,
    rights::Right,
    store::{
        StoreError,
        connections::{ConnectionTable, KnownRow},
        log::{LogHead, LogTable},
    },
};

use crate::{
    catch_up::{ANY_TIME, Found, RENEWED_ENVELOPE, ReplyBudget, read},
    event::Frame,
    grant::LEEWAY_SECONDS,
    heads::Heads,
    presence::membership::{Presence, Renewal},
    request::{Positions, Sync},
    response::RouteError,
    shares::RequestShares,
    tables::Tables,
};

/// Rows that are put at the same time.
const PUTS_AT_ONCE: usize = 10;

/// Logs that are read at the same time: each may cost some 90 read units before it is known how large its messages are.
const READS_AT_ONCE: usize = 3;

/// Read units that one frame may cost in logs, besides those of reads that are under way when they are used up.
const READ_UNITS: usize = 150;

/// Bytes that a reply has for where the presence of a room stands, besides its name:
/// `"":{"rev":9007199254740991,"count":9007199254740991},`.
const STANDING_ENVELOPE: usize = 54;

/// Read units that a failed read counts as: after a few of them no more is read, so that a throttled table is not asked
/// fifty times.
const FAILED_READ_UNITS: usize = READ_UNITS / 3;

/// A row that expires sooner than this is put again, in seconds. Hardly any is: the client library hands a connection
/// over after 110 minutes at the latest, when its first row has twenty left.
const RENEWED_WITHIN: u64 = 20 * 60;

/// The result of a `sync`.
#[derive(Debug)]
pub struct Synced {
    rooms: BTreeMap<RoomId, CatchUp>,
    forbidden: Vec<RoomId>,
    /// The rooms in which the connection's row was put anew, now or, in rooms whose presence it asks about, earlier.
    renewed: BTreeSet<RoomId>,
    /// The number of rows that were put anew now.
    pub healed: u64,
    /// Where presence stands in the rooms asked about, if there were any.
    presence: Option<BTreeMap<RoomId, PresenceStanding>>,
    /// Whether the connection is present in any of the rooms.
    pub is_present: bool,
    /// When the newest message of the rooms was appended, in milliseconds since the Unix epoch, if there is any. The
    /// time of the `sync` if it has put back a row: a message that is posted before the index shows the row is missed.
    pub newest: Option<u64>,
    /// Whether a table has throttled a call.
    pub throttled: bool,
}

impl Synced {
    /// The reply.
    #[must_use]
    pub fn into_reply(self, sync_after_ms: u64, now_millis: u64) -> Reply {
        let Self { rooms, forbidden, renewed, presence, .. } = self;
        let now = presence.is_some().then_some(now_millis);
        Reply::Synced { rooms, forbidden, renewed: renewed.into_iter().collect(), sync_after_ms, presence, now }
    }
}

/// Serves the route. Rooms that the subject may not join are named in the answer; all others are served.
///
/// Throttled calls are tried again by the SDK, and their rooms left out in the end. The rooms to which a tick must be
/// sent go into `changed`, even if there is an error.
///
/// # Errors
/// When the connection's rows cannot be read, or no room at all could be served or afforded.
pub async fn sync<C: Clock>(
    Tables { connections, log, presence: published, .. }: &Tables<C>,
    (presence, changed): (&Presence<C, impl Queue>, &mut BTreeSet<RoomId>),
    (most_rooms, shares, heads): (u32, &RequestShares<C>, &Heads<C>),
    frame: &Frame,
    Sync { rooms: Positions(positions), presence: asked }: Sync,
    order: &mut Rng,
    now_millis: u64,
) -> Result<Synced, RouteError> {
    let (grant, now_seconds) = (&frame.grant, now_millis / 1_000);
    let may_join = |room: &RoomId| grant.rights.allow(&grant.subject, Right::Join, room);
    let asked = asked.map(|Positions(asked)| {
        let is_told = |room: &RoomId| may_join(room) && presence.rooms.listed.matches(room);
        asked.into_keys().filter(is_told).collect::<BTreeSet<_>>()
    });
    let (positions, withheld): (BTreeMap<_, _>, BTreeMap<_, _>) =
        positions.into_iter().partition(|(room, _)| may_join(room));
    let mut forbidden: Vec<_> = withheld.into_keys().collect();
    let rows = connections.memberships(&frame.connection, positions.keys());
    let (rows, known) = join(rows, heads.of(log, &positions)).await;
    let (mut rows, mut failures) = (rows?, Failures::default());
    for (room, row) in &mut rows {
        // The row may have been put before a change of the room patterns.
        row.present_until = row.present_until.filter(|_| presence.rooms.include(room));
    }
    failures.extend(known.error);

    // No row outlives the token.
    let renewed_until = grant.ends_at().min(now_seconds + RENEWED_WITHIN);
    let is_due = |room: &&RoomId| rows.get(*room).is_none_or(|row| row.expires_at < renewed_until);
    let due: BTreeSet<_> = positions.keys().filter(is_due).collect();
    let (affordable, over) = affordable(&due, shares, &grant.subject);
    let putting = (connections, presence, &mut *changed);
    let Renewed { mut renewed, known: found } =
        renew(putting, frame, (&affordable, &rows, now_seconds), &mut failures).await;
    let leaving = (connections, presence, &mut *changed);
    forbidden.extend(leave_surplus(leaving, frame, most_rooms, &mut renewed).await?);

    let was_member = |room: &RoomId| rows.get(room).is_some_and(|row| row.expires_at > now_seconds);
    let mut looks: Vec<_> = positions
        .iter()
        .filter(|(room, _)| renewed.contains(*room) || found.contains(*room) || !due.contains(room))
        .filter_map(|(room, after)| {
            // What was appended before the row was put may have reached neither the connection nor the head that was
            // read.
            let head = known.heads.get(room)?;
            Some((room.clone(), *after, Look::at(*after, *head, was_member(room), now_seconds)))
        })
        .collect();
    // The order differs each time, so that a room that is always behind does not keep the others from being served.
    order.shuffle(&mut looks);
    let budget = ReplyBudget::for_rooms(positions.keys().chain(&forbidden), renewed.iter());
    let lasting: HashMap<_, _> =
        rows.iter().filter(|(room, _)| positions.contains_key(*room) && !due.contains(room)).collect();
    let was_present = |room: &RoomId| rows.get(room).is_some_and(|row| row.present_until.is_some());
    let is_present = lasting.keys().any(|room| was_present(room))
        || renewed.iter().any(|room| was_present(room) || presence.rooms.lifecycle.matches(room))
        || !found.is_empty();
    let tables = (connections, published);
    let asked_for = asked.as_ref();
    let attended = presence.attend(tables, &frame.connection, &lasting, asked_for, now_millis);
    let ((rooms, newest, mut left), attended) = join(serve(log, frame, looks, budget, &mut failures), attended).await;
    changed.extend(attended.changed);

    let throttled = attended.throttled || failures.is_throttled();
    if rooms.is_empty() && forbidden.is_empty() {
        if let Some(error) = failures.worst.map(RouteError::from).or(over) {
            return Err(error);
        }
    } else {
        failures.log(positions.len() - rooms.len());
    }
    let newest = if renewed.iter().all(was_member) { newest } else { Some(now_millis) };
    let healed = renewed.len() as u64;
    // The reply that said so may have been lost: it is said again until the connection has joined. What does not fit is
    // said next time.
    let is_put_back = |room: &&RoomId| {
        let is_row = rows.get(*room).is_some_and(|row| row.put_back);
        is_row && !forbidden.contains(room) && !renewed.contains(*room)
    };
    let fits = |room: &&RoomId| take(&mut left, room.as_str().len() + RENEWED_ENVELOPE);
    let told_again: Vec<_> = asked_for.iter().copied().flatten().filter(is_put_back).filter(fits).cloned().collect();
    renewed.extend(told_again);
    let presence = asked.map(|_| fitting(attended.standings, left));
    Ok(Synced { rooms, forbidden, renewed, healed, presence, is_present, newest, throttled })
}

/// The rooms whose renewal the shares still allow, and why the next one is refused. From that one on, rooms are left
/// out of the reply; the client asks for them again.
fn affordable<'a, C: Clock>(
    due: &BTreeSet<&'a RoomId>,
    shares: &RequestShares<C>,
    subject: &Subject,
) -> (BTreeSet<&'a RoomId>, Option<RouteError>) {
    let mut over = None;
    let take = |room: &&RoomId| {
        let taken = shares.take(subject).and_then(|()| shares.take_join(room));
        taken.map_err(|error| over = Some(error)).is_ok()
    };
    (due.iter().copied().take_while(take).collect(), over)
}

/// The rooms whose rows were due, and that the connection is in.
#[derive(Default)]
struct Renewed {
    /// The rooms in which its row was put or renewed now.
    renewed: BTreeSet<RoomId>,
    /// The rooms in which its row was there after all.
    known: BTreeSet<RoomId>,
}

/// Puts the rows of rooms that are due.
async fn renew<C: Clock>(
    (connections, presence, changed): (&ConnectionTable<C>, &Presence<C, impl Queue>, &mut BTreeSet<RoomId>),
    frame: &Frame,
    (due, rows, now_seconds): (&BTreeSet<&RoomId>, &HashMap<RoomId, KnownRow>, u64),
    failures: &mut Failures,
) -> Renewed {
    let puts = due.iter().map(|room| async move {
        let row = rows.get(*room).copied();
        let put = presence.renew(connections, (&frame.connection, &frame.grant), room, (row, now_seconds)).await;
        (RoomId::clone(room), put)
    });
    let mut came = Renewed::default();
    for (room, put) in stream::iter(puts).buffer_unordered(PUTS_AT_ONCE).collect::<Vec<_>>().await {
        match put {
            Ok(Renewal::Done { is_changed }) => {
                changed.extend(is_changed.then(|| room.clone()));
                came.renewed.insert(room);
            }
            Ok(Renewal::Needless) => drop(came.known.insert(room)),
            Err(error) => failures.extend(Some(error)),
        }
    }
    came
}

/// Takes the connection out of surplus rooms again, if it is in more than it may be; says which.
async fn leave_surplus<C: Clock>(
    (connections, presence, changed): (&ConnectionTable<C>, &Presence<C, impl Queue>, &mut BTreeSet<RoomId>),
    frame: &Frame,
    most_rooms: u32,
    renewed: &mut BTreeSet<RoomId>,
) -> Result<Vec<RoomId>, StoreError> {
    if renewed.is_empty() {
        return Ok(Vec::new());
    }
    let limit = most_rooms.saturating_add(u32::try_from(renewed.len()).unwrap_or(u32::MAX));
    let surplus = connections.count(&frame.connection, limit).await?.saturating_sub(most_rooms);
    let mut left = Vec::new();
    for _ in 0..surplus {
        let Some(room) = renewed.pop_last() else { break };
        presence.take_out(connections, &frame.connection, &room, changed).await?;
        left.push(room);
    }
    Ok(left)
}

/// The standings that fit the reply. The others are left out, and the client asks for them again.
fn fitting(standings: BTreeMap<RoomId, PresenceStanding>, mut bytes_left: usize) -> BTreeMap<RoomId, PresenceStanding> {
    let mut fits = |room: &RoomId| take(&mut bytes_left, room.as_str().len() + STANDING_ENVELOPE);
    standings.into_iter().filter(|(room, _)| fits(room)).collect()
}

/// Takes some of the bytes that are left, if there are as many.
fn take(bytes_left: &mut usize, bytes: usize) -> bool {
    let left = bytes_left.checked_sub(bytes);
    *bytes_left = left.unwrap_or(*bytes_left);
    left.is_some()
}

/// Looks at rooms one after the other, as far as the budgets go. Returns what was found, the time of the newest
/// message, and the bytes that are left in the largest possible reply.
async fn serve<C: Clock>(
    log: &LogTable<C>,
    frame: &Frame,
    looks: Vec<(RoomId, u64, Look)>,
    budget: ReplyBudget,
    failures: &mut Failures,
) -> (BTreeMap<RoomId, CatchUp>, Option<u64>, usize) {
    let (budget, units, has_failed) = (RefCell::new(budget), Cell::new(0), Cell::new(false));
    let reads = stream::iter(looks).map(|(room, after, look)| {
        let (budget, units, has_failed) = (&budget, &units, &has_failed);
        async move {
            let is_spent = units.get() >= READ_UNITS;
            let head = match look {
                Look::Known(found) => return (room, Ok(Some(found))),
                // A client that is told of more asks again at once; one whose room is left out waits, as it should
                // while reads fail.
                Look::Behind(_) if is_spent && has_failed.get() => return (room, Ok(None)),
                Look::Behind(head) if is_spent || budget.borrow().is_spent() => {
                    return (room, Ok(Some(Found::unread(head))));
                }
                Look::Behind(head) => Some(head),
                Look::Unknown if is_spent => return (room, Ok(None)),
                Look::Unknown => None,
            };
            let bytes_left = budget.borrow().left();
            let found = read(log, &room, after, head, not_before(frame, &room), bytes_left).await;
            units.set(units.get() + found.as_ref().map_or(FAILED_READ_UNITS, |found| found.units));
            has_failed.set(has_failed.get() || found.is_err());
            (room, found.map(Some))
        }
    });
    let (mut rooms, mut newest) = (BTreeMap::new(), None);
    let mut reads = std::pin::pin!(reads.buffered(READS_AT_ONCE));
    while let Some((room, found)) = reads.next().await {
        match found {
            Ok(Some(found)) => {
                newest = newest.max(found.appended_at);
                rooms.insert(room, found.fill(&mut budget.borrow_mut()));
            }
            Ok(None) => {}
            Err(error) => failures.extend(Some(error)),
        }
    }
    let left = budget.borrow().left_beside_messages();
    (rooms, newest, left)
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

/// The way in which a room is served.
enum Look {
    /// The reply is known without a read.
    Known(Found),
    /// The client is behind this head.
    Behind(LogHead),
    /// Nothing is known for sure: the log itself must be read.
    Unknown,
}

impl Look {
    fn at(after: u64, head: Option<LogHead>, was_member: bool, now_seconds: u64) -> Self {
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

/// Why rooms were left out. A throttle takes precedence, since the client should then wait.
#[derive(Default)]
struct Failures {
    worst: Option<StoreError>,
}

impl Failures {
    fn is_throttled(&self) -> bool {
        matches!(self.worst, Some(StoreError::Throttled { .. }))
    }

    fn log(&self, left_out: usize) {
        match &self.worst {
            Some(error) if self.is_throttled() => tracing::warn!(%error, left_out, "rooms left out of a sync"),
            Some(error) => tracing::error!(%error, left_out, "rooms left out of a sync"),
            None => {}
        }
    }
}

impl Extend<StoreError> for Failures {
    fn extend<T: IntoIterator<Item = StoreError>>(&mut self, errors: T) {
        for error in errors {
            if self.worst.is_none() || matches!(error, StoreError::Throttled { .. }) {
                self.worst = Some(error);
            }
        }
    }
}

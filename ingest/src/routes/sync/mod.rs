//! `sync`: heartbeat, keep-alive, gap fill and renewal of memberships in one.
//!
//! Its reads are bounded: the connection's rows and the rooms' heads take one call each, and messages are read only in
//! rooms where the client is behind, see `reads`. A room that cannot be served is left out of the reply, and the client
//! asks for it again.

mod failures;
mod reads;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    mem,
};

use futures::{StreamExt, future::join, stream};
use shared::{
    RoomId,
    clock::Clock,
    frame::server::{CatchUp, PresenceStanding, Reply},
    metrics::{
        Metrics,
        names::{HEALS, SYNCS},
    },
    queue::Queue,
    rights::Right,
    store::{StoreError, connections::KnownRow, log::LogHead},
};

use self::{
    failures::Failures,
    reads::{RoomToServe, Served, Way, serve},
};
use super::SessionRoutes;
use crate::{
    budget::{RENEWED_ENVELOPE, ReplyBudget},
    event::Frame,
    presence::membership::Renewal,
    request::{Positions, Sync},
    response::RouteError,
};

/// Rows that are put at the same time.
const PUTS_AT_ONCE: usize = 10;

/// Bytes that a reply has for where the presence of a room stands, besides its name:
/// `"":{"rev":9007199254740991,"count":9007199254740991},`.
const STANDING_ENVELOPE: usize = 54;

/// A row that expires sooner than this is put again, in seconds. Hardly any is: the client library hands a connection
/// over after 110 minutes at the latest, when its first row has twenty left.
const RENEWED_WITHIN: u64 = 20 * 60;

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// Serves the route. Rooms that the subject may not join are named in the answer; all others are served. Throttled
    /// calls are tried again by the SDK, and their rooms left out in the end.
    ///
    /// # Errors
    /// When the connection's rows cannot be read, or no room at all could be served or afforded.
    pub async fn sync(&self, frame: &Frame, request: Sync, metrics: &Metrics) -> Result<Reply, RouteError> {
        let mut syncing = Syncing::new(self, frame, request);
        let synced = syncing.run().await;
        // Rows may have been put or deleted even if there was an error.
        self.presence.tick(mem::take(&mut syncing.changed), metrics).await;
        let synced = synced?;
        metrics.add(SYNCS, 1);
        metrics.add(HEALS, synced.healed);
        if synced.throttled {
            self.note_throttle();
        }
        Ok(Reply::Synced {
            sync_after_ms: self.sync_after(synced.newest, synced.is_present),
            now: synced.presence.is_some().then(|| self.clock.unix_millis()),
            rooms: synced.rooms,
            forbidden: syncing.forbidden,
            renewed: syncing.renewed.into_iter().chain(synced.renewed_before).collect(),
            presence: synced.presence,
        })
    }
}

/// A `sync` that is under way.
struct Syncing<'a, C, Q> {
    routes: &'a SessionRoutes<C, Q>,
    frame: &'a Frame,
    now_millis: u64,
    /// The client's positions in those rooms that its subject may join.
    positions: BTreeMap<RoomId, u64>,
    /// The other rooms, and those that are too many for the connection.
    forbidden: Vec<RoomId>,
    /// The rooms of whose presence the client wants to know, and may.
    asked: Option<BTreeSet<RoomId>>,
    /// The connection's rows, as they were read.
    rows: HashMap<RoomId, KnownRow>,
    /// The rooms in which its row was put now.
    renewed: BTreeSet<RoomId>,
    /// The rooms in which its row was there after all.
    there_after_all: BTreeSet<RoomId>,
    /// The rooms to which a tick must be sent.
    changed: BTreeSet<RoomId>,
    failures: Failures,
}

/// The result of a `sync`.
struct Synced {
    rooms: BTreeMap<RoomId, CatchUp>,
    /// The state of presence in the rooms asked about, if there were any.
    presence: Option<BTreeMap<RoomId, PresenceStanding>>,
    /// The number of rows that were put anew.
    healed: u64,
    /// The rooms in which the connection's row was put earlier, and that are told once more.
    renewed_before: Vec<RoomId>,
    /// Whether the connection is present in any of the rooms.
    is_present: bool,
    /// When the newest message of the rooms was appended, in milliseconds since the Unix epoch, if there is any. The
    /// time of the `sync` if it has put back a row: a message that is posted before the index shows the row is missed.
    newest: Option<u64>,
    /// Whether a table has throttled a call.
    throttled: bool,
}

impl<'a, C: Clock, Q: Queue> Syncing<'a, C, Q> {
    fn new(routes: &'a SessionRoutes<C, Q>, frame: &'a Frame, request: Sync) -> Self {
        let Sync { rooms: Positions(positions), presence: asked } = request;
        let grant = &frame.grant;
        let may_join = |room: &RoomId| grant.rights.allow(&grant.subject, Right::Join, room);
        let is_told = |room: &RoomId| may_join(room) && routes.presence.rooms.listed.matches(room);
        let asked = asked.map(|Positions(asked)| asked.into_keys().filter(is_told).collect());
        let (positions, withheld): (BTreeMap<_, _>, BTreeMap<_, _>) =
            positions.into_iter().partition(|(room, _)| may_join(room));
        Self {
            routes,
            frame,
            now_millis: routes.clock.unix_millis(),
            positions,
            forbidden: withheld.into_keys().collect(),
            asked,
            rows: HashMap::new(),
            renewed: BTreeSet::new(),
            there_after_all: BTreeSet::new(),
            changed: BTreeSet::new(),
            failures: Failures::default(),
        }
    }

    async fn run(&mut self) -> Result<Synced, RouteError> {
        let heads = self.read_rows().await?;
        let due = self.due();
        let over = self.renew(&due).await;
        self.leave_surplus().await?;
        let healed = self.renewed.len() as u64;

        let lasting: HashMap<_, _> =
            self.rows.iter().filter(|(room, _)| self.positions.contains_key(*room) && !due.contains(*room)).collect();
        let is_present = self.is_present(lasting.keys().copied());
        let (to_serve, budget) = (self.rooms_to_serve(&due, &heads), self.budget());
        let attended =
            self.routes.presence.attend(&self.frame.connection, &lasting, self.asked.as_ref(), self.now_millis);
        let (served, attended) = join(serve(&self.routes.tables.log, self.frame, to_serve, budget), attended).await;
        let Served { rooms, newest, mut bytes_left, failures } = served;
        self.failures.extend(failures.worst);
        self.changed.extend(attended.changed);

        let throttled = attended.throttled || self.failures.is_throttled();
        if rooms.is_empty() && self.forbidden.is_empty() {
            if let Some(error) = self.failures.worst.take().map(RouteError::from).or(over) {
                return Err(error);
            }
        } else {
            self.failures.log(self.positions.len() - rooms.len());
        }
        let has_put_back = !self.renewed.iter().all(|room| self.was_member(room));
        let newest = if has_put_back { Some(self.now_millis) } else { newest };
        let renewed_before = self.renewed_before(&mut bytes_left);
        let presence = self.asked.as_ref().map(|_| fitting(attended.standings, bytes_left));
        Ok(Synced { rooms, presence, healed, renewed_before, is_present, newest, throttled })
    }

    /// Reads the connection's rows and, returned, the heads of the rooms, as far as they could be read.
    async fn read_rows(&mut self) -> Result<HashMap<RoomId, Option<LogHead>>, StoreError> {
        let SessionRoutes { tables, heads, presence, .. } = self.routes;
        let rows = tables.connections.memberships(&self.frame.connection, self.positions.keys());
        let (rows, known) = join(rows, heads.of(&tables.log, &self.positions)).await;
        self.rows = rows?;
        for (room, row) in &mut self.rows {
            // The row may have been put before a change of the room patterns.
            row.present_until = row.present_until.filter(|_| presence.rooms.include(room));
        }
        self.failures.extend(known.error);
        Ok(known.heads)
    }

    /// The rooms in which the connection has no row, or one that expires soon.
    fn due(&self) -> BTreeSet<RoomId> {
        // No row outlives the token.
        let renewed_until = self.frame.grant.ends_at().min(self.now_seconds() + RENEWED_WITHIN);
        let is_due = |room: &&RoomId| self.rows.get(*room).is_none_or(|row| row.expires_at < renewed_until);
        self.positions.keys().filter(is_due).cloned().collect()
    }

    /// Puts the rows of rooms that are due, as many as the shares allow, and says why the next one is refused. From
    /// that one on, rooms are left out of the reply; the client asks for them again.
    async fn renew(&mut self, due: &BTreeSet<RoomId>) -> Option<RouteError> {
        let SessionRoutes { shares, presence, .. } = self.routes;
        let (caller, mut over) = (self.frame.caller(), None);
        let take = |room: &&RoomId| {
            let taken = shares.take(&caller.grant.subject).and_then(|()| shares.take_join(room));
            taken.map_err(|error| over = Some(error)).is_ok()
        };
        let affordable: Vec<_> = due.iter().take_while(take).collect();
        let now_seconds = self.now_seconds();
        let puts = affordable.into_iter().map(|room| {
            let row = self.rows.get(room).copied();
            async move { (room, presence.renew(caller, room, row, now_seconds).await) }
        });
        for (room, put) in stream::iter(puts).buffer_unordered(PUTS_AT_ONCE).collect::<Vec<_>>().await {
            match put {
                Ok(Renewal::Done { is_changed }) => {
                    self.changed.extend(is_changed.then(|| room.clone()));
                    self.renewed.insert(room.clone());
                }
                Ok(Renewal::Needless) => drop(self.there_after_all.insert(room.clone())),
                Err(error) => self.failures.extend(Some(error)),
            }
        }
        over
    }

    /// Takes the connection out of surplus rooms again, if it is in more than it may be.
    async fn leave_surplus(&mut self) -> Result<(), StoreError> {
        if self.renewed.is_empty() {
            return Ok(());
        }
        let SessionRoutes { tables, limits, presence, .. } = self.routes;
        let connection = &self.frame.connection;
        let counted_to = limits.rooms.saturating_add(u32::try_from(self.renewed.len()).unwrap_or(u32::MAX));
        let surplus = tables.connections.count(connection, counted_to).await?.saturating_sub(limits.rooms);
        for _ in 0..surplus {
            let Some(room) = self.renewed.pop_last() else { break };
            presence.take_out(connection, &room, &mut self.changed).await?;
            self.forbidden.push(room);
        }
        Ok(())
    }

    /// The rooms in which the connection has a row by now, in an order that differs each time, so that a room that is
    /// always behind does not keep the others from being served.
    fn rooms_to_serve(&self, due: &BTreeSet<RoomId>, heads: &HashMap<RoomId, Option<LogHead>>) -> Vec<RoomToServe> {
        let is_put = |room: &RoomId| self.renewed.contains(room) || self.there_after_all.contains(room);
        let has_row = |room: &RoomId| is_put(room) || !due.contains(room);
        let members = self.positions.iter().filter(|(room, _)| has_row(room));
        let rooms = members.filter_map(|(room, after)| {
            // Messages that were appended before the row was put may have reached neither the connection nor the head
            // that was read.
            let head = heads.get(room)?;
            let way = Way::at(*after, *head, self.was_member(room), self.now_seconds());
            Some(RoomToServe { room: room.clone(), after: *after, way })
        });
        let mut rooms: Vec<_> = rooms.collect();
        self.routes.random.borrow_mut().shuffle(&mut rooms);
        rooms
    }

    fn budget(&self) -> ReplyBudget {
        ReplyBudget::for_rooms(self.positions.keys().chain(&self.forbidden), self.renewed.iter())
    }

    /// Whether the connection is present in any of the rooms; `lasting` are those whose rows were not due.
    fn is_present<'b>(&self, mut lasting: impl Iterator<Item = &'b RoomId>) -> bool {
        let was_present = |room: &RoomId| self.rows.get(room).is_some_and(|row| row.present_until.is_some());
        let is_counted = |room: &RoomId| self.routes.presence.rooms.lifecycle.matches(room);
        lasting.any(was_present)
            || self.renewed.iter().any(|room| was_present(room) || is_counted(room))
            || !self.there_after_all.is_empty()
    }

    fn was_member(&self, room: &RoomId) -> bool {
        self.rows.get(room).is_some_and(|row| row.expires_at > self.now_seconds())
    }

    /// The rooms in which a row was put back earlier: the reply that said so may have been lost, and so it is said
    /// until the connection has joined again. What does not fit is said next time.
    fn renewed_before(&self, bytes_left: &mut usize) -> Vec<RoomId> {
        let is_put_back = |room: &&RoomId| {
            let is_row = self.rows.get(*room).is_some_and(|row| row.put_back);
            is_row && !self.forbidden.contains(room) && !self.renewed.contains(*room)
        };
        let fits = |room: &&RoomId| take(bytes_left, room.as_str().len() + RENEWED_ENVELOPE);
        self.asked.iter().flatten().filter(is_put_back).filter(fits).cloned().collect()
    }

    fn now_seconds(&self) -> u64 {
        self.now_millis / 1_000
    }
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

//! `joinRoom`: the row is put first, and the log is read after it. So a message that is appended after the read reaches
//! the row, and one that was appended before is in the reply, or known to be missing.

use std::collections::BTreeSet;

use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    frame::server::{JoinedState, Reply},
    json::Counter,
    limits::{STATE_ENTRIES, STATE_REPLY_BYTES},
    metrics::{Metrics, names::JOINS},
    presence::Listing,
    queue::Queue,
    rights::Right,
};

use super::SessionRoutes;
use crate::{
    budget::ReplyBudget,
    catch_up::{ANY_TIME, Found, Head, Missed},
    event::Frame,
    presence::list::JoinedList,
    request::JoinRoom,
    response::RouteError,
    state::Wanted,
};

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// Serves the route, and fills the reply: messages first, then members, then state. With `presence`, the connection
    /// is listed among the room's members, if the room has a list, and told of them; without, it ceases to be listed.
    ///
    /// # Errors
    /// When what is to be listed is not valid, the subject may not join the room, or not read what was said before,
    /// too many are joining it, the connection is in as many others as it may be, or a table does not answer, or
    /// throttles; the SDK has tried it again by then. The connection may be in the room all the same.
    pub async fn join_room(&self, frame: &Frame, join: JoinRoom<'_>, metrics: &Metrics) -> Result<Reply, RouteError> {
        let listing = join.listing()?;
        let wants_state = join.state == Some(true);
        let wants_time = wants_state || join.presence == Some(true);
        let JoinRoom { room_id: room, after, .. } = join;
        let after = after.map(|Counter(after)| after);
        let mut budget = ReplyBudget::new();
        let (mut found, list) = self.enter(frame, &room, listing.as_ref(), after, &budget, metrics).await?;
        metrics.add(JOINS, 1);
        let is_present = list.is_some() || self.presence.rooms.lifecycle.matches(&room);
        let sync_after_ms = self.sync_after(found.appended_at, is_present);
        let head = found.head.take();
        let catch_up = found.fill(&mut budget);
        let presence = list.map(|list| list.fill(&mut budget));
        let has_everything = after.is_some_and(|after| after > 0) && !catch_up.truncated;
        let state = if wants_state && !has_everything {
            self.first_state(&room, catch_up.seq, head, budget.used()).await?
        } else {
            None
        };
        Ok(Reply::Joined {
            room_id: room,
            catch_up,
            retention_seconds: self.retention_seconds,
            sync_after_ms,
            sync_within_ms: is_present.then(|| self.presence.longest_beat()),
            expires_in_ms: frame.grant.expires_in_ms(self.clock.unix_millis()),
            now: wants_time.then(|| self.clock.unix_millis()),
            state,
            presence,
        })
    }

    /// Puts the row, and reads as much of what the client has missed, and has a right to, as the budget allows, and the
    /// members.
    async fn enter(
        &self,
        frame: &Frame,
        room: &RoomId,
        listing: Option<&Listing>,
        after: Option<u64>,
        budget: &ReplyBudget,
        metrics: &Metrics,
    ) -> Result<(Found, Option<JoinedList>), RouteError> {
        let grant = &frame.grant;
        grant.require(Right::Join, room)?;
        if after.is_some() {
            grant.require(Right::History, room)?;
        }
        self.shares.take_join(room)?;
        let is_changed = self.presence.put(frame.caller(), room, listing).await?;
        let tick = self.presence.tick(is_changed.then(|| room.clone()), metrics);
        let list = self.presence.list_for(room, &grant.subject, listing);
        let log = &self.tables.log;
        let found = async {
            let Some(after) = after else { return Found::head(log, room).await };
            let missed = Missed { after, head: None, not_before: ANY_TIME, bytes_left: budget.left() };
            missed.read(log, room).await
        };
        let rooms = self.tables.connections.count(&frame.connection, self.limits.rooms.saturating_add(1));
        let (found, rooms, list, ()) = futures::join!(found, rooms, list, tick);
        // A row too many must not stay, even if the log could not be read.
        if rooms? > self.limits.rooms {
            return Err(self.turn_away(&frame.connection, room, metrics).await);
        }
        Ok((found?, list?))
    }

    /// Takes a connection out of the room that is one too many for it. Returns what the client is told.
    async fn turn_away(&self, connection: &ConnectionId, room: &RoomId, metrics: &Metrics) -> RouteError {
        let mut changed = BTreeSet::new();
        let left = self.presence.take_out(connection, room, &mut changed).await;
        self.presence.tick(changed, metrics).await;
        match left {
            Err(error) => error.into(),
            Ok(()) => {
                RouteError::Forbidden(format!("`roomId` {room}: a connection may be in {} rooms", self.limits.rooms))
            }
        }
    }

    /// The first page of a room's state, if it keeps any, for a client that may lack some of it: it comes without a
    /// position, with position 0, or with one from which on the log is gone in part. The page takes the bytes of the
    /// reply that are not `used`.
    async fn first_state(
        &self,
        room: &RoomId,
        seq: u64,
        head: Option<Head>,
        used: usize,
    ) -> Result<Option<JoinedState>, RouteError> {
        if !self.states.keeps(room) {
            return Ok(None);
        }
        let bytes = STATE_REPLY_BYTES.saturating_sub(used);
        let wanted = Wanted { after: "", seq, head, limit: STATE_ENTRIES, bytes, takes_one: false };
        let (_, page) = self.states.page(&self.tables.log, room, wanted).await?;
        Ok(Some(page.into()))
    }
}

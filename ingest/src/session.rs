//! The `session` function: connections come and go, join and leave rooms, and read the log. It works on DynamoDB. It
//! uses @connections to close connections whose token has expired, and to find out which of a subject's connections are
//! gone.

use std::{cell::RefCell, collections::BTreeSet};

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use fastrand::Rng;
use lambda_runtime::LambdaEvent;
use shared::{
    RoomId,
    clock::Clock,
    frame::server::{CatchUp, JoinedState, Reply},
    json::Counter,
    limits::{STATE_ENTRIES, STATE_REPLY_BYTES},
    metrics::{
        Metrics,
        names::{CONNECTS, DISCONNECTS, HEALS, JOINS, SYNCS},
    },
    queue::{Queue, sqs::SqsQueue},
    rooms::RoomPatterns,
    store::state::StateTable,
};

use crate::{
    beat::Beat,
    catch_up::{Head, ReplyBudget},
    config::SessionLimits,
    connections_api::ConnectionsApi,
    deadline::Deadline,
    event::{EventError, Frame, SocketEvent},
    heads::Heads,
    presence::{
        membership::{Presence, PresenceRooms},
        recent::Recent,
        tick::Ticks,
    },
    request::{Before, Inbound, JoinRoom, RefusalReason, Request, Sync},
    response::{Response, RouteError},
    routes::{
        connect::connect, disconnect::disconnect, get_history::get_history, get_members::get_members,
        get_state::get_state, join_room::join_room, leave_room::leave_room, sync::sync,
    },
    shares::RequestShares,
    state::{States, Wanted},
    tables::Tables,
};

/// The function's state.
#[derive(Debug)]
pub struct SessionFunction<C, Q = SqsQueue> {
    tables: Tables<C>,
    connections_api: ConnectionsApi,
    limits: SessionLimits,
    heads: Heads<C>,
    clock: C,
    retention_seconds: u64,
    beat: RefCell<Beat>,
    shares: RequestShares<C>,
    states: States<C>,
    random: RefCell<Rng>,
    presence: Presence<C, Q>,
    recent_lists: Recent<C>,
}

impl<C: Clock + Clone, Q: Queue> SessionFunction<C, Q> {
    /// A function over the tables, without presence. The log keeps messages for `retention_seconds`.
    pub fn new(
        tables: Tables<C>,
        connections_api: ConnectionsApi,
        limits: SessionLimits,
        clock: C,
        retention_seconds: u64,
        beat: Beat,
        random: Rng,
    ) -> Self {
        let heads = Heads::new(clock.clone());
        let shares = RequestShares::new(limits.requests, limits.room_joins, clock.clone());
        let states = States::none(clock.clone());
        let (beat, random) = (RefCell::new(beat), RefCell::new(random));
        let recent_lists = Recent::new(clock.clone());
        let presence = Presence::new(PresenceRooms::default(), Ticks::new(None, clock.clone()));
        Self {
            tables,
            connections_api,
            limits,
            heads,
            clock,
            retention_seconds,
            beat,
            shares,
            states,
            random,
            presence,
            recent_lists,
        }
    }

    /// The same function in a stack that keeps the state of some rooms.
    #[must_use]
    pub fn with_states(self, table: StateTable<C>, rooms: RoomPatterns) -> Self {
        let states = States::new(table, rooms, self.clock.clone());
        Self { states, ..self }
    }

    /// The same function with presence in some rooms, and the queue of ticks.
    #[must_use]
    pub fn with_presence(self, rooms: PresenceRooms, queue: Option<Q>) -> Self {
        Self { presence: Presence::new(rooms, Ticks::new(queue, self.clock.clone())), ..self }
    }

    /// Serves one event.
    ///
    /// # Errors
    /// When the event is none of a WebSocket API's: the function is wired wrongly.
    pub async fn handle(
        &self,
        event: LambdaEvent<ApiGatewayWebsocketProxyRequest>,
        metrics: &Metrics,
    ) -> Result<Response, EventError> {
        let deadline = Deadline::of(&event.context);
        let response = self.respond(event.payload.try_into()?, deadline, metrics).await;
        Ok(response.counted(metrics))
    }

    async fn respond(&self, event: SocketEvent, deadline: Deadline, metrics: &Metrics) -> Response {
        match event {
            SocketEvent::Connect { connection, grant, room } => {
                if let Err(error) = self.shares.take(&grant.subject) {
                    return Response::for_lifecycle(Err(error));
                }
                let (tables, api) = (&self.tables, &self.connections_api);
                let (limits, member) = ((self.limits.connections, &self.shares), (&connection, &grant));
                let presence = (&self.presence, metrics);
                let connected = connect(tables, api, presence, limits, member, room.as_deref());
                let connected = self.note(deadline.race(connected).await);
                metrics.add(CONNECTS, u64::from(connected.is_ok()));
                metrics.add(JOINS, u64::from(connected.is_ok() && room.is_some()));
                Response::for_lifecycle(connected)
            }
            SocketEvent::Disconnect { connection, grant } => {
                metrics.add(DISCONNECTS, 1);
                let is_counted = self.limits.connections.is_some();
                let subject = grant.filter(|_| is_counted).map(|grant| grant.subject);
                let presence = (&self.presence, metrics);
                let disconnected = disconnect(&self.tables, presence, &connection, subject.as_ref());
                Response::for_lifecycle(self.note(deadline.race(disconnected).await))
            }
            SocketEvent::Frame(frame) => self.serve(&frame, deadline, metrics).await,
        }
    }

    async fn serve(&self, frame: &Frame, deadline: Deadline, metrics: &Metrics) -> Response {
        if frame.grant.is_over(self.clock.unix_seconds()) {
            return self.connections_api.end_expired(frame, deadline, metrics).await;
        }
        let Some(body) = &frame.body else { return Response::for_binary() };
        let Inbound { request_id, request } = match Inbound::parse(body) {
            Ok(inbound) => inbound,
            // A frame whose action is `$connect` or `$disconnect` comes here, too: API Gateway takes it by those
            // routes.
            Err(refusal) => return Response::for_refused(refusal),
        };
        let result = self.note(deadline.race(self.answer(frame, request, metrics)).await);
        let reply = result.unwrap_or_else(|error| {
            let retry_after = self.beat.borrow_mut().retry_after(self.clock.unix_millis());
            error.into_reply(None, retry_after)
        });
        Response::for_frame(request_id, reply)
    }

    async fn answer(&self, frame: &Frame, request: Request<'_>, metrics: &Metrics) -> Result<Reply, RouteError> {
        self.shares.take(&frame.grant.subject)?;
        let Tables { connections, log, presence: published, .. } = &self.tables;
        let presence = &self.presence;
        match request {
            Request::JoinRoom(join) => self.join(frame, join, metrics).await,
            Request::LeaveRoom(leave) => {
                leave_room(connections, (presence, metrics), &frame.connection, leave.room_id).await
            }
            Request::Sync(request) => self.sync(frame, request, metrics).await,
            Request::GetHistory(history) => {
                let (before, limit) = (history.before.map(|Before(before)| before), history.limit());
                get_history(log, &frame.grant, history.room_id, before, limit).await
            }
            Request::GetState(request) => get_state(&self.states, log, &frame.grant, request).await,
            Request::GetMembers(request) => {
                let tables = (published, &self.recent_lists);
                get_members(tables, &presence.rooms.listed, &frame.grant, request).await
            }
            Request::SendMessage(_) => Err(RefusalReason::AmbiguousAction.into()),
        }
    }

    /// Serves `joinRoom`, and fills the reply: messages first, then members, then state.
    async fn join(&self, frame: &Frame, join: JoinRoom<'_>, metrics: &Metrics) -> Result<Reply, RouteError> {
        let presence = &self.presence;
        let mut budget = ReplyBudget::new();
        let listing = join.listing()?;
        let wants_state = join.state == Some(true);
        let JoinRoom { room_id, after, presence: wants_presence, .. } = join;
        let after = after.map(|Counter(after)| after);
        let limits = (self.limits.rooms, &self.shares);
        let (telling, room) = ((presence, metrics), (&room_id, listing.as_ref()));
        let joined = join_room(&self.tables, telling, limits, frame, room, after, &budget).await?;
        let (mut found, list) = joined;
        metrics.add(JOINS, 1);
        let is_present = list.is_some() || presence.rooms.lifecycle.matches(&room_id);
        let sync_after_ms = self.sync_after(found.appended_at, is_present);
        let head = found.head.take();
        let catch_up = found.fill(&mut budget);
        let members = list.map(|list| list.fill(&mut budget));
        let state =
            if wants_state { self.joined_state(&room_id, after, &catch_up, head, budget.used()).await? } else { None };
        Ok(Reply::Joined {
            room_id,
            catch_up,
            retention_seconds: self.retention_seconds,
            sync_after_ms,
            sync_within_ms: is_present.then(|| presence.longest_beat()),
            expires_in_ms: frame.grant.expires_in_ms(self.clock.unix_millis()),
            now: (wants_state || wants_presence == Some(true)).then(|| self.clock.unix_millis()),
            state,
            presence: members,
        })
    }

    /// Serves `sync`, and sends the ticks that it asks for even when it fails.
    async fn sync(&self, frame: &Frame, request: Sync, metrics: &Metrics) -> Result<Reply, RouteError> {
        let now = self.clock.unix_millis();
        // A fork, because the generator must not stay borrowed while other requests are served.
        let mut order = self.random.borrow_mut().fork();
        let (limits, mut changed) = ((self.limits.rooms, &self.shares, &self.heads), BTreeSet::new());
        let telling = (&self.presence, &mut changed);
        let synced = sync(&self.tables, telling, limits, frame, request, &mut order, now).await;
        self.presence.tick(changed, metrics).await;
        let synced = synced?;
        metrics.add(SYNCS, 1);
        metrics.add(HEALS, synced.healed);
        if synced.throttled {
            self.beat.borrow_mut().throttled(self.clock.unix_millis());
        }
        let sync_after_ms = self.sync_after(synced.newest, synced.is_present);
        Ok(synced.into_reply(sync_after_ms, self.clock.unix_millis()))
    }

    /// The first page of a room's state, for a client that may lack some of it: it comes without a position, with
    /// position 0, or with one from which on the log is gone in part. The page takes the bytes of the reply that are
    /// not `used`.
    async fn joined_state(
        &self,
        room: &RoomId,
        after: Option<u64>,
        catch_up: &CatchUp,
        head: Option<Head>,
        used: usize,
    ) -> Result<Option<JoinedState>, RouteError> {
        let has_everything = after.is_some_and(|after| after > 0) && !catch_up.truncated;
        if has_everything || !self.states.keeps(room) {
            return Ok(None);
        }
        let bytes = STATE_REPLY_BYTES.saturating_sub(used);
        let wanted = Wanted { after: "", seq: catch_up.seq, head, limit: STATE_ENTRIES, bytes, takes_one: false };
        let (_, page) = self.states.page(&self.tables.log, room, wanted).await?;
        Ok(Some(page.into()))
    }

    fn sync_after(&self, newest: Option<u64>, is_present: bool) -> u64 {
        let longest = is_present.then(|| self.presence.longest_beat());
        self.beat.borrow_mut().sync_after(newest, longest, self.clock.unix_millis())
    }

    /// Notes a throttle for the beat.
    fn note<T>(&self, result: Result<T, RouteError>) -> Result<T, RouteError> {
        if result.as_ref().is_err_and(RouteError::is_throttled) {
            self.beat.borrow_mut().throttled(self.clock.unix_millis());
        }
        result
    }
}

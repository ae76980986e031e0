//! The `session` function: connections come and go, join and leave rooms, and read the log. It works on DynamoDB. It
//! uses @connections to close connections whose token has expired, and to find out which of a subject's connections are
//! gone.

use std::cell::RefCell;

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use fastrand::Rng;
use lambda_runtime::LambdaEvent;
use shared::{
    clock::Clock,
    frame::server::Reply,
    metrics::Metrics,
    queue::{Queue, sqs::SqsQueue},
    room_pattern::RoomPatterns,
    store::state::StateTable,
};

use crate::{
    beat::Beat,
    config::SessionLimits,
    connections_api::ConnectionsApi,
    deadline::Deadline,
    event::{Caller, EventError, Frame, SocketEvent},
    heads::Heads,
    presence::{membership::Presence, rooms::PresenceRooms, tick::Ticks},
    request::{Inbound, RefusalReason, Request},
    response::{Response, RouteError},
    routes::SessionRoutes,
    shares::RequestShares,
    state::States,
    tables::Tables,
};

/// The function's state.
#[derive(Debug)]
pub struct SessionFunction<C, Q = SqsQueue> {
    routes: SessionRoutes<C, Q>,
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
        let routes = SessionRoutes {
            connections_api,
            limits,
            shares: RequestShares::new(limits.requests, limits.room_joins, clock.clone()),
            heads: Heads::new(clock.clone()),
            states: States::none(clock.clone()),
            presence: Presence::none(&tables, clock.clone()),
            beat: RefCell::new(beat),
            random: RefCell::new(random),
            retention_seconds,
            clock,
            tables,
        };
        Self { routes }
    }

    /// The same function in a stack that keeps the state of some rooms.
    #[must_use]
    pub fn with_states(self, table: StateTable<C>, rooms: RoomPatterns) -> Self {
        let states = States::new(table, rooms, self.routes.clock.clone());
        Self { routes: SessionRoutes { states, ..self.routes } }
    }

    /// The same function with presence in some rooms, and the queue of ticks.
    #[must_use]
    pub fn with_presence(self, rooms: PresenceRooms, queue: Option<Q>) -> Self {
        let ticks = Ticks::new(queue, self.routes.clock.clone());
        let presence = self.routes.presence.in_rooms(rooms, ticks);
        Self { routes: SessionRoutes { presence, ..self.routes } }
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
        let routes = &self.routes;
        match event {
            SocketEvent::Connect { connection, grant, room } => {
                let caller = Caller { connection: &connection, grant: &grant };
                let connected = deadline.race(routes.connect(caller, room.as_deref(), metrics)).await;
                routes.note(&connected);
                Response::for_lifecycle(connected)
            }
            SocketEvent::Disconnect { connection, grant } => {
                let subject = grant.map(|grant| grant.subject);
                let disconnected = deadline.race(routes.disconnect(&connection, subject.as_ref(), metrics)).await;
                routes.note(&disconnected);
                Response::for_lifecycle(disconnected)
            }
            SocketEvent::Frame(frame) => self.serve(&frame, deadline, metrics).await,
        }
    }

    async fn serve(&self, frame: &Frame, deadline: Deadline, metrics: &Metrics) -> Response {
        let routes = &self.routes;
        if frame.grant.is_over(routes.clock.unix_seconds()) {
            return routes.connections_api.end_expired(frame, deadline, metrics).await;
        }
        let Some(body) = &frame.body else { return Response::for_binary() };
        let Inbound { request_id, request } = match Inbound::parse(body) {
            Ok(inbound) => inbound,
            // A frame whose action is `$connect` or `$disconnect` comes here, too: API Gateway takes it by those
            // routes.
            Err(refusal) => return Response::for_refused(refusal),
        };
        let answer = deadline.race(self.answer(frame, request, metrics)).await;
        routes.note(&answer);
        let reply = answer.unwrap_or_else(|error| error.into_reply(None, routes.retry_after()));
        Response::for_frame(request_id, reply)
    }

    async fn answer(&self, frame: &Frame, request: Request<'_>, metrics: &Metrics) -> Result<Reply, RouteError> {
        let routes = &self.routes;
        routes.shares.take(&frame.grant.subject)?;
        match request {
            Request::JoinRoom(join) => routes.join_room(frame, join, metrics).await,
            Request::LeaveRoom(leave) => routes.leave_room(&frame.connection, leave.room_id, metrics).await,
            Request::Sync(sync) => routes.sync(frame, sync, metrics).await,
            Request::GetHistory(request) => routes.get_history(&frame.grant, request).await,
            Request::GetState(request) => routes.get_state(&frame.grant, request).await,
            Request::GetMembers(request) => routes.get_members(&frame.grant, request).await,
            Request::SendMessage(_) => Err(RefusalReason::AmbiguousAction.into()),
        }
    }
}

//! The `session` function: connections come and go, join and leave rooms, and read the log. It works on DynamoDB; @connections
//! closes those whose token has expired, and tells which of a subject's many are gone.

use std::cell::RefCell;

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use fastrand::Rng;
use lambda_runtime::LambdaEvent;
use shared::{
    clock::Clock,
    frame::{
        client::{Before, Inbound, JoinRoom, Positions, RefusalReason, Request},
        server::Reply,
    },
    json::Counter,
    metrics::{
        Metrics,
        names::{CONNECTS, DISCONNECTS, HEALS, JOINS, SYNCS},
    },
    store::{connections::ConnectionTable, log::LogTable, subjects::SubjectTable},
};

use crate::{
    beat::Beat,
    catch_up::ReplyBudget,
    config::SessionLimits,
    connections_api::ConnectionsApi,
    deadline::Deadline,
    event::{EventError, Frame, SocketEvent},
    heads::Heads,
    response::{Response, RouteError},
    routes::{
        connect::connect, disconnect::disconnect, get_history::get_history, join_room::join_room,
        leave_room::leave_room, sync::sync,
    },
    shares::RequestShares,
};

/// The function's state.
#[derive(Debug)]
pub struct SessionFunction<C> {
    tables: Tables<C>,
    connections_api: ConnectionsApi,
    limits: SessionLimits,
    heads: Heads<C>,
    clock: C,
    retention_seconds: u64,
    beat: RefCell<Beat>,
    shares: RequestShares<C>,
    random: RefCell<Rng>,
}

/// What the function reads and writes.
#[derive(Debug)]
pub struct Tables<C> {
    /// Which connections are in which rooms.
    pub connections: ConnectionTable<C>,
    /// Which connections a subject has.
    pub subjects: SubjectTable<C>,
    /// The rooms' logs.
    pub log: LogTable<C>,
}

impl<C: Clock + Clone> SessionFunction<C> {
    /// A function over the tables. The log keeps messages for `retention_seconds`.
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
        let (beat, random) = (RefCell::new(beat), RefCell::new(random));
        Self { tables, connections_api, limits, heads, clock, retention_seconds, beat, shares, random }
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
                let connected = connect(tables, api, limits, member, room.as_deref());
                let connected = self.note(deadline.race(connected).await);
                metrics.add(CONNECTS, u64::from(connected.is_ok()));
                metrics.add(JOINS, u64::from(connected.is_ok() && room.is_some()));
                Response::for_lifecycle(connected)
            }
            SocketEvent::Disconnect { connection, grant } => {
                metrics.add(DISCONNECTS, 1);
                let is_counted = self.limits.connections.is_some();
                let subject = grant.filter(|_| is_counted).map(|grant| grant.subject);
                let disconnected = disconnect(&self.tables, &connection, subject.as_ref());
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
            // Among them a frame whose action is `$connect` or `$disconnect`: API Gateway takes those routes for it.
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
        let Tables { connections, log, .. } = &self.tables;
        match request {
            Request::JoinRoom(JoinRoom { room_id, after, .. }) => {
                let mut budget = ReplyBudget::new();
                let after = after.map(|Counter(after)| after);
                let limits = (self.limits.rooms, &self.shares);
                let found = join_room((connections, log), limits, frame, &room_id, after, &budget).await?;
                metrics.add(JOINS, 1);
                let sync_after_ms = self.sync_after(found.appended_at);
                Ok(Reply::Joined {
                    room_id,
                    catch_up: found.fill(&mut budget),
                    retention_seconds: self.retention_seconds,
                    sync_after_ms,
                    expires_in_ms: frame.grant.expires_in_ms(self.clock.unix_millis()),
                })
            }
            Request::LeaveRoom(leave) => leave_room(connections, &frame.connection, leave.room_id).await,
            Request::Sync(request) => {
                let Positions(positions) = request.rooms;
                let (log, now) = ((log, &self.heads), self.clock.unix_seconds());
                // A generator of its own: none may be borrowed while others are served.
                let mut order = self.random.borrow_mut().fork();
                let (connections, shares) = ((connections, self.limits.rooms), &self.shares);
                let synced = sync(connections, log, shares, frame, positions, &mut order, now).await?;
                metrics.add(SYNCS, 1);
                metrics.add(HEALS, synced.renewed.len() as u64);
                if synced.throttled {
                    self.beat.borrow_mut().throttled(self.clock.unix_millis());
                }
                let sync_after_ms = self.sync_after(synced.newest);
                Ok(synced.into_reply(sync_after_ms))
            }
            Request::GetHistory(history) => {
                let (before, limit) = (history.before.map(|Before(before)| before), history.limit());
                get_history(log, &frame.grant, history.room_id, before, limit).await
            }
            Request::SendMessage(_) => Err(RefusalReason::AmbiguousAction.into()),
        }
    }

    fn sync_after(&self, newest: Option<u64>) -> u64 {
        self.beat.borrow_mut().sync_after(newest, self.clock.unix_millis())
    }

    /// Notes whether a table has throttled.
    fn note<T>(&self, result: Result<T, RouteError>) -> Result<T, RouteError> {
        if result.as_ref().is_err_and(RouteError::is_throttled) {
            self.beat.borrow_mut().throttled(self.clock.unix_millis());
        }
        result
    }
}

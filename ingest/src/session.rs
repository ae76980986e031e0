//! The `session` function: connections come and go, join and leave rooms, and read the log. DynamoDB only.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use lambda_runtime::LambdaEvent;
use shared::{
    clock::Clock,
    frame::client::{ClientFrame, RefusalReason, Request},
    frame::server::Reply,
    store::{connections::ConnectionTable, log::LogTable},
};

use crate::{
    event::{EventError, Frame, SocketEvent},
    response::{Response, RouteError},
    routes::{
        connect::connect, disconnect::disconnect, get_history::get_history, join_room::join_room,
        leave_room::leave_room, sync::sync,
    },
};

/// The function's state.
#[derive(Debug)]
pub struct SessionFunction<C> {
    connections: ConnectionTable<C>,
    log: LogTable<C>,
}

impl<C: Clock> SessionFunction<C> {
    /// A function over the two tables.
    pub fn new(connections: ConnectionTable<C>, log: LogTable<C>) -> Self {
        Self { connections, log }
    }

    /// Serves one event.
    ///
    /// # Errors
    /// When the event is none of a WebSocket API's: the function is wired wrongly.
    pub async fn handle(&self, event: LambdaEvent<ApiGatewayWebsocketProxyRequest>) -> Result<Response, EventError> {
        Ok(match event.payload.try_into()? {
            SocketEvent::Connect { connection, subject, room } => {
                Response::for_lifecycle(connect(&self.connections, &connection, &subject, room.as_deref()).await)
            }
            SocketEvent::Disconnect { connection } => {
                Response::for_lifecycle(disconnect(&self.connections, &connection).await)
            }
            SocketEvent::Frame(frame) => self.serve(&frame).await,
        })
    }

    async fn serve(&self, frame: &Frame) -> Response {
        let Some(body) = &frame.body else { return Response::for_binary() };
        let ClientFrame { request_id, request } = match ClientFrame::parse(body) {
            Ok(parsed) => parsed,
            // Among them a frame whose action is `$connect` or `$disconnect`: API Gateway takes those routes for it.
            Err(refusal) => return Response::for_refused(refusal),
        };
        Response::for_frame(request_id, self.answer(frame, request).await)
    }

    async fn answer(&self, frame: &Frame, request: Request<'_>) -> Result<Reply, RouteError> {
        match request {
            Request::JoinRoom { room, after } => {
                join_room(&self.connections, &self.log, &frame.connection, &frame.subject, room, after).await
            }
            Request::LeaveRoom { room } => leave_room(&self.connections, &frame.connection, room).await,
            Request::Sync { rooms } => sync(&self.log, &frame.subject, rooms).await,
            Request::GetHistory { room, before, limit } => {
                get_history(&self.log, &frame.subject, room, before, limit).await
            }
            Request::SendMessage { .. } => Err(RefusalReason::AmbiguousAction.into()),
        }
    }
}

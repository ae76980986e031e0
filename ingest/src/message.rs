//! The `message` function: the routes `sendMessage` and `$default`. Everything that is not a message to send is
//! refused here; there is no table that this function could touch.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use lambda_runtime::LambdaEvent;
use shared::{
    clock::Clock,
    frame::client::{ClientFrame, RefusalReason, Request},
    queue::Sink,
};

use crate::{
    event::{EventError, SocketEvent},
    response::Response,
    routes::send_message::send_message,
};

/// The function's state.
#[derive(Debug)]
pub struct MessageFunction<S, C> {
    sink: S,
    clock: C,
}

impl<S: Sink, C: Clock> MessageFunction<S, C> {
    /// A function that enqueues to `sink`.
    pub fn new(sink: S, clock: C) -> Self {
        Self { sink, clock }
    }

    /// Serves one event.
    ///
    /// # Errors
    /// When the event is none of a WebSocket API's: the function is wired wrongly.
    pub async fn handle(&self, event: LambdaEvent<ApiGatewayWebsocketProxyRequest>) -> Result<Response, EventError> {
        let frame = match event.payload.try_into()? {
            SocketEvent::Frame(frame) => frame,
            SocketEvent::Connect { .. } | SocketEvent::Disconnect { .. } => {
                return Err(EventError::Type(Some("a connection's; those belong to the session function".into())));
            }
        };
        let Some(body) = &frame.body else { return Ok(Response::for_binary()) };
        let ClientFrame { request_id, request } = match ClientFrame::parse(body) {
            Ok(parsed) => parsed,
            Err(refusal) => return Ok(Response::for_refused(refusal)),
        };
        let result = match request {
            Request::SendMessage { fields } => send_message(&self.sink, &self.clock, &frame, &fields).await,
            _ => Err(RefusalReason::AmbiguousAction.into()),
        };
        Ok(Response::for_frame(request_id, result))
    }
}

//! The `message` function: the routes `sendMessage` and `$default`. Everything that is not a message to send is
//! refused here; there is no table that this function could touch.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use lambda_runtime::LambdaEvent;
use shared::{
    clock::Clock,
    frame::client::{Inbound, RefusalReason, Request},
    json::Name,
    queue::Sink,
};

use crate::{
    deadline::Deadline,
    event::{EventError, SocketEvent},
    response::{Response, RouteError},
    routes::send_message::send_message,
};

/// When to send a message again that the queue or bus had no room for, in milliseconds: they count by the second.
const RETRY_AFTER: u64 = 1_000;

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
        let deadline = Deadline::of(&event.context);
        let frame = match event.payload.try_into()? {
            SocketEvent::Frame(frame) => frame,
            SocketEvent::Connect { .. } | SocketEvent::Disconnect { .. } => {
                return Err(EventError::Type(Some("a connection's; those belong to the session function".into())));
            }
        };
        let Some(body) = &frame.body else { return Ok(Response::for_binary()) };
        let Inbound { request_id, request } = match Inbound::parse(body) {
            Ok(inbound) => inbound,
            Err(refusal) => return Ok(Response::for_refused(refusal)),
        };
        let Request::SendMessage(draft) = request else {
            let error = RouteError::from(RefusalReason::AmbiguousAction);
            return Ok(Response::for_frame(request_id, error.into_reply(None, 0)));
        };
        let id = draft.id.as_ref().map_or(&frame.message_id, |Name(id)| id).clone();
        let result = deadline.race(send_message(&self.sink, &self.clock, &frame, draft)).await;
        let reply = result.unwrap_or_else(|error| error.into_reply(Some(id), RETRY_AFTER));
        Ok(Response::for_frame(request_id, reply))
    }
}

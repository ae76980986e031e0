//! The `message` function: the routes `sendMessage` and `$default`. Every other request is refused here. Of the tables
//! the function may read that of congestion, and no other.

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use lambda_runtime::LambdaEvent;
use shared::{
    clock::Clock,
    json::Name,
    metrics::Metrics,
    queue::{Sink, ephemeral::EphemeralSink},
    trace::TraceHeader,
};

use crate::{
    congestion::CongestionSource,
    connections_api::ConnectionsApi,
    deadline::Deadline,
    event::{EventError, Frame, SocketEvent},
    request::{Inbound, RefusalReason, Request},
    response::{Response, RouteError},
    routes::send_message::SendMessage,
};

/// The time after which a throttled message may be sent again, in milliseconds: the queue and the bus count by the
/// second.
const RETRY_AFTER: u64 = 1_000;

/// The function's state.
#[derive(Debug)]
pub struct MessageFunction<S, E, L, C> {
    send_message: SendMessage<S, E, L>,
    connections_api: ConnectionsApi,
    clock: C,
}

impl<S: Sink, E: EphemeralSink, L: CongestionSource, C: Clock> MessageFunction<S, E, L, C> {
    /// A function that serves `sendMessage` with this route.
    pub fn new(send_message: SendMessage<S, E, L>, connections_api: ConnectionsApi, clock: C) -> Self {
        Self { send_message, connections_api, clock }
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
        let trace = TraceHeader::sampled(event.context.xray_trace_id.as_deref());
        let frame = match event.payload.try_into()? {
            SocketEvent::Frame(frame) => frame,
            SocketEvent::Connect { .. } | SocketEvent::Disconnect { .. } => return Err(EventError::OfSession),
        };
        Ok(self.serve(&frame, trace.as_ref(), deadline, metrics).await.counted(metrics))
    }

    async fn serve(
        &self,
        frame: &Frame,
        trace: Option<&TraceHeader>,
        deadline: Deadline,
        metrics: &Metrics,
    ) -> Response {
        if frame.grant.is_over(self.clock.unix_seconds()) {
            return self.connections_api.end_expired(frame, deadline, metrics).await;
        }
        let Some(body) = &frame.body else { return Response::for_binary() };
        let Inbound { request_id, request } = match Inbound::parse(body) {
            Ok(inbound) => inbound,
            Err(refusal) => return Response::for_refused(refusal),
        };
        let Request::SendMessage(draft) = request else {
            let error = RouteError::from(RefusalReason::AmbiguousAction);
            return Response::for_frame(request_id, error.into_reply(None, 0));
        };
        let id = draft.id.as_ref().map_or(&frame.message_id, |Name(id)| id).clone();
        let result = deadline.race(self.send_message.serve(frame, trace, draft, &self.clock, metrics)).await;
        let reply = result.unwrap_or_else(|error| error.into_reply(Some(id), RETRY_AFTER));
        Response::for_frame(request_id, reply)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use aws_config::{BehaviorVersion, SdkConfig};
    use lambda_runtime::Context;
    use serde_json::{Value, json};
    use shared::{Ephemeral, Message, clock::SystemClock, queue::QueueError, room_pattern::RoomPatterns};

    use super::*;
    use crate::{admission::tests::blind, ephemeral::Ephemerals, shares::EphemeralShares};

    /// A queue that does not answer.
    struct Silent;

    impl Sink for Silent {
        async fn put(&self, _: &Message, _: Option<&TraceHeader>) -> Result<(), QueueError> {
            pending().await
        }
    }

    impl EphemeralSink for Silent {
        async fn put(&self, _: &Ephemeral) -> Result<(), QueueError> {
            pending().await
        }
    }

    /// Queues that take everything.
    struct Open;

    impl Sink for Open {
        async fn put(&self, _: &Message, _: Option<&TraceHeader>) -> Result<(), QueueError> {
            Ok(())
        }
    }

    impl EphemeralSink for Open {
        async fn put(&self, _: &Ephemeral) -> Result<(), QueueError> {
            Ok(())
        }
    }

    /// Millisecond 0 of the year 2027.
    struct StandsStill;

    impl Clock for StandsStill {
        fn unix_micros(&self) -> u64 {
            1_798_761_600_000_000
        }
    }

    fn event(frame: &Value) -> ApiGatewayWebsocketProxyRequest {
        let event = json!({
            "requestContext": {
                "routeKey": "sendMessage", "eventType": "MESSAGE", "connectionId": "c=", "messageId": "m=",
                "connectedAt": 1, "requestTimeEpoch": 2,
                "authorizer": {"sub": "alice", "rooms": "{\"*\":[\"send\"]}", "exp": u64::MAX.to_string()},
            },
            "isBase64Encoded": false, "body": frame.to_string(),
        });
        serde_json::from_value(event).unwrap()
    }

    fn function<S: Sink, E: EphemeralSink, C: Clock>(
        sink: S,
        ephemerals: E,
        clock: C,
    ) -> MessageFunction<S, E, impl CongestionSource, C> {
        let send_message = SendMessage {
            sink,
            admission: blind(),
            state_rooms: RoomPatterns::default(),
            ephemerals: Some(Ephemerals::new(ephemerals, EphemeralShares::new(0))),
        };
        let sdk = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        MessageFunction::new(send_message, ConnectionsApi::new(&sdk, "http://127.0.0.1:9"), clock)
    }

    #[tokio::test]
    async fn whoever_sends_too_many_ephemeral_messages_may_still_send_others() {
        let function = function(Open, Open, StandsStill);
        let mut context = Context::default();
        context.deadline = u64::MAX / 2;
        let send = async |room: &str, ephemeral: bool| -> Value {
            let frame = json!({"action": "sendMessage", "roomId": room, "data": 1, "id": "i", "ephemeral": ephemeral});
            let event = LambdaEvent::new(event(&frame), context.clone());
            let response = function.handle(event, &Metrics::default()).await.unwrap();
            serde_json::from_str(&response.body.unwrap()).unwrap()
        };
        for _ in 0..10 {
            assert_eq!(send("r", true).await["type"], "accepted");
        }
        let refused = send("r", true).await;
        assert_eq!((&refused["code"], &refused["retryAfterMs"]), (&json!("rate_limited"), &json!(100)), "{refused}");
        assert_eq!(refused["id"], "i");
        assert_eq!(send("s", true).await["type"], "accepted", "another room");
        for _ in 0..20 {
            assert_eq!(send("r", false).await["type"], "accepted");
        }
    }

    #[tokio::test]
    async fn a_queue_that_does_not_answer_in_time_is_told_with_what_to_try_again() {
        let send = async |id: Option<&str>, ephemeral: bool| -> Value {
            let frame = json!({
                "action": "sendMessage", "roomId": "r", "data": 1, "requestId": "q", "id": id, "ephemeral": ephemeral,
            });
            // The deadline of this context is long past.
            let event = LambdaEvent::new(event(&frame), Context::default());
            let function = function(Silent, Silent, SystemClock);
            let response = function.handle(event, &Metrics::default()).await.unwrap();
            serde_json::from_str(&response.body.unwrap()).unwrap()
        };
        for (id, ephemeral, told) in [(Some("i"), false, "i"), (None, false, "m="), (Some("i"), true, "i")] {
            let reply = send(id, ephemeral).await;
            assert_eq!((&reply["code"], &reply["requestId"]), (&json!("unavailable"), &json!("q")));
            assert_eq!(reply["id"], told);
        }
    }
}

//! API Gateway's event, turned once into a type that says what happened. Its fields are mostly optional; no code looks
//! at them after this.

use aws_lambda_events::apigw::{ApiGatewayWebsocketProxyRequest, ApiGatewayWebsocketProxyRequestContext};
use shared::ConnectionId;

use crate::grant::Grant;

/// An event on a connection.
#[derive(Debug)]
pub enum SocketEvent {
    /// Somebody wants to connect.
    Connect {
        /// The new connection.
        connection: ConnectionId,
        /// The grant of whoever wants it.
        grant: Grant,
        /// The room to join at once, not validated yet.
        room: Option<String>,
    },
    /// The connection is gone. API Gateway does not promise to tell of every end.
    Disconnect {
        /// The connection that was.
        connection: ConnectionId,
        /// The connection's grant, if the event says so.
        grant: Option<Grant>,
    },
    /// The client has sent a frame. The route that it took is API Gateway's reading of it; only the frame itself
    /// counts.
    Frame(Frame),
}

/// A frame that a client has sent.
#[derive(Debug)]
pub struct Frame {
    /// The connection.
    pub connection: ConnectionId,
    /// The connection's grant.
    pub grant: Grant,
    /// When it was opened, in milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// API Gateway's id for the frame: unique.
    pub message_id: String,
    /// The frame's text; `None` for a binary frame.
    pub body: Option<String>,
}

/// A connection, and what its subject may do.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The connection.
    pub connection: &'a ConnectionId,
    /// Its grant.
    pub grant: &'a Grant,
}

impl Frame {
    /// The sender.
    #[must_use]
    pub fn caller(&self) -> Caller<'_> {
        Caller { connection: &self.connection, grant: &self.grant }
    }
}

/// An event that is not one of a WebSocket API with our authorizer: the function is wired wrongly.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The event type is unknown or missing.
    #[error("not a WebSocket event: eventType is {0:?}")]
    UnknownType(Option<String>),
    /// The route leads to the wrong function.
    #[error("a connection begins or ends: `$connect` and `$disconnect` are routes of `session`, and this is `message`")]
    OfSession,
    /// A field that every event of its type has is missing.
    #[error("the event has no {0}")]
    Missing(&'static str),
    /// The authorizer let somebody through without saying whom.
    #[error("the authorizer's context has no valid `sub`; is the authorizer attached to $connect?")]
    Subject,
}

impl TryFrom<ApiGatewayWebsocketProxyRequest> for SocketEvent {
    type Error = EventError;

    fn try_from(event: ApiGatewayWebsocketProxyRequest) -> Result<Self, EventError> {
        let context = &event.request_context;
        let id = context.connection_id.as_deref().ok_or(EventError::Missing("connectionId"))?;
        let connection = ConnectionId::new(id);
        match context.event_type.as_deref() {
            Some("CONNECT") => {
                let room = event.query_string_parameters.first("roomId").map(str::to_owned);
                Ok(Self::Connect { connection, grant: grant(context)?, room })
            }
            Some("DISCONNECT") => Ok(Self::Disconnect { connection, grant: grant(context).ok() }),
            Some("MESSAGE") => Ok(Self::Frame(Frame {
                connection,
                grant: grant(context)?,
                connected_at: u64::try_from(context.connected_at).unwrap_or_default(),
                message_id: context.message_id.clone().ok_or(EventError::Missing("messageId"))?,
                body: event.body.filter(|_| !event.is_base64_encoded),
            })),
            other => Err(EventError::UnknownType(other.map(str::to_owned))),
        }
    }
}

fn grant(context: &ApiGatewayWebsocketProxyRequestContext) -> Result<Grant, EventError> {
    Grant::from_context(&context.authorizer.fields).ok_or(EventError::Subject)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(event_type: &str, extra: Value) -> Result<SocketEvent, EventError> {
        let mut event = json!({
            "requestContext": {
                "routeKey": "$default", "eventType": event_type, "connectionId": "c1=", "messageId": "m1=",
                "connectedAt": 1, "requestTimeEpoch": 2, "requestId": "q", "authorizer": {"principalId": "alice", "sub": "alice"},
            },
            "isBase64Encoded": false,
        });
        event.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value::<ApiGatewayWebsocketProxyRequest>(event).unwrap().try_into()
    }

    #[test]
    fn reads_the_three_kinds() {
        let connect = parse("CONNECT", json!({"queryStringParameters": {"roomId": "r", "token": "t"}})).unwrap();
        assert!(matches!(connect, SocketEvent::Connect { room: Some(room), .. } if room == "r"));
        let connect = parse("CONNECT", json!({"queryStringParameters": null})).unwrap();
        assert!(matches!(connect, SocketEvent::Connect { room: None, .. }));
        assert!(matches!(parse("DISCONNECT", json!({})).unwrap(), SocketEvent::Disconnect { .. }));
        let SocketEvent::Frame(frame) = parse("MESSAGE", json!({"body": "{}"})).unwrap() else { panic!() };
        assert_eq!((frame.connection.as_str(), frame.grant.subject.as_str()), ("c1=", "alice"));
        assert_eq!((frame.message_id.as_str(), frame.body.as_deref()), ("m1=", Some("{}")));
    }

    #[test]
    fn a_binary_frame_has_no_text() {
        let frame = parse("MESSAGE", json!({"body": "AAE=", "isBase64Encoded": true})).unwrap();
        assert!(matches!(frame, SocketEvent::Frame(Frame { body: None, .. })));
    }

    #[test]
    fn refuses_other_events() {
        assert!(matches!(parse("PING", json!({})), Err(EventError::UnknownType(_))));
        let nobody = json!({"requestContext": {"eventType": "MESSAGE", "connectionId": "c", "connectedAt": 1, "requestTimeEpoch": 2, "messageId": "m"}});
        assert!(matches!(parse("MESSAGE", nobody), Err(EventError::Subject)));
    }
}

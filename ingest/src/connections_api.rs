//! The @connections API: what is said to a connection besides the replies to its frames.

use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::{
    Client,
    config::Builder,
    error::DisplayErrorContext,
    operation::{get_connection::GetConnectionError, post_to_connection::PostToConnectionError},
    primitives::Blob,
};
use shared::{
    ConnectionId,
    frame::{
        client::{Inbound, Refusal},
        server::{ErrorCode, ServerFrame},
    },
    metrics::{Metrics, names::CLOSED},
};

use crate::{
    deadline::Deadline,
    event::Frame,
    response::{Response, RouteError},
};

/// The connections of the WebSocket API.
#[derive(Clone, Debug)]
pub struct ConnectionsApi {
    client: Client,
}

impl ConnectionsApi {
    /// Those behind an endpoint.
    #[must_use]
    pub fn new(sdk: &SdkConfig, endpoint: &str) -> Self {
        Self { client: Client::from_conf(Builder::from(sdk).endpoint_url(endpoint).build()) }
    }

    /// Serves a frame of a connection whose token has expired: says so, and closes the connection.
    pub async fn end_expired(&self, frame: &Frame, deadline: Deadline, metrics: &Metrics) -> Response {
        let request_id = frame.body.as_deref().and_then(|body| match Inbound::parse(body) {
            Ok(Inbound { request_id, .. }) | Err(Refusal { request_id, .. }) => request_id,
        });
        let reply = RouteError::Expired.into_reply(None, 0);
        let last = ServerFrame { reply, request_id }.to_json();
        let ended = async {
            metrics.add(CLOSED, u64::from(self.end(&frame.connection, last).await));
            Ok(())
        };
        if deadline.race(ended).await.is_err() {
            tracing::warn!(connection = %frame.connection, "the time was up before a connection was closed");
        }
        Response::for_told(ErrorCode::Forbidden)
    }

    /// Sends a last frame, and closes the connection; says whether it did. A reply would not do: it is sent when the function has
    /// ended, and so to a connection that is closed.
    async fn end(&self, connection: &ConnectionId, frame: String) -> bool {
        let post = self.client.post_to_connection().connection_id(connection.as_str()).data(Blob::new(frame));
        match post.send().await {
            Err(error) if error.as_service_error().is_some_and(PostToConnectionError::is_gone_exception) => {
                return false;
            }
            Err(error) => {
                tracing::warn!(error = %DisplayErrorContext(&error), %connection, "a connection was not told why it ends");
            }
            Ok(_) => {}
        }
        let closed = self.client.delete_connection().connection_id(connection.as_str()).send().await;
        if let Err(error) = &closed {
            // The next frame tries again.
            tracing::warn!(error = %DisplayErrorContext(error), %connection, "a connection was not closed");
        }
        closed.is_ok()
    }

    /// Whether a connection is certainly gone.
    pub async fn is_gone(&self, connection: &ConnectionId) -> bool {
        match self.client.get_connection().connection_id(connection.as_str()).send().await {
            Ok(_) => false,
            Err(error) if error.as_service_error().is_some_and(GetConnectionError::is_gone_exception) => true,
            Err(error) => {
                let error = DisplayErrorContext(&error);
                tracing::warn!(%error, %connection, "a connection counts, though it may be gone");
                false
            }
        }
    }
}

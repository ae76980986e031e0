//! The @connections API, which closes connections and says whether they are there.

use std::error::Error;

use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::{
    Client,
    config::Builder,
    error::{DisplayErrorContext, SdkError},
    operation::{
        delete_connection::DeleteConnectionError, get_connection::GetConnectionError,
        post_to_connection::PostToConnectionError,
    },
    primitives::Blob,
};
use shared::{
    ConnectionId,
    frame::server::{ErrorCode, ServerFrame},
    metrics::{Metrics, names::CLOSED},
};

use crate::{
    deadline::Deadline,
    event::Frame,
    request::{Inbound, Refusal},
    response::{Response, RouteError},
};

/// The connections of the WebSocket API.
#[derive(Clone, Debug)]
pub struct ConnectionsApi {
    client: Client,
}

impl ConnectionsApi {
    /// The connections behind an endpoint.
    #[must_use]
    pub fn new(sdk: &SdkConfig, endpoint: &str) -> Self {
        Self { client: Client::from_conf(Builder::from(sdk).endpoint_url(endpoint).build()) }
    }

    /// Serves a frame of a connection whose token has expired: says so, and closes the connection.
    pub async fn end_expired(&self, frame: &Frame, deadline: Deadline, metrics: &Metrics) -> Response {
        let (request_id, message_id) = match frame.body.as_deref().map(Inbound::parse) {
            Some(Ok(Inbound { request_id, request })) => (request_id, request.message_id().map(str::to_owned)),
            Some(Err(Refusal { request_id, message_id, .. })) => (request_id, message_id),
            None => (None, None),
        };
        let reply = RouteError::Expired.into_reply(message_id, 0);
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

    /// Sends a last frame and closes the connection; says whether it was there and is closed. The frame cannot be a
    /// reply: API Gateway sends a reply after the function has returned, when the connection is closed.
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
        let closed = self.close(connection).await;
        if let Err(error) = &closed {
            // The next frame tries again.
            tracing::warn!(%error, %connection, "a connection was not closed");
        }
        closed.is_ok()
    }

    /// Whether a connection is certainly gone.
    pub async fn is_gone(&self, connection: &ConnectionId) -> bool {
        match self.status(connection).await {
            Ok(status) => status == ConnectionStatus::Gone,
            Err(error) => {
                tracing::warn!(%error, %connection, "a connection counts as open, because the API did not say whether it is gone");
                false
            }
        }
    }

    /// Whether a connection is there. That it is gone must be confirmed: the API says so of a handshake that is still
    /// under way, too, and now and then of a living connection.
    ///
    /// # Errors
    /// When the API does not say.
    pub async fn status(&self, connection: &ConnectionId) -> Result<ConnectionStatus, ApiError> {
        match self.client.get_connection().connection_id(connection.as_str()).send().await {
            Ok(_) => Ok(ConnectionStatus::Connected),
            Err(error) if error.as_service_error().is_some_and(GetConnectionError::is_gone_exception) => {
                Ok(ConnectionStatus::Gone)
            }
            Err(error) => Err(ApiError::of_call(error)),
        }
    }

    /// Closes a connection; says whether it was there.
    ///
    /// # Errors
    /// When the API does not do it.
    pub async fn close(&self, connection: &ConnectionId) -> Result<bool, ApiError> {
        match self.client.delete_connection().connection_id(connection.as_str()).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(DeleteConnectionError::is_gone_exception) => Ok(false),
            Err(error) => Err(ApiError::of_call(error)),
        }
    }
}

/// A connection's status, as the API says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionStatus {
    /// The connection is there.
    Connected,
    /// The connection is not there (410).
    Gone,
}

/// The reason why the API did not say or do something, after all attempts of the SDK.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The account's request rate is used up: the same call will succeed when there is room again.
    #[error("the @connections API throttles: {0}")]
    Throttled(String),
    /// The caller has no right, the endpoint is another API's, or nothing answers there: the next call would fail, too.
    #[error("the @connections API refuses: {0}")]
    Refused(String),
    /// The call failed for this connection, this time.
    #[error("the @connections API failed: {0}")]
    Failed(String),
}

impl ApiError {
    fn of_call<E: Error + Send + Sync + 'static>(error: SdkError<E>) -> Self {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let told = DisplayErrorContext(&error).to_string();
        match (status, &error) {
            (Some(429), _) => Self::Throttled(told),
            (Some(403 | 404), _) | (_, SdkError::DispatchFailure(_)) => Self::Refused(told),
            _ => Self::Failed(told),
        }
    }
}

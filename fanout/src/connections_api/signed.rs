//! The API as the function uses it: requests that are signed here and written straight to connections. The stock client
//! takes several times as long, most of it for what a fan-out does not need: endpoint rules, a retry strategy, an
//! interceptor chain and a connection pool for each call.

use std::{cell::Cell, rc::Rc, time::Duration};

use aws_config::SdkConfig;
use bytes::Bytes;
use shared::ConnectionId;
use tokio::time::{Instant, timeout_at};

use super::{
    ConnectionsApi,
    credentials::Signer,
    endpoint::{Endpoint, EndpointError},
    outcome::{Misconfiguration, Outcome},
    request::SignedRequest,
    signature::{Method, Scope},
    transport::Transport,
    transport_error::TransportError,
};
use crate::{config::HttpVersion, frame::EncodedFrame};

/// The shortest time between two warnings about broken connections.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The API over connections that it keeps open.
pub struct SignedConnectionsApi {
    endpoint: Rc<Endpoint>,
    signer: Signer,
    transport: Transport,
    timeout: Duration,
    /// The body of a call that has none.
    empty: EncodedFrame,
    warned_at: Cell<Option<Instant>>,
}

/// The reason why no calls can be made at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The SDK's configuration has no credentials provider.
    #[error("there is no credentials provider")]
    Credentials,
}

impl SignedConnectionsApi {
    /// The API at an endpoint, `https://{api}.execute-api.{region}.amazonaws.com/{stage}`; each attempt has `timeout`.
    ///
    /// # Errors
    /// When the endpoint is no URL of a server, or there is nobody to ask for credentials.
    pub fn new(
        sdk: &SdkConfig,
        region: &str,
        endpoint: &str,
        timeout: Duration,
        version: HttpVersion,
    ) -> Result<Self, SetupError> {
        let endpoint = Rc::new(Endpoint::new(endpoint, timeout)?);
        let provider = sdk.credentials_provider().ok_or(SetupError::Credentials)?;
        let (region, host, path) = (region.to_owned(), endpoint.authority.to_string(), endpoint.path.clone());
        Ok(Self {
            signer: Signer::new(provider, Scope { region, host, path }),
            transport: Transport::new(endpoint.clone(), version),
            endpoint,
            timeout,
            empty: EncodedFrame::new(Bytes::new()),
            warned_at: Cell::new(None),
        })
    }

    async fn call(&self, method: Method, connection: &ConnectionId, frame: &EncodedFrame) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let path = self.endpoint.path_of(connection);
        let mut replaced = false;
        loop {
            let credentials = match timeout_at(deadline, self.signer.credentials()).await {
                Ok(Ok(credentials)) => credentials,
                Ok(Err(_)) => return Outcome::Misconfigured(Misconfiguration::Credentials),
                Err(_) => return Outcome::TimedOut,
            };
            let Some(context) = self.signer.context(&credentials) else {
                return Outcome::Misconfigured(Misconfiguration::Credentials);
            };
            let signature = context.sign(method, &path, frame.sha256());
            let request = SignedRequest { method, path: &path, body: frame.body(), context, signature };
            let outcome = match self.transport.send(&request, deadline).await {
                Ok(response) => Outcome::of_response(response.status, response.retry_after.as_deref()),
                Err(error) => return self.fail(&error),
            };
            // Credentials can be revoked before they expire: other ones are tried, once.
            let is_refused = outcome == Outcome::Misconfigured(Misconfiguration::Forbidden);
            if !is_refused || replaced {
                return outcome;
            }
            replaced = timeout_at(deadline, self.signer.replace(&credentials)).await.unwrap_or(false);
            if !replaced {
                return outcome;
            }
        }
    }

    fn fail(&self, error: &TransportError) -> Outcome {
        let outcome = match error {
            TransportError::TimedOut => return Outcome::TimedOut,
            TransportError::Unsendable => return Outcome::Rejected,
            TransportError::Unreachable(_) => Outcome::Unreachable,
            TransportError::Broken(_) | TransportError::Http1Only => Outcome::Failed,
        };
        self.warn_at_most_every(WARNING_INTERVAL, error);
        outcome
    }

    /// Logs why calls fail. Nothing else would name the cause when an endpoint cannot be reached.
    fn warn_at_most_every(&self, interval: Duration, error: &TransportError) {
        if self.warned_at.get().is_none_or(|warned_at| warned_at.elapsed() > interval) {
            self.warned_at.set(Some(Instant::now()));
            tracing::warn!(%error, endpoint = %self.endpoint.authority, "a connection to the endpoint failed");
        }
    }
}

impl ConnectionsApi for SignedConnectionsApi {
    async fn post(&self, connection: &ConnectionId, frame: &EncodedFrame) -> Outcome {
        self.call(Method::Post, connection, frame).await
    }

    async fn close(&self, connection: &ConnectionId) -> Outcome {
        self.call(Method::Delete, connection, &self.empty).await
    }
}

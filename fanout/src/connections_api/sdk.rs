//! The API through the stock SDK client, for comparison.

use std::{error::Error, iter::successors, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_apigatewaymanagement::{Client, config::Builder, error::SdkError, primitives::Blob};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::ConnectorError};
use hyper_util::client::legacy;
use shared::ConnectionId;

use super::{
    ConnectionsApi,
    outcome::{Misconfiguration, Outcome},
};
use crate::frame::EncodedFrame;

/// The API through `aws-sdk-apigatewaymanagement`. [`SignedConnectionsApi`](super::SignedConnectionsApi) is compared
/// with it, in behaviour and in cost.
#[derive(Clone, Debug)]
pub struct SdkConnectionsApi {
    client: Client,
}

impl SdkConnectionsApi {
    /// The API at an endpoint, with `timeout` for each attempt. The SDK's retries are off: the fan-out decides about
    /// those.
    #[must_use]
    pub fn new(sdk: &SdkConfig, endpoint: &str, timeout: Duration) -> Self {
        let config = Builder::from(sdk)
            .endpoint_url(endpoint)
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(timeout).build())
            .build();
        Self { client: Client::from_conf(config) }
    }
}

impl ConnectionsApi for SdkConnectionsApi {
    async fn post(&self, connection: &ConnectionId, frame: &EncodedFrame) -> Outcome {
        let data = Blob::new(frame.body().as_ref());
        match self.client.post_to_connection().connection_id(connection.as_str()).data(data).send().await {
            Ok(_) => Outcome::Delivered,
            Err(error) => classify(&error),
        }
    }

    async fn close(&self, connection: &ConnectionId) -> Outcome {
        match self.client.delete_connection().connection_id(connection.as_str()).send().await {
            Ok(_) => Outcome::Delivered,
            Err(error) => classify(&error),
        }
    }
}

fn classify<E: Error + Send + Sync + 'static>(error: &SdkError<E, HttpResponse>) -> Outcome {
    if let Some(response) = error.raw_response() {
        return Outcome::of_response(response.status().as_u16(), response.headers().get("retry-after"));
    }
    match error {
        SdkError::TimeoutError(_) => Outcome::TimedOut,
        SdkError::DispatchFailure(failure) if failure.as_connector_error().is_some_and(is_of_connecting) => {
            Outcome::Unreachable
        }
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Outcome::TimedOut,
        // The request could not even be made.
        SdkError::ConstructionFailure(_) => Outcome::Rejected,
        // There were no credentials to sign the request with.
        SdkError::DispatchFailure(failure) if failure.as_connector_error().is_some_and(is_of_credentials) => {
            Outcome::Misconfigured(Misconfiguration::Credentials)
        }
        _ => Outcome::Failed,
    }
}

/// Whether no connection could be opened.
fn is_of_connecting(error: &ConnectorError) -> bool {
    successors(error.source(), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<legacy::Error>())
        .any(legacy::Error::is_connect)
}

/// Whether there were no credentials, which the SDK fetches before it connects.
fn is_of_credentials(error: &ConnectorError) -> bool {
    error.source().is_some_and(<dyn Error>::is::<CredentialsError>)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_cannot_be_sent_is_not_tried_again() {
        let of = |error: SdkError<io::Error, HttpResponse>| classify(&error);
        assert_eq!(of(SdkError::construction_failure("no such connection id")), Outcome::Rejected);
        assert_eq!(of(SdkError::timeout_error("too slow")), Outcome::TimedOut);
    }
}

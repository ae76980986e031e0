//! The reference poster: the stock SDK client.

use std::{error::Error, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_apigatewaymanagement::{Client, config::Builder, error::SdkError, primitives::Blob};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::ConnectorError};
use shared::ConnectionId;

use super::{Lane, Poster};
use crate::{
    encode::Frame,
    outcome::{Misconfiguration, Outcome},
};

/// Posts through `aws-sdk-apigatewaymanagement`.
#[derive(Clone, Debug)]
pub struct SdkPoster {
    client: Client,
}

impl SdkPoster {
    /// A poster to an @connections endpoint. The SDK does not retry: whether and when is the fan-out's to decide.
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

impl Poster for SdkPoster {
    type Lane = Self;

    fn lane(&self) -> Self {
        self.clone()
    }

    fn put_back(&self, _: Self) {}

    async fn close(&self, connection: &ConnectionId) -> Outcome {
        match self.client.delete_connection().connection_id(connection.as_str()).send().await {
            Ok(_) => Outcome::Delivered,
            Err(error) => classify(&error),
        }
    }
}

impl Lane for SdkPoster {
    async fn post(&mut self, connection: &ConnectionId, frame: &Frame) -> Outcome {
        let data = Blob::new(frame.body().as_ref());
        match self.client.post_to_connection().connection_id(connection.as_str()).data(data).send().await {
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
        SdkError::DispatchFailure(failure) if failure.is_timeout() => Outcome::TimedOut,
        // The request could not even be made.
        SdkError::ConstructionFailure(_) => Outcome::Rejected,
        // It was not made, for want of credentials.
        SdkError::DispatchFailure(failure) if failure.as_connector_error().is_some_and(is_of_credentials) => {
            Outcome::Misconfigured(Misconfiguration::Credentials)
        }
        _ => Outcome::Failed,
    }
}

/// Whether credentials, which the SDK fetches before it connects, are what is missing.
fn is_of_credentials(error: &ConnectorError) -> bool {
    error.source().is_some_and(<dyn Error>::is::<CredentialsError>)
}

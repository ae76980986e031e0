//! One contract for both implementations of the API: the one that the function uses, and the stock SDK client that it
//! is compared with.

/// Runs scenarios, generic over the [`Kind`] of implementation, for both kinds.
macro_rules! for_both_implementations {
    ($($scenario:ident),* $(,)?) => {
        mod signed {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario::<crate::connections_api::Signed>().await;
            })*
        }
        mod sdk {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario::<crate::connections_api::Sdk>().await;
            })*
        }
    };
}

mod answers;
mod credentials;
mod dropped;
mod http2;
mod http2_server;
mod https;
mod keep_alive;
mod requests;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use bytes::Bytes;
use fanout::config::HttpVersion;
use fanout::connections_api::{ConnectionsApi, Outcome, SdkConnectionsApi, SignedConnectionsApi};
use fanout::frame::EncodedFrame;
use shared::ConnectionId;
use testkit::connections_server::ConnectionsServer;
use testkit::sigv4::Expected;

const REGION: &str = "eu-central-1";

/// Time for an attempt, enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) trait Kind {
    type Api: ConnectionsApi;

    fn api(sdk: &SdkConfig, endpoint: &str, timeout: Duration) -> Self::Api;
}

pub(crate) struct Signed;

impl Kind for Signed {
    type Api = SignedConnectionsApi;

    fn api(sdk: &SdkConfig, endpoint: &str, timeout: Duration) -> SignedConnectionsApi {
        SignedConnectionsApi::new(sdk, REGION, endpoint, timeout, HttpVersion::Auto).unwrap()
    }
}

pub(crate) struct Sdk;

impl Kind for Sdk {
    type Api = SdkConnectionsApi;

    fn api(sdk: &SdkConfig, endpoint: &str, timeout: Duration) -> SdkConnectionsApi {
        SdkConnectionsApi::new(sdk, endpoint, timeout)
    }
}

fn sdk_config(provider: impl ProvideCredentials + 'static) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .credentials_provider(SharedCredentialsProvider::new(provider))
        .build()
}

fn temporary_credentials() -> Credentials {
    Credentials::new("AKIDTEMPORARY", "secret", Some("session/token+with=signs".to_owned()), None, "test")
}

/// A server that takes requests signed with [`temporary_credentials`] only.
fn server() -> ConnectionsServer {
    let server = ConnectionsServer::start();
    server.verify_signatures(expected(temporary_credentials()));
    server
}

fn expected(credentials: Credentials) -> Expected {
    Expected { credentials, region: REGION.to_owned(), service: "execute-api".to_owned(), now: None }
}

fn api<K: Kind>(server: &ConnectionsServer) -> K::Api {
    K::api(&sdk_config(temporary_credentials()), &server.endpoint(), TIMEOUT)
}

fn frame(text: &str) -> EncodedFrame {
    EncodedFrame::new(Bytes::copy_from_slice(text.as_bytes()))
}

/// Posts a small frame to a connection.
async fn post(api: &impl ConnectionsApi, connection: &str) -> Outcome {
    api.post(&ConnectionId::new(connection), &frame(r#"{"type":"messages"}"#)).await
}

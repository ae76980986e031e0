//! One contract for both posters: the lean one that the function uses, and the stock SDK client that it is measured by.

/// Runs scenarios, generic over the [`Kind`] of poster, for both kinds.
macro_rules! for_both_posters {
    ($($scenario:ident),* $(,)?) => {
        mod direct {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario::<crate::poster::Direct>().await;
            })*
        }
        mod sdk {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario::<crate::poster::Sdk>().await;
            })*
        }
    };
}

mod answers;
mod credentials;
mod http2;
mod https;
mod keep_alive;
mod requests;

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use bytes::Bytes;
use fanout::config::HttpVersion;
use fanout::encode::Frame;
use fanout::outcome::Outcome;
use fanout::poster::{Lane, Poster, direct::DirectPoster, sdk::SdkPoster};
use shared::ConnectionId;
use tests::connections_server::ConnectionsServer;
use tests::sigv4::{Credentials as ExpectedCredentials, Expected};

const REGION: &str = "eu-central-1";

/// Time for an attempt, enough for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A kind of poster.
pub(crate) trait Kind {
    type Poster: Poster;

    fn poster(sdk: &SdkConfig, endpoint: &str, timeout: Duration) -> Self::Poster;
}

pub(crate) struct Direct;

impl Kind for Direct {
    type Poster = DirectPoster;

    fn poster(sdk: &SdkConfig, endpoint: &str, timeout: Duration) -> DirectPoster {
        DirectPoster::new(sdk, REGION, endpoint, timeout, HttpVersion::Http1).unwrap()
    }
}

pub(crate) struct Sdk;

impl Kind for Sdk {
    type Poster = SdkPoster;

    fn poster(sdk: &SdkConfig, endpoint: &str, timeout: Duration) -> SdkPoster {
        SdkPoster::new(sdk, endpoint, timeout)
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
    server.verify_signatures(expected(ExpectedCredentials::temporary(
        "AKIDTEMPORARY",
        "secret",
        "session/token+with=signs",
    )));
    server
}

fn expected(credentials: ExpectedCredentials) -> Expected {
    Expected { credentials, region: REGION.to_owned(), service: "execute-api".to_owned(), now: None }
}

fn poster<K: Kind>(server: &ConnectionsServer) -> K::Poster {
    K::poster(&sdk_config(temporary_credentials()), &server.endpoint(), TIMEOUT)
}

fn frame(text: &str) -> Frame {
    Frame::new(Bytes::copy_from_slice(text.as_bytes()))
}

/// Posts a small frame to a connection.
async fn post(lane: &mut impl Lane, connection: &str) -> Outcome {
    lane.post(&ConnectionId::new(connection), &frame(r#"{"type":"messages"}"#)).await
}

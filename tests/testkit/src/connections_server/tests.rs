//! Tests of the server with the real SDK, which show how a real client takes its answers.

use aws_credential_types::Credentials;
use aws_sdk_apigatewaymanagement::config::retry::RetryConfig;
use aws_sdk_apigatewaymanagement::config::timeout::TimeoutConfig;
use aws_sdk_apigatewaymanagement::config::{BehaviorVersion, Region};
use aws_sdk_apigatewaymanagement::error::SdkError;
use aws_sdk_apigatewaymanagement::operation::post_to_connection::PostToConnectionError;
use aws_sdk_apigatewaymanagement::primitives::Blob;
use aws_sdk_apigatewaymanagement::{Client, Config};
use futures::future::join_all;

use super::*;

fn client(server: &ConnectionsServer) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(server.endpoint())
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build())
        .build();
    Client::from_conf(config)
}

async fn post(client: &Client, id: &str, body: &str) -> Result<(), SdkError<PostToConnectionError>> {
    let post = client.post_to_connection().connection_id(id).data(Blob::new(body));
    post.send().await.map(|_| ())
}

/// The status that a post was answered with.
async fn status(client: &Client, id: &str) -> u16 {
    match post(client, id, "x").await {
        Ok(()) => 200,
        Err(error) => error.raw_response().expect("an answer").status().as_u16(),
    }
}

#[tokio::test]
async fn posts_in_flight_are_counted_over_all_and_for_each_connection() {
    let server = ConnectionsServer::start();
    let client = client(&server);
    server.hold();
    let posts = ["a", "b", "b", "c"].map(|id| {
        let client = client.clone();
        async move { post(&client, id, "x").await }
    });
    let all = tokio::spawn(join_all(posts));
    server.wait_until("four posts in flight", Duration::from_secs(60), |record| record.in_flight == 4).await;
    assert!(!all.is_finished());
    server.release();
    assert!(all.await.unwrap().into_iter().all(|result| result.is_ok()));
    let record = server.record();
    assert_eq!((record.max_in_flight, record.in_flight), (4, 0));
    assert_eq!(record.overlapped(), ["b"]);
    assert!(server.connection("b").overlapped() && !server.connection("a").overlapped());
}

#[tokio::test]
async fn the_token_bucket_is_shared_by_all_connections_and_takes_no_step_of_a_script() {
    let server = ConnectionsServer::start();
    server.limit_rate(0.0, 2.0);
    server.script("c", Script::queue([Scripted::gone()]));
    let client = client(&server);
    let mut seen = Vec::new();
    for id in ["a", "b", "c"] {
        seen.push(status(&client, id).await);
    }
    assert_eq!(seen, [200, 200, 429]);
    server.limit_rate(0.0, 1.0);
    assert_eq!(status(&client, "c").await, 410);
    assert_eq!((server.record().over_rate, server.record().status(429)), (1, 1));
}

#[tokio::test]
async fn latency_and_default_scripts_apply_to_every_connection() {
    let server = ConnectionsServer::start();
    server.script_others(|id| Script::always(if id.starts_with('g') { Scripted::gone() } else { Scripted::ok() }));
    server.set_latency(Duration::from_millis(30));
    let client = client(&server);
    let started = Instant::now();
    assert_eq!(status(&client, "g1").await, 410);
    assert_eq!(status(&client, "a1").await, 200);
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn counts_are_kept_without_requests() {
    let server = ConnectionsServer::start();
    server.keep_counts_only();
    let client = client(&server);
    post(&client, "a", "x").await.unwrap();
    let connection = server.connection("a");
    assert_eq!((connection.posts, connection.delivered, connection.attempts.len()), (1, 1, 0));
}

#[test]
fn ids_are_found_under_any_prefix() {
    assert_eq!(connection_id("/@connections/a").as_deref(), Some("a"));
    assert_eq!(connection_id("/_aws/execute-api/x/stage/@connections/L0%3D").as_deref(), Some("L0="));
    assert_eq!(connection_id("/stage/%40connections/L0=").as_deref(), Some("L0="));
    assert_eq!(connection_id("/stage/connections/a"), None);
    assert_eq!(connection_id("/stage/@connections/"), None);
    assert_eq!(connection_id("/stage/@connections/a/b"), None);
}

//! The server seen through the real SDK, so that what it answers is what a real client makes of it.

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
use crate::http_server::Framing;

/// An id as API Gateway makes them: base64, so it has to be encoded in a path.
const ID: &str = "L0SM9cOFvHcCIhw=";

fn client(server: &ConnectionsServer, credentials: Credentials) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(server.endpoint())
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_timeout(Duration::from_secs(60)).build())
        .build();
    Client::from_conf(config)
}

fn credentials(secret: &str) -> Credentials {
    Credentials::new("AKID", secret, Some("session/token==".to_owned()), None, "test")
}

async fn post(client: &Client, id: &str, body: &str) -> Result<(), SdkError<PostToConnectionError>> {
    let post = client.post_to_connection().connection_id(id).data(Blob::new(body));
    post.send().await.map(|_| ())
}

/// The status and the modelled error's name, or the way in which there was no whole response.
fn describe(result: Result<(), SdkError<PostToConnectionError>>) -> String {
    match result {
        Ok(()) => "200".to_owned(),
        Err(SdkError::ServiceError(error)) => {
            let code = error.err().meta().code().unwrap_or("unknown").to_owned();
            format!("{} {code}", error.raw().status().as_u16())
        }
        Err(SdkError::TimeoutError(_)) => "timeout".to_owned(),
        Err(SdkError::DispatchFailure(_) | SdkError::ResponseError(_)) => "no response".to_owned(),
        Err(error) => panic!("unexpected: {error:?}"),
    }
}

#[tokio::test]
async fn every_outcome_is_what_the_sdk_makes_of_the_real_service() {
    let server = ConnectionsServer::start();
    let client = client(&server, credentials("secret"));
    let outcomes = [
        (Outcome::ok(), "200"),
        (Outcome::ok().body("{\"chunked\":true}").framed(Framing::Chunked), "200"),
        (Outcome::gone(), "410 GoneException"),
        (Outcome::throttled(), "429 LimitExceededException"),
        (
            Outcome::throttled().retry_after("2").amz_retry_after(Duration::from_millis(250)),
            "429 LimitExceededException",
        ),
        (Outcome::forbidden(), "403 ForbiddenException"),
        (Outcome::expired_token(), "403 ExpiredTokenException"),
        (Outcome::bad_request(), "400 BadRequestException"),
        (Outcome::not_found(), "404 NotFoundException"),
        (Outcome::payload_too_large(), "413 PayloadTooLargeException"),
        (Outcome::internal_error(), "500 InternalServerErrorException"),
        (Outcome::bad_gateway(), "502 unknown"),
        (Outcome::unavailable(), "503 ServiceUnavailableException"),
        (Outcome::gateway_timeout(), "504 GatewayTimeoutException"),
        (Outcome::reset(), "no response"),
        (Outcome::close(), "no response"),
        (Outcome::internal_error().framed(Framing::CutShort), "no response"),
        (Outcome::internal_error().framed(Framing::ResetMidway), "no response"),
    ];
    let count = outcomes.len();
    let (outcomes, expected): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
    server.script(ID, Script::queue(outcomes));
    let mut seen = Vec::new();
    for number in 0..count {
        seen.push(describe(post(&client, ID, &number.to_string()).await));
    }
    assert_eq!(seen, expected);

    let record = server.record();
    let bodies: Vec<_> = record.connections[ID].bodies();
    assert_eq!(bodies, (0..count).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(server.delivered(ID), ["0", "1"]);
    assert_eq!((record.delivered(), record.status(429), record.status(410), record.unanswered), (2, 2, 1, 4));
    assert_eq!((record.in_flight, record.max_in_flight), (0, 1));
}

#[tokio::test]
async fn signatures_are_verified_on_what_was_on_the_wire() {
    let server = ConnectionsServer::start();
    let expected = Expected {
        credentials: credentials("secret"),
        region: "eu-central-1".to_owned(),
        service: "execute-api".to_owned(),
        now: None,
    };
    server.verify_signatures(expected);
    let good = client(&server, credentials("secret"));
    post(&good, ID, "signed").await.unwrap();
    good.delete_connection().connection_id(ID).send().await.unwrap();

    let wrong = client(&server, credentials("other"));
    assert_eq!(describe(post(&wrong, ID, "x").await), "403 InvalidSignatureException");
    assert_eq!(server.record().signature_errors.len(), 1);

    server.expire_access_key("AKID");
    assert_eq!(describe(post(&good, ID, "x").await), "403 ExpiredTokenException");
}

#[tokio::test]
async fn posts_in_flight_are_counted_over_all_and_for_each_connection() {
    let server = ConnectionsServer::start();
    let client = client(&server, credentials("secret"));
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
async fn a_hanging_post_ends_when_the_client_gives_up() {
    let server = ConnectionsServer::start();
    server.script("a", Script::always(Outcome::hang()));
    let client = client(&server, credentials("secret"));
    tokio::select! {
        outcome = post(&client, "a", "x") => panic!("{outcome:?}"),
        () = server.wait_until("the post", Duration::from_secs(60), |record| record.in_flight == 1) => {}
    }
    server.wait_until("the post to end", Duration::from_secs(60), |record| record.in_flight == 0).await;
    let connection = server.connection("a");
    assert_eq!((server.record().unanswered, connection.attempts[0].status), (1, None));
    assert!(connection.attempts[0].ended.is_some());
}

#[tokio::test]
async fn the_token_bucket_is_shared_by_all_connections_and_takes_no_step_of_a_script() {
    let server = ConnectionsServer::start();
    server.limit_rate(0.0, 2.0);
    server.script("c", Script::queue([Outcome::gone()]));
    let client = client(&server, credentials("secret"));
    let mut seen = Vec::new();
    for id in ["a", "b", "c"] {
        seen.push(describe(post(&client, id, "x").await));
    }
    assert_eq!(seen, ["200", "200", "429 LimitExceededException"]);
    server.limit_rate(0.0, 1.0);
    assert_eq!(describe(post(&client, "c", "x").await), "410 GoneException");
    assert_eq!((server.record().over_rate, server.record().status(429)), (1, 1));
}

#[tokio::test]
async fn a_deleted_connection_is_gone() {
    let server = ConnectionsServer::start();
    let client = client(&server, credentials("secret"));
    server.script_deletes("b", Script::always(Outcome::internal_error()));
    client.get_connection().connection_id(ID).send().await.unwrap();
    client.delete_connection().connection_id(ID).send().await.unwrap();
    assert_eq!(describe(post(&client, ID, "x").await), "410 GoneException");
    assert!(client.get_connection().connection_id(ID).send().await.is_err());
    assert!(client.delete_connection().connection_id(ID).send().await.is_err());
    assert!(client.delete_connection().connection_id("b").send().await.is_err());
    assert_eq!((server.connection(ID).deletes, server.connection(ID).gets, server.record().deletes()), (2, 2, 3));
}

#[tokio::test]
async fn latency_and_default_scripts_apply_to_every_connection() {
    let server = ConnectionsServer::start();
    server.script_others(|id| Script::always(if id.starts_with('g') { Outcome::gone() } else { Outcome::ok() }));
    server.set_latency(Duration::from_millis(30));
    let client = client(&server, credentials("secret"));
    let started = Instant::now();
    assert_eq!(describe(post(&client, "g1", "x").await), "410 GoneException");
    assert_eq!(describe(post(&client, "a1", "x").await), "200");
    assert!(started.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn connections_are_reused_until_the_server_ends_them() {
    let server = ConnectionsServer::start();
    let client = client(&server, credentials("secret"));
    for _ in 0..6 {
        post(&client, "a", "x").await.unwrap();
    }
    assert_eq!(server.tcp_connections(), 1);
    server.set_keep_alive(KeepAlive::Announced(2));
    let client = self::client(&server, credentials("secret"));
    for _ in 0..6 {
        post(&client, "a", "x").await.unwrap();
    }
    assert_eq!(server.tcp_connections(), 4);
}

#[tokio::test]
async fn counts_are_kept_without_requests() {
    let server = ConnectionsServer::start();
    server.keep_counts_only();
    let client = client(&server, credentials("secret"));
    post(&client, "a", "x").await.unwrap();
    let connection = server.connection("a");
    assert_eq!((connection.posts, connection.delivered, connection.attempts.len()), (1, 1, 0));
    server.clear_record();
    assert_eq!(server.record().posts, 0);
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

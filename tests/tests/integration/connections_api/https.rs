//! Posts over TLS: to servers whose certificate is trusted or not, in the protocol that the server chooses.

use std::path::Path;

use serde_json::Value;
use testkit::connections_server::{Script, Scripted};
use testkit::fast_server::{FastServer, Options, Stats};
use testkit::tls::TlsFront;

use crate::fanout::{World, invoke, message, tally};

async fn world() -> (World, TlsFront) {
    let world = World::start();
    world.seed("room", "c", 40);
    let endpoint = world.connections.endpoint();
    let authority = endpoint.trim_start_matches("http://").split('/').next().unwrap();
    let front = TlsFront::start(authority.parse().unwrap()).await;
    (world, front)
}

#[tokio::test]
async fn posts_and_closes_go_over_tls_to_a_server_that_is_trusted() {
    let (world, front) = world().await;
    world.connections.script("c7", Script::always(Scripted::internal_error()));
    let fanout = world
        .fanout()
        .env("CONNECTIONS_ENDPOINT", format!("{}/production", front.url()))
        .env("SSL_CERT_FILE", front.certificate.display())
        .env("FANOUT_CONCURRENCY", 4)
        .env("FANOUT_HTTP_VERSION", 2)
        .env("FANOUT_MAX_ATTEMPTS", 1)
        .start()
        .await
        .unwrap();
    for id in ["m1", "m2", "m3"] {
        assert_eq!(invoke(&fanout, &[message("room", id)]).await, Vec::<String>::new());
    }
    assert_eq!(world.received("c0"), ["m1", "m2", "m3"]);
    let record = world.connections.record();
    assert_eq!((record.posts, record.delivered(), record.signature_errors), (120, 117, Vec::new()));
    assert_eq!(
        world.connections.connection("c7").deletes,
        2,
        "for each last frame that it missed after the first attempt"
    );
    assert!(world.connections.tcp_connections() <= 5, "the one that did not speak HTTP/2, and four that are kept");
    let is_warning = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("HTTP/1.1 only"));
    assert_eq!(fanout.logged(1, is_warning).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_posted_to_a_server_that_is_not_trusted() {
    let (world, front) = world().await;
    let fanout = world
        .fanout()
        .env("CONNECTIONS_ENDPOINT", format!("{}/production", front.url()))
        .env("FANOUT_MAX_ATTEMPTS", 1)
        .start()
        .await
        .unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, ["m"], "nobody can be reached: it comes back");
    assert_eq!(world.connections.tcp_connections(), 0);
    assert_eq!(tally(&fanout).await["undelivered"], 0);
}

/// Posts in flight, all of which need a connection at once.
const IN_FLIGHT: usize = 8;

/// A broadcast to more connections than there are posts in flight, to an endpoint whose certificate is trusted.
async fn broadcast_to(endpoint: &str, certificate: &Path, version: &str) {
    let world = World::start();
    world.seed("room", "c", 5 * IN_FLIGHT);
    let fanout = world
        .fanout()
        .env("CONNECTIONS_ENDPOINT", endpoint)
        .env("SSL_CERT_FILE", certificate.display())
        .env("FANOUT_CONCURRENCY", IN_FLIGHT)
        .env("FANOUT_HTTP_VERSION", version)
        .start()
        .await
        .unwrap();
    assert_eq!(invoke(&fanout, &[message("room", "m")]).await, Vec::<String>::new());
    let counts = tally(&fanout).await;
    assert_eq!((&counts["delivered"], &counts["undelivered"]), (&(5 * IN_FLIGHT).into(), &0.into()));
}

/// A broadcast to a server that speaks both protocols over TLS; returns the server's counts.
async fn broadcast_to_both(version: &str) -> Stats {
    let certificate = std::env::temp_dir().join(format!("roomcast-test-{}-{version}.pem", std::process::id()));
    let server = FastServer::start(Options { certificate: Some(certificate.clone()), ..Options::default() }).unwrap();
    broadcast_to(&server.tls_url(), &certificate, version).await;
    std::fs::remove_file(certificate).unwrap();
    server.stats()
}

#[tokio::test]
async fn a_server_that_speaks_both_protocols_gets_one_http2_session() {
    for version in ["auto", "2"] {
        assert_eq!(broadcast_to_both(version).await.tcp_connections, 1, "{version}");
    }
}

#[tokio::test]
async fn http1_is_spoken_to_a_server_that_prefers_http2_where_only_that_is_wanted() {
    assert_eq!(broadcast_to_both("1.1").await.tcp_connections, IN_FLIGHT as u64);
}

#[tokio::test]
async fn a_server_that_does_not_speak_http2_is_asked_once() {
    let server = FastServer::start(Options::default()).unwrap();
    let front = TlsFront::start(server.url().trim_start_matches("http://").parse().unwrap()).await;
    broadcast_to(&front.url(), &front.certificate, "auto").await;
    assert_eq!(server.stats().tcp_connections, IN_FLIGHT as u64 + 1);
}

//! Posts over TLS, to a server whose certificate their process is told to trust, in the protocol that it chooses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::Value;
use testkit::connections_server::{Outcome, Script};
use testkit::fast_server::{FastServer, Options, Stats};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::fanout::{World, invoke, logged, message, tally};

/// TLS in front of a plain server, with a certificate for `localhost` of its own making.
pub(crate) struct TlsFront {
    address: SocketAddr,
    /// The certificate's file: `SSL_CERT_FILE` of who is to trust it.
    pub(crate) certificate: PathBuf,
    serving: JoinHandle<()>,
}

impl TlsFront {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let certificate = std::env::temp_dir().join(format!("roomcast-test-{}.pem", address.port()));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A client that does not trust the certificate ends the handshake.
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let mut inside = TcpStream::connect(server).await.unwrap();
                    // Either side may go away first.
                    let _ = copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
        Self { address, certificate, serving }
    }

    /// `https://localhost:{port}`, without a slash at the end.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    fn endpoint(&self) -> String {
        format!("{}/production", self.url())
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.serving.abort();
        // A file that stays behind harms nobody.
        let _ = std::fs::remove_file(&self.certificate);
    }
}

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
    world.connections.script("c7", Script::always(Outcome::internal_error()));
    let fanout = world
        .fanout()
        .env("CONNECTIONS_ENDPOINT", front.endpoint())
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
    assert_eq!(logged(&fanout, 1, is_warning).await.len(), 1);
}

#[tokio::test]
async fn nothing_is_posted_to_a_server_that_is_not_trusted() {
    let (world, front) = world().await;
    let fanout = world
        .fanout()
        .env("CONNECTIONS_ENDPOINT", front.endpoint())
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

/// A broadcast to a server that speaks both protocols over TLS; returns what it has counted.
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

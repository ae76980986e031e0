//! The poster over HTTP/2: a connection for many workers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanout::config::HttpVersion;
use fanout::outcome::Outcome;
use fanout::poster::{Lane, Poster, direct::DirectPoster};
use futures::future::join_all;
use http::header::HOST;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use shared::ConnectionId;
use tests::http_server::Request;
use tests::sigv4::{Credentials, verify};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;

use super::{REGION, expected, frame, sdk_config, temporary_credentials};

/// A server that speaks HTTP/2 only. It answers what a connection's id says, 200 where that is no status.
#[derive(Clone, Default)]
struct Server {
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Server {
    async fn start() -> (Self, SocketAddr) {
        let server = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                let serve = service_fn(move |request| server.clone().answer(request));
                let connection =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), serve);
                accepting.connections.lock().unwrap().push(tokio::spawn(connection).abort_handle());
            }
        });
        (server, address)
    }

    async fn answer(self, request: http::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (mut parts, body) = request.into_parts();
        // The host that is signed is HTTP/2's authority.
        let authority = parts.uri.authority().unwrap().as_str();
        parts.headers.insert(HOST, HeaderValue::from_str(authority).unwrap());
        let target = parts.uri.path().to_owned();
        let status = target.rsplit('/').next().and_then(|id| StatusCode::from_bytes(id.as_bytes()).ok());
        let body = body.collect().await.unwrap().to_bytes();
        let request = Request { method: parts.method, target, headers: parts.headers, body, arrived: Instant::now() };
        self.requests.lock().unwrap().push(request);
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Response::builder().status(status.unwrap_or_default()).body(Full::default()).unwrap())
    }

    fn connections(&self) -> usize {
        self.connections.lock().unwrap().len()
    }

    /// Breaks every connection.
    fn break_connections(&self) {
        self.connections.lock().unwrap().iter().for_each(AbortHandle::abort);
    }
}

fn poster(address: SocketAddr) -> DirectPoster {
    let (sdk, endpoint) = (sdk_config(temporary_credentials()), format!("http://{address}/live"));
    DirectPoster::new(&sdk, REGION, &endpoint, Duration::from_secs(5), HttpVersion::Http2).unwrap()
}

async fn post_to_all(poster: &DirectPoster, ids: &[String]) -> Vec<Outcome> {
    join_all(ids.iter().map(|id| async {
        let mut lane = poster.lane();
        let outcome = lane.post(&ConnectionId::new(id), &frame(r#"{"type":"messages"}"#)).await;
        poster.put_back(lane);
        outcome
    }))
    .await
}

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("L0SM9/+{number}=")).collect()
}

#[tokio::test]
async fn a_hundred_workers_share_a_connection_and_every_request_is_signed() {
    let (server, address) = Server::start().await;
    let outcomes = post_to_all(&poster(address), &ids(150)).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "{outcomes:?}");
    assert_eq!(server.connections(), 2);
    let credentials = Credentials::temporary("AKIDTEMPORARY", "secret", "session/token+with=signs");
    let requests = server.requests.lock().unwrap();
    assert_eq!(requests.len(), 150);
    for request in requests.iter() {
        verify(request, &expected(credentials.clone())).unwrap();
        assert_eq!(request.body, r#"{"type":"messages"}"#);
    }
}

#[tokio::test]
async fn answers_mean_what_they_mean_over_http1() {
    let (_server, address) = Server::start().await;
    let outcomes = post_to_all(&poster(address), &["410", "429", "500", "400"].map(str::to_owned)).await;
    let throttled = Outcome::Throttled { retry_after: None };
    assert_eq!(outcomes, [Outcome::Gone, throttled, Outcome::Failed, Outcome::Rejected]);
}

#[tokio::test]
async fn a_connection_that_broke_is_replaced_within_the_attempt() {
    let (server, address) = Server::start().await;
    let poster = poster(address);
    post_to_all(&poster, &ids(3)).await;
    server.break_connections();
    let outcomes = post_to_all(&poster, &ids(3)).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "{outcomes:?}");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_failed_attempt() {
    // Bound, so that nobody else gets the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    assert_eq!(post_to_all(&poster(address), &ids(2)).await, [Outcome::Failed, Outcome::Failed]);
}

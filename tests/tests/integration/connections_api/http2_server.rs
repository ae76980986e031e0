//! A server that speaks only HTTP/2, without TLS. A connection's id says how its posts are answered.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanout::config::HttpVersion;
use fanout::connections_api::SignedConnectionsApi;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::header::{HOST, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use testkit::http_server::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::{REGION, sdk_config, temporary_credentials};

/// The running server. Ids: a status; `hangs`, never answered; `stalls`, after which nothing is answered on the whole
/// connection, pings included; `goes-away`, answered, after which the server takes no more; everything else is
/// answered 200.
#[derive(Clone)]
pub(crate) struct Http2Server {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// The counts of the server.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) requests: Vec<Request>,
    /// Requests that were reset before their answer.
    pub(crate) resets: usize,
    sessions: Vec<AbortHandle>,
}

impl State {
    pub(crate) fn open_sessions(&self) -> usize {
        self.sessions.iter().filter(|session| !session.is_finished()).count()
    }
}

impl Http2Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    /// A server that takes at most `max_streams` streams at once on a connection.
    pub(crate) async fn start_with(max_streams: Option<u32>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = tokio::spawn(accepting.clone().serve(stream, max_streams));
                accepting.state.lock().unwrap().sessions.push(serving.abort_handle());
            }
        });
        server
    }

    /// The number of sessions that were opened.
    pub(crate) fn sessions(&self) -> usize {
        self.state.lock().unwrap().sessions.len()
    }

    pub(crate) fn break_connections(&self) {
        self.state.lock().unwrap().sessions.iter().for_each(AbortHandle::abort);
    }

    pub(crate) fn with_state<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    pub(crate) async fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        let started = Instant::now();
        while !self.with_state(&condition) {
            assert!(started.elapsed() < Duration::from_secs(60), "not within a minute");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn serve(self, stream: TcpStream, max_streams: Option<u32>) {
        let mut builder = Builder::new();
        if let Some(max) = max_streams {
            builder.max_concurrent_streams(max);
        }
        let Ok(mut connection): Result<Connection<TcpStream, Bytes>, _> = builder.handshake(stream).await else {
            return;
        };
        while let Some(Ok((request, respond))) = connection.accept().await {
            match id(&request) {
                "stalls" => std::future::pending().await,
                "goes-away" => connection.graceful_shutdown(),
                _ => {}
            }
            tokio::spawn(self.clone().answer(request, respond));
        }
    }

    async fn answer(self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let id = id(&request).to_owned();
        let request = read(request).await;
        self.state.lock().unwrap().requests.push(request);
        if id == "hangs" {
            let is_reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.is_ok();
            self.state.lock().unwrap().resets += usize::from(is_reset);
        } else {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let mut response = Response::builder().status(StatusCode::from_bytes(id.as_bytes()).unwrap_or_default());
        if id == "429" {
            response = response.header(RETRY_AFTER, "2");
        }
        // The client may be gone.
        let _ = respond.send_response(response.body(()).unwrap(), true);
    }
}

/// The ways in which the server refuses a request. The first two tell the client that the request was not processed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// The server goes away, and has processed no stream.
    GoAway,
    /// The stream alone is refused.
    Stream,
    /// The stream is reset because of an error within.
    Error,
}

/// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// A server, written frame by frame, that refuses its first request and answers 200 to the others. Returns its address
/// and the count of its requests.
pub(crate) async fn refuse_the_first(refusal: Refusal) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = requests.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client ends the connection in its own time.
            tokio::spawn(refuse_on(stream, refusal, counted.clone()));
        }
    });
    (address, requests)
}

async fn refuse_on(mut stream: TcpStream, refusal: Refusal, requests: Arc<AtomicUsize>) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, stream_id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        let stream_id = u32::from_be_bytes(stream_id);
        let answer = match (kind, flags & 1) {
            (SETTINGS, 0) => frame(SETTINGS, 1, 0, &[]),
            // A request's last byte.
            (DATA, 1) => match (requests.fetch_add(1, Ordering::Relaxed), refusal) {
                (0, Refusal::GoAway) => frame(GOAWAY, 0, 0, &[0; 8]),
                (0, Refusal::Stream) => frame(RST_STREAM, 0, stream_id, &7_u32.to_be_bytes()),
                (0, Refusal::Error) => frame(RST_STREAM, 0, stream_id, &2_u32.to_be_bytes()),
                // The eighth entry of HPACK's table: ":status: 200"; the headers and the stream end with it.
                _ => frame(HEADERS, 5, stream_id, &[0x88]),
            },
            _ => continue,
        };
        stream.write_all(&answer).await?;
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn id<T>(request: &http::Request<T>) -> &str {
    request.uri().path().rsplit('/').next().unwrap_or_default()
}

async fn read(request: http::Request<RecvStream>) -> Request {
    let (mut parts, mut stream) = request.into_parts();
    // The host that is signed is HTTP/2's authority.
    let authority = parts.uri.authority().unwrap().as_str();
    parts.headers.insert(HOST, HeaderValue::from_str(authority).unwrap());
    let mut body = Vec::new();
    while let Some(Ok(data)) = stream.data().await {
        stream.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    Request {
        method: parts.method,
        target: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: body.into(),
        tcp_connection: 0,
        arrived: Instant::now(),
    }
}

/// The API over HTTP/2, with ample time for an attempt.
pub(crate) fn http2_api(address: SocketAddr) -> SignedConnectionsApi {
    http2_api_with(address, super::TIMEOUT)
}

pub(crate) fn http2_api_with(address: SocketAddr, timeout: Duration) -> SignedConnectionsApi {
    let (sdk, endpoint) = (sdk_config(temporary_credentials()), format!("http://{address}/live"));
    SignedConnectionsApi::new(&sdk, REGION, &endpoint, timeout, HttpVersion::Http2).unwrap()
}

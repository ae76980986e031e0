//! The `@connections` endpoint of the benchmarks, which does as little work as possible for each request, so that the
//! client is measured and not the server.
//!
//! It has one outcome (200 with an empty body), a constant latency, the account's token bucket and random refusals. It
//! counts requests and records nothing else; [`connections_server`](crate::connections_server) is the one for
//! behaviour.

mod counters;
mod delay_line;
mod throttle;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use counters::Counters;
pub use counters::Stats;
use delay_line::DelayLine;
use throttle::Throttle;

use crate::tls::Tls;

/// Connections that may wait to be accepted. With the usual 128, some of 512 connections that are opened at once would
/// be dropped, and come only when their clients' systems try again a second later.
const BACKLOG: u32 = 1_024;

/// The behaviour of the server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// The time that each post takes, refused or not, to within a tenth of a millisecond.
    pub latency: Duration,
    /// Tokens a second and burst; 429 beyond them.
    pub bucket: Option<(f64, f64)>,
    /// The time after the first post for which the bucket has nothing; after it, the bucket starts empty.
    pub empty_for: Duration,
    /// The share of posts that is answered 429 at any rate, from 0 to 1.
    pub refused_at_random: f64,
    /// The prefix of the ids of connections whose posts are counted, and timed, apart from the others.
    pub watched: Option<String>,
    /// The file for the certificate that the server shows over TLS; without one it speaks no TLS. With one it speaks
    /// both, on the same port.
    pub certificate: Option<PathBuf>,
}

/// The running server; dropping it closes every connection.
#[derive(Debug)]
pub struct FastServer {
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl FastServer {
    /// Listens on loopback and serves from one thread: more threads would only take cores from the client.
    ///
    /// # Errors
    /// When the port is taken, or the certificate cannot be written.
    pub fn start(options: Options) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let listener = listen(&runtime, options.port)?;
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let service = Arc::new(Service {
            counters: Arc::clone(&counters),
            tls: options.certificate.as_deref().map(|file| Tls::start(file, &["h2", "http/1.1"])).transpose()?,
            delay: (options.latency > Duration::ZERO).then(|| DelayLine::start(options.latency)),
            throttle: Throttle::new(options.bucket, options.empty_for, options.refused_at_random),
            watched: options.watched.map(|prefix| format!("/@connections/{prefix}")),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("fast-server".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, service) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, counters, stop: Some(stop), thread: Some(thread) })
    }

    /// `http://127.0.0.1:{port}`, without a slash at the end; any path below it takes posts.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `https://localhost:{port}`, for the certificate's name.
    pub fn tls_url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// The counts so far.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// Serves until the process ends.
    pub fn run(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for FastServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the server thread has already been printed.
            let _ = thread.join();
        }
    }
}

struct Service {
    counters: Arc<Counters>,
    tls: Option<Tls>,
    delay: Option<DelayLine>,
    throttle: Option<Throttle>,
    watched: Option<String>,
}

/// Listens on loopback.
fn listen(runtime: &Runtime, port: u16) -> io::Result<TcpListener> {
    let _entered = runtime.enter();
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)
}

async fn accept(listener: TcpListener, service: Arc<Service>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // The process is out of descriptors; connections that end will free some.
            tokio::task::yield_now().await;
            continue;
        };
        stream.set_nodelay(true).unwrap();
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            service.counters.tcp_connections.fetch_add(1, Ordering::Relaxed);
            let _open = service.counters.tcp_open.raise();
            let start = Start::of(&stream).await;
            if let (Start::Tls, Some(tls)) = (&start, &service.tls) {
                // A client that does not trust the certificate ends the handshake.
                if let Ok((stream, is_http2)) = tls.accept(stream).await {
                    serve(TokioIo::new(stream), is_http2, &service).await;
                }
            } else {
                serve(TokioIo::new(stream), matches!(start, Start::Http2), &service).await;
            }
        });
    }
}

/// A benchmark's client may end its connections as it likes.
async fn serve(io: impl Read + Write + Send + Unpin + 'static, is_http2: bool, service: &Arc<Service>) {
    if is_http2 {
        let streams = Arc::clone(service);
        let answer = service_fn(move |request| {
            let service = Arc::clone(&streams);
            async move { service.answer(request).await }
        });
        let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(io, answer).await;
    } else {
        let answer = service_fn(|request| service.answer(request));
        let _ = http1::Builder::new().pipeline_flush(true).serve_connection(io, answer).await;
    }
}

/// The beginning of a connection, which tells its protocol.
enum Start {
    Http1,
    /// `PRI * HTTP/2.0`, with which no post begins.
    Http2,
    /// A handshake record.
    Tls,
}

impl Start {
    async fn of(stream: &tokio::net::TcpStream) -> Self {
        let mut start = [0; 3];
        match stream.peek(&mut start).await {
            Ok(1..) if start[0] == 22 => Self::Tls,
            Ok(3) if start == *b"PRI" => Self::Http2,
            _ => Self::Http1,
        }
    }
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        match *request.method() {
            Method::POST if request.uri().path() == "/stats/reset" => {
                self.counters.reset();
                Ok(Response::default())
            }
            Method::POST => {
                let is_watched = self.watched.as_ref().is_some_and(|watched| request.uri().path().contains(watched));
                let response = self.post(request.into_body()).await;
                if is_watched && response.status() == StatusCode::OK {
                    self.counters.count_watched();
                }
                Ok(response)
            }
            Method::GET if request.uri().path() == "/stats" => {
                let stats = serde_json::to_vec(&self.counters.stats()).unwrap();
                let mut response = Response::new(Full::from(stats));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Ok(response)
            }
            Method::DELETE => {
                self.counters.deletes.fetch_add(1, Ordering::Relaxed);
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Ok(empty(StatusCode::NOT_FOUND)),
        }
    }

    async fn post(&self, mut body: Incoming) -> Response<Full<Bytes>> {
        let arrived = self.delay.as_ref().map(|_| Instant::now());
        let _in_flight = self.counters.in_flight.raise();
        while let Some(frame) = body.frame().await {
            // A body that breaks off ends its connection, so this result is not used.
            let length = frame.ok().and_then(|frame| Some(frame.data_ref()?.len())).unwrap_or_default();
            self.counters.body_bytes.fetch_add(length as u64, Ordering::Relaxed);
        }
        let is_taken = self.throttle.as_ref().is_none_or(|throttle| self.take(throttle));
        if let (Some(delay), Some(arrived)) = (&self.delay, arrived) {
            delay.wait(arrived).await;
            let micros = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.counters.latency_micros.fetch_add(micros, Ordering::Relaxed);
        }
        if is_taken {
            self.counters.delivered.fetch_add(1, Ordering::Relaxed);
            return Response::default();
        }
        self.counters.throttled.fetch_add(1, Ordering::Relaxed);
        let mut response = empty(StatusCode::TOO_MANY_REQUESTS);
        response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static("LimitExceededException"));
        response
    }

    fn take(&self, throttle: &Throttle) -> bool {
        let taken = throttle.take(Instant::now());
        let micros = u64::try_from(taken.since_first.as_micros()).unwrap_or(u64::MAX);
        self.counters.bucket_micros.fetch_max(micros, Ordering::Relaxed);
        taken.is_taken
    }
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// Posts this many times on one connection, pipelined; returns all answers.
    fn post(server: &FastServer, count: usize) -> String {
        let post = b"POST /stage/@connections/a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello";
        let last = b"GET /stats HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(&[post.repeat(count).as_slice(), last].concat()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn posts_are_answered_and_counted() {
        let server = FastServer::start(Options::default()).unwrap();
        let text = post(&server, 10);
        assert_eq!(text.matches("HTTP/1.1 200").count(), 11, "{text}");
        let (_, stats) = text.rsplit_once("\r\n\r\n").unwrap();
        let stats: Stats = serde_json::from_str(stats).unwrap();
        assert_eq!((stats.delivered, stats.body_bytes, stats.tcp_connections), (10, 50, 1));
    }

    #[test]
    fn the_bucket_throttles() {
        let server = FastServer::start(Options { bucket: Some((0.0, 3.0)), ..Options::default() }).unwrap();
        let text = post(&server, 5);
        assert_eq!(text.matches("HTTP/1.1 429").count(), 2, "{text}");
        assert_eq!((server.stats().delivered, server.stats().throttled), (3, 2));
    }

    #[test]
    fn watched_connections_are_counted_apart() {
        let of = |watched: &str| {
            let server =
                FastServer::start(Options { watched: Some(watched.to_owned()), ..Options::default() }).unwrap();
            post(&server, 3);
            server.stats()
        };
        let (watched, others) = (of("a"), of("b"));
        assert_eq!((watched.delivered, watched.watched), (3, 3));
        assert!(watched.watched_micros > 0, "{watched:?}");
        assert_eq!((others.delivered, others.watched, others.watched_micros), (3, 0, 0));
    }

    #[test]
    fn latency_is_kept_for_connections_side_by_side() {
        let latency = Duration::from_millis(10);
        let server = FastServer::start(Options { latency, ..Options::default() }).unwrap();
        let started = Instant::now();
        let all_there = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    all_there.wait();
                    post(&server, 5)
                });
            }
        });
        // There is no upper bound: other work of the machine may make it take longer.
        assert!(started.elapsed() >= latency * 5, "{:?}", started.elapsed());
        let stats = server.stats();
        assert_eq!(stats.delivered, 20);
        assert!((2..=4).contains(&stats.max_in_flight), "{stats:?}");
        assert!(stats.mean_latency_micros >= 10_000, "{stats:?}");
    }
}

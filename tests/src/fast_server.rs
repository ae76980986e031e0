//! The `@connections` endpoint of the benchmarks: as little work as possible for each request, so that what is
//! measured is the client.
//!
//! It has one outcome (200 with an empty body), a constant latency and the account's token bucket; it counts and
//! records nothing else. [`connections_server`](crate::connections_server) is the one for behaviour.

mod delay_line;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::oneshot;

use crate::token_bucket::TokenBucket;
use delay_line::DelayLine;

/// What the server is to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The port; 0 takes a free one.
    pub port: u16,
    /// How long each post takes, to within a tenth of a millisecond.
    pub latency: Duration,
    /// Tokens a second and burst; 429 beyond them.
    pub bucket: Option<(f64, f64)>,
}

/// What the server has counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Posts answered 200.
    pub delivered: u64,
    /// Posts answered 429.
    pub throttled: u64,
    /// Deletes.
    pub deletes: u64,
    /// Bytes of all bodies posted.
    pub body_bytes: u64,
    /// The largest number of posts waiting for their answer. Without latency a post is answered before the next
    /// one is read, and this says nothing; [`max_tcp_connections`](Self::max_tcp_connections) bounds it then.
    pub max_in_flight: u64,
    /// TCP connections opened.
    pub tcp_connections: u64,
    /// The largest number of TCP connections open at one time.
    pub max_tcp_connections: u64,
    /// The mean time between a post's arrival and its answer, in microseconds: what `latency` really was.
    pub mean_latency_micros: u64,
    /// With a bucket, the time between the first post ever and the last one: what has flowed into the bucket.
    pub bucket_micros: u64,
}

#[derive(Debug, Default)]
struct Counters {
    delivered: AtomicU64,
    throttled: AtomicU64,
    deletes: AtomicU64,
    body_bytes: AtomicU64,
    in_flight: Gauge,
    tcp_open: Gauge,
    tcp_connections: AtomicU64,
    latency_micros: AtomicU64,
    bucket_micros: AtomicU64,
}

/// A number that goes up and down, and its maximum.
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicU64,
    max: AtomicU64,
}

struct Raised<'a>(&'a Gauge);

impl Gauge {
    fn raise(&self) -> Raised<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.max.fetch_max(now, Ordering::Relaxed);
        Raised(self)
    }

    fn take_max(&self) -> u64 {
        self.max.swap(self.now.load(Ordering::Relaxed), Ordering::Relaxed)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counters {
    fn stats(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            delivered: get(&self.delivered),
            throttled: get(&self.throttled),
            deletes: get(&self.deletes),
            body_bytes: get(&self.body_bytes),
            max_in_flight: get(&self.in_flight.max),
            tcp_connections: get(&self.tcp_connections),
            max_tcp_connections: get(&self.tcp_open.max),
            mean_latency_micros: get(&self.latency_micros).checked_div(get(&self.delivered)).unwrap_or_default(),
            bucket_micros: get(&self.bucket_micros),
        }
    }

    /// Open connections and posts in flight stay, as the start of the next maxima.
    fn reset(&self) {
        let counters = [
            &self.delivered,
            &self.throttled,
            &self.deletes,
            &self.body_bytes,
            &self.tcp_connections,
            &self.latency_micros,
        ];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
        self.in_flight.take_max();
        self.tcp_open.take_max();
    }
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
    /// Listens on loopback and serves from one thread: more would only take the cores from the client.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counters = Arc::new(Counters::default());
        let service = Arc::new(Service {
            counters: Arc::clone(&counters),
            delay: (options.latency > Duration::ZERO).then(|| DelayLine::start(options.latency)),
            bucket: options.bucket.map(Throttle::new),
        });
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("fast-server".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
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

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.counters.stats()
    }

    /// Sets the counts to zero.
    pub fn reset_stats(&self) {
        self.counters.reset();
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
    delay: Option<DelayLine>,
    bucket: Option<Throttle>,
}

/// The account's bucket, full until the first post.
struct Throttle {
    size: (f64, f64),
    opened: Mutex<Option<(Instant, TokenBucket)>>,
}

impl Throttle {
    fn new(size: (f64, f64)) -> Self {
        Self { size, opened: Mutex::default() }
    }

    /// Takes a token, when there is one; and says since when the bucket has been in use.
    fn try_take(&self, now: Instant) -> (bool, Instant) {
        let mut opened = self.opened.lock().unwrap();
        let (since, bucket) = opened.get_or_insert_with(|| (now, TokenBucket::new(self.size.0, self.size.1, now)));
        (bucket.try_take(now), *since)
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: connections that end will free some.
            tokio::task::yield_now().await;
            continue;
        };
        stream.set_nodelay(true).unwrap();
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            service.counters.tcp_connections.fetch_add(1, Ordering::Relaxed);
            let _open = service.counters.tcp_open.raise();
            // A benchmark's client may end its connections as it likes.
            let _ = if is_http2(&stream).await {
                let streams = Arc::clone(&service);
                let answer = service_fn(move |request| {
                    let service = Arc::clone(&streams);
                    async move { service.answer(request).await }
                });
                http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await
            } else {
                let answer = service_fn(|request| service.answer(request));
                http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), answer).await
            };
        });
    }
}

/// Whether a connection begins as those of HTTP/2 do: `PRI * HTTP/2.0`, which no post does.
async fn is_http2(stream: &tokio::net::TcpStream) -> bool {
    let mut start = [0; 3];
    stream.peek(&mut start).await.is_ok_and(|length| length == start.len() && start == *b"PRI")
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        match *request.method() {
            Method::POST if request.uri().path() == "/stats/reset" => {
                self.counters.reset();
                Ok(Response::default())
            }
            Method::POST => Ok(self.post(request.into_body()).await),
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
            // A body that breaks off ends its connection, and with it this future's use.
            let length = frame.ok().and_then(|frame| Some(frame.data_ref()?.len())).unwrap_or_default();
            self.counters.body_bytes.fetch_add(length as u64, Ordering::Relaxed);
        }
        if let Some(bucket) = &self.bucket {
            let now = Instant::now();
            let (taken, since) = bucket.try_take(now);
            let micros = u64::try_from(now.saturating_duration_since(since).as_micros()).unwrap_or(u64::MAX);
            self.counters.bucket_micros.fetch_max(micros, Ordering::Relaxed);
            if !taken {
                self.counters.throttled.fetch_add(1, Ordering::Relaxed);
                let mut response = empty(StatusCode::TOO_MANY_REQUESTS);
                response.headers_mut().insert("x-amzn-errortype", HeaderValue::from_static("LimitExceededException"));
                return response;
            }
        }
        if let (Some(delay), Some(arrived)) = (&self.delay, arrived) {
            delay.wait(arrived).await;
            let micros = u64::try_from(arrived.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.counters.latency_micros.fetch_add(micros, Ordering::Relaxed);
        }
        self.counters.delivered.fetch_add(1, Ordering::Relaxed);
        Response::default()
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

    /// Posts this many times on one connection, pipelined; returns everything that was answered.
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
        server.reset_stats();
        assert_eq!(server.stats().delivered, 0);
    }

    #[test]
    fn the_bucket_throttles() {
        let server = FastServer::start(Options { bucket: Some((0.0, 3.0)), ..Options::default() }).unwrap();
        let text = post(&server, 5);
        assert_eq!(text.matches("HTTP/1.1 429").count(), 2, "{text}");
        assert_eq!((server.stats().delivered, server.stats().throttled), (3, 2));
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
        // No upper bounds: how much longer it takes is up to the machine's other work.
        assert!(started.elapsed() >= latency * 5, "{:?}", started.elapsed());
        let stats = server.stats();
        assert_eq!(stats.delivered, 20);
        assert!((2..=4).contains(&stats.max_in_flight), "{stats:?}");
        assert!(stats.mean_latency_micros >= 10_000, "{stats:?}");
    }
}

//! An HTTP/1.1 server on loopback that can also break the protocol on purpose.
//!
//! Every fake of this crate is built on it. It runs on a thread and a runtime of its own, so that a test may use any
//! runtime, a busy test does not slow the fake down, and dropping the server closes every connection at once.

mod body;
mod socket;

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::sync::{Notify, oneshot};

use body::ScriptedBody;
use socket::{Ending, Socket};

/// A request as it arrived, its body complete.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query exactly as they were on the wire, percent-encoding included.
    pub target: String,
    /// Every header, names in lower case.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The number of the TCP connection that it came over, from 1 in the order in which they were opened.
    pub tcp_connection: u64,
    /// The time when the body was complete.
    pub arrived: Instant,
}

impl Request {
    /// The raw path, without the query.
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The raw query, empty when there is none.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// A header's value, when it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The way in which a response's body is sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Framing {
    /// `Content-Length` and the whole body.
    #[default]
    Length,
    /// `Transfer-Encoding: chunked`, in two chunks if there are enough bytes.
    Chunked,
    /// The head promises more than is sent, then the connection is closed (FIN).
    CutShort,
    /// The head promises more than is sent, then the connection is reset (RST).
    ResetMidway,
}

/// A response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Extra headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The framing of the body.
    pub framing: Framing,
}

impl Reply {
    /// A response without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new(), framing: Framing::Length }
    }

    /// A response with a body and its content type.
    pub fn with_body(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..Self::empty(status) }.header("content-type", content_type)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The server's reaction to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Answer it.
    Reply(Reply),
    /// Never answer; the connection stays open.
    Hang,
    /// Close the connection without an answer (FIN).
    Close,
    /// Reset the connection without an answer (RST).
    Reset,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

/// The time for which the server keeps a connection that a client would like to use again.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeepAlive {
    /// As long as the client does.
    #[default]
    Forever,
    /// This many requests; the last response says `Connection: close`.
    Announced(u32),
    /// This many requests; then the connection is closed without notice, as an idle timeout does. A client that has
    /// just reused it sees it end before a response.
    Silent(u32),
}

/// Decides the answer to each request.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. The future is dropped when the client goes away first.
    fn handle(&self, request: Request) -> impl Future<Output = Answer> + Send;
}

/// The running server; dropping it closes every connection.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    keep_alive: Mutex<KeepAlive>,
    accepted: AtomicU64,
}

impl HttpServer {
    /// Listens on loopback; port 0 takes a free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(port: u16, handler: impl Handler) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let (stop, stopped) = oneshot::channel();
        let accept = accept(listener, Arc::new(handler), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name(format!("http-{}", address.port())).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The address that the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:{port}`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The number of TCP connections that clients have opened so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Sets how long connections opened from now on are kept.
    pub fn set_keep_alive(&self, keep_alive: KeepAlive) {
        *self.shared.keep_alive.lock().unwrap() = keep_alive;
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the server thread has already been printed.
            let _ = thread.join();
        }
    }
}

async fn accept<H: Handler>(listener: TcpListener, handler: Arc<H>, shared: Arc<Shared>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        // Neither a lack of descriptors nor a client that went away while it was queued ends a fake.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        let tcp_connection = shared.accepted.fetch_add(1, Ordering::SeqCst) + 1;
        // Without this, Nagle's algorithm would be measured instead of the client.
        stream.set_nodelay(true).unwrap();
        let keep_alive = *shared.keep_alive.lock().unwrap();
        tokio::spawn(serve_connection(stream, tcp_connection, keep_alive, Arc::clone(&handler)));
    }
}

async fn serve_connection<H: Handler>(
    stream: tokio::net::TcpStream,
    tcp_connection: u64,
    keep_alive: KeepAlive,
    handler: Arc<H>,
) {
    let ending = Ending::default();
    let socket = Socket::new(stream, ending.clone());
    let last_response_written = Arc::new(Notify::new());
    let served = AtomicU64::new(0);
    let service = service_fn(|request: http::Request<Incoming>| {
        let number = served.fetch_add(1, Ordering::Relaxed) + 1;
        answer(request, (tcp_connection, number), keep_alive, &handler, &ending, &last_response_written)
    });
    let connection = http1::Builder::new().pipeline_flush(true).serve_connection(socket, service);
    tokio::pin!(connection);
    tokio::select! {
        // The connection is polled first: it has flushed the last response when the notification is looked at.
        biased;
        _ = &mut connection => return,
        () = last_response_written.notified() => {}
    }
    connection.as_mut().graceful_shutdown();
    // The client may have gone away first.
    let _ = connection.await;
}

async fn answer<H: Handler>(
    request: http::Request<Incoming>,
    (tcp_connection, number): (u64, u64),
    keep_alive: KeepAlive,
    handler: &Arc<H>,
    ending: &Ending,
    last_response_written: &Arc<Notify>,
) -> io::Result<Response<ScriptedBody>> {
    if let KeepAlive::Announced(last) | KeepAlive::Silent(last) = keep_alive
        && number > last.into()
    {
        // This request came after the connection's last one.
        return Err(io::Error::other("the connection's last request was another one"));
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let target = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let (method, headers) = (head.method, head.headers);
    let request = Request { method, target, headers, body, tcp_connection, arrived: Instant::now() };
    let reply = match handler.handle(request).await {
        Answer::Reply(reply) => reply,
        Answer::Hang => std::future::pending().await,
        Answer::Close => return Err(io::Error::other("scripted to close without an answer")),
        Answer::Reset => {
            ending.set_reset();
            return Err(io::Error::other("scripted to reset without an answer"));
        }
    };
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).unwrap());
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    if keep_alive == KeepAlive::Announced(u32::try_from(number).unwrap_or(u32::MAX)) {
        response = response.header(CONNECTION, "close");
    }
    if matches!(reply.framing, Framing::CutShort | Framing::ResetMidway) {
        response = response.header(CONTENT_LENGTH, reply.body.len() + body::MISSING_BYTES);
    }
    let mut body = ScriptedBody::new(reply.body, reply.framing, ending.clone());
    if keep_alive == KeepAlive::Silent(u32::try_from(number).unwrap_or(u32::MAX)) {
        body.notify_when_written(Arc::clone(last_response_written));
    }
    Ok(response.body(body).unwrap())
}

#[cfg(test)]
mod tests;

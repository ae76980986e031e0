//! HTTP/1.1: each call in flight has a connection of its own and drives it itself, without tasks or locks.
//!
//! Requests are written here rather than by an HTTP library: they differ only in their path, signature and body.
//! Through `hyper`, and with more of the signature made anew for each request, a post took 1.8 times the CPU time of
//! `wrk`; written here it takes about as much as `wrk` (`make bench`).

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    task::Poll,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf},
    sync::{AcquireError, Notify, Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::{
    endpoint::{Endpoint, Offer, Stream},
    request::SignedRequest,
    response::{self, PostResponse, Received},
    transport_error::TransportError,
};

/// The longest time that a connection may have been idle to be used again. The server may have closed it without this
/// end hearing of it (a frozen environment receives nothing), and then a call over it would wait until its deadline.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// A body up to this size is copied behind the head, to be written together with it. Copying a larger body costs more
/// than a second write.
const WRITTEN_TOGETHER: usize = 4 * 1024;

/// The most connections that are being opened at one time. Each takes a thread and a socket for DNS besides its own
/// descriptor, and an environment has 1,024 of either ("Lambda quotas").
const OPENING: usize = 32;

/// Opens connections, and keeps idle ones for later calls.
pub(super) struct Http1Pool {
    endpoint: Rc<Endpoint>,
    opening: Semaphore,
    /// Notified when a connection has become idle.
    released: Notify,
    /// Idle connections and since when they are idle, the longest idle first. The wall clock is used because an
    /// environment is frozen between invocations, and other clocks may stop with it.
    idle: RefCell<VecDeque<(Http1Connection, SystemTime)>>,
}

/// A turn at opening a connection. It fails only when the semaphore is closed, which never happens.
type Turn<'a> = Result<SemaphorePermit<'a>, AcquireError>;

/// The way in which a call comes to its connection.
enum Way<'a> {
    /// An idle connection.
    Idle(Http1Connection),
    /// A turn at opening a new one.
    Turn(Turn<'a>),
}

struct Http1Connection {
    stream: Box<dyn Stream>,
    /// The bytes to be written, then those that are received.
    buffer: Vec<u8>,
}

/// The reason why there is no response.
#[derive(Debug, thiserror::Error)]
enum Http1Error {
    /// Nothing of a response had arrived, so the request can be sent again.
    #[error("the connection broke before the response: {0}")]
    Unanswered(io::Error),
    /// A part of the response had arrived, so the server has taken the request.
    #[error("the connection broke within the response: {0}")]
    Midway(io::Error),
}

impl Http1Pool {
    pub(super) fn new(endpoint: Rc<Endpoint>) -> Self {
        Self { endpoint, opening: Semaphore::new(OPENING), released: Notify::new(), idle: RefCell::default() }
    }

    /// Makes a call over an idle connection or a new one. Servers close idle connections; a request over one that the
    /// server has just closed is sent again at once over a new one. That is safe even if the server saw the first
    /// request: clients drop frames that they have seen.
    pub(super) async fn send(
        &self,
        request: &SignedRequest<'_>,
        deadline: Instant,
    ) -> Result<PostResponse, TransportError> {
        let turn = match self.way(deadline).await? {
            Way::Idle(connection) => match self.send_over(connection, request, deadline).await? {
                Err(Http1Error::Unanswered(_)) => in_time(deadline, self.opening.acquire()).await?,
                answered => return Ok(answered?),
            },
            Way::Turn(turn) => turn,
        };
        let stream = in_time(deadline, self.endpoint.connect(Offer::Http1)).await??.stream;
        drop(turn);
        let connection = Http1Connection { stream, buffer: Vec::new() };
        Ok(self.send_over(connection, request, deadline).await??)
    }

    /// An idle connection, or a turn at opening one, whichever comes first.
    async fn way(&self, deadline: Instant) -> Result<Way<'_>, TransportError> {
        loop {
            if let Some(connection) = self.take_idle() {
                return Ok(Way::Idle(connection));
            }
            tokio::select! {
                biased;
                turn = in_time(deadline, self.opening.acquire()) => return turn.map(Way::Turn),
                () = self.released.notified() => {}
            }
        }
    }

    /// Makes a call over one connection, which is released when it can be used again.
    async fn send_over(
        &self,
        mut connection: Http1Connection,
        request: &SignedRequest<'_>,
        deadline: Instant,
    ) -> Result<Result<PostResponse, Http1Error>, TransportError> {
        let exchanged = timeout_at(deadline, connection.exchange(request)).await;
        let result = exchanged.map_err(|_| TransportError::TimedOut)?;
        Ok(result.map(|(response, is_reusable)| {
            if is_reusable {
                self.release(connection);
            }
            response
        }))
    }

    /// The connection that was used last, if it can be used again.
    fn take_idle(&self) -> Option<Http1Connection> {
        let mut idle = self.idle.borrow_mut();
        let (connection, since) = idle.pop_back()?;
        if is_stale(since) {
            // All others have been idle for even longer.
            idle.clear();
            return None;
        }
        Some(connection)
    }

    fn release(&self, connection: Http1Connection) {
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|(_, since)| is_stale(*since)) {
            idle.pop_front();
        }
        idle.push_back((connection, SystemTime::now()));
        self.released.notify_one();
    }
}

/// The result of a step that comes before the request is sent, or an error after the deadline.
async fn in_time<F: Future>(deadline: Instant, step: F) -> Result<F::Output, TransportError> {
    timeout_at(deadline, step).await.map_err(|_| TransportError::no_connection_in_time())
}

/// Whether a connection that has been idle since then may not be used any more.
pub(super) fn is_stale(since: SystemTime) -> bool {
    since.elapsed().is_ok_and(|idle| idle > IDLE)
}

impl Http1Connection {
    /// Sends a request and reads the response to its end. Returns with it whether the connection can be used again.
    async fn exchange(&mut self, request: &SignedRequest<'_>) -> Result<(PostResponse, bool), Http1Error> {
        self.check_silence().await.map_err(Http1Error::Unanswered)?;
        let written = self.write(request).await;
        // A server may answer, and refuse, a request before it has read all of it: then writing fails, but there is a
        // response.
        match (self.read().await, written) {
            (Ok((response, is_reusable)), written) => Ok((response, is_reusable && written.is_ok())),
            (Err(_), Err(error)) => Err(Http1Error::Unanswered(error)),
            (Err(error), Ok(())) if self.buffer.is_empty() => Err(Http1Error::Unanswered(error)),
            (Err(error), Ok(())) => Err(Http1Error::Midway(error)),
        }
    }

    /// Fails when the connection has ended while it was idle, or when something was received meanwhile: that would not
    /// be the response to the next request.
    async fn check_silence(&mut self) -> io::Result<()> {
        let mut byte = [0];
        poll_fn(|cx| {
            let polled = Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte));
            Poll::Ready(match polled {
                Poll::Pending => Ok(()),
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed while idle")),
            })
        })
        .await
    }

    async fn write(&mut self, request: &SignedRequest<'_>) -> io::Result<()> {
        let Self { stream, buffer } = self;
        buffer.clear();
        request.write_http1_head(buffer);
        let is_together = request.body.len() <= WRITTEN_TOGETHER;
        if is_together {
            buffer.extend_from_slice(request.body);
        }
        stream.write_all(buffer).await?;
        if !is_together {
            stream.write_all(request.body).await?;
        }
        stream.flush().await
    }

    async fn read(&mut self) -> io::Result<(PostResponse, bool)> {
        let Self { stream, buffer } = self;
        buffer.clear();
        loop {
            if stream.read_buf(buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match response::read(buffer) {
                Ok(Received::Partly) => {}
                Ok(Received::Wholly { response, is_reusable }) => return Ok((response, is_reusable)),
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
        }
    }
}

impl From<Http1Error> for TransportError {
    fn from(error: Http1Error) -> Self {
        Self::Broken(error.into())
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use bytes::Bytes;
    use tokio::io::duplex;

    use super::*;
    use crate::connections_api::signature::{Method, Scope, SigningContext};

    /// Servers say "408 Request Timeout" to a connection that was idle, before they close it.
    #[tokio::test]
    async fn what_came_unasked_is_not_taken_for_the_next_answer() {
        let (stream, mut server) = duplex(1_024);
        let mut connection = Http1Connection { stream: Box::new(stream), buffer: Vec::new() };
        server.write_all(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let scope = Scope { region: "r".to_owned(), host: "host".to_owned(), path: "/live".to_owned() };
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let context = Rc::new(SigningContext::new(&credentials, &scope, 0).unwrap());
        let (path, body) = ("/live/@connections/c", Bytes::from("{}"));
        let request = SignedRequest { method: Method::Post, path, body: &body, context, signature: [b'0'; 64] };
        let exchanged = connection.exchange(&request).await;
        assert!(matches!(exchanged, Err(Http1Error::Unanswered(_))), "{exchanged:?}");
    }

    #[test]
    fn a_connection_that_was_idle_for_long_is_closed_with_all_that_were_idle_longer() {
        let endpoint = Endpoint::new("http://host/live", Duration::from_secs(1)).unwrap();
        let pool = Http1Pool::new(Rc::new(endpoint));
        let connection = || Http1Connection { stream: Box::new(duplex(1).0), buffer: Vec::new() };
        let idle_for = |seconds| (connection(), SystemTime::now() - Duration::from_secs(seconds));
        pool.idle.borrow_mut().extend([idle_for(50), idle_for(40), idle_for(20), idle_for(10)]);
        pool.release(connection());
        assert_eq!(pool.idle.borrow().len(), 3, "those that have waited for too long go as others come");
        assert!(pool.take_idle().is_some());
        *pool.idle.borrow_mut() = [idle_for(40), idle_for(31)].into();
        assert!(pool.take_idle().is_none());
        assert!(pool.idle.borrow().is_empty());
    }
}

//! HTTP/1.1: a connection for each call in flight. Each is driven by its call alone: no task, no locks.
//!
//! Requests are written here, and not by an HTTP library: they differ in a path, a signature and a body. Through `hyper`,
//! and with more of the signature made anew for each, a post took 1.8 times the CPU time of `wrk`; so it takes about as
//! much as that (`make bench`).

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

/// How long a connection may have been idle. A server that has closed it since may not have been heard: each call over
/// it would wait for its whole time.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// A body up to this size is written together with its head; copying a larger one costs more than writing it alone.
const WRITTEN_TOGETHER: usize = 4 * 1024;

/// Connections that are being opened at one time at most. Each takes a thread and a socket for DNS beside its own
/// descriptor, and an environment has 1,024 of either ("Lambda quotas").
const OPENING: usize = 32;

/// Connections that are idle, to be used again.
pub(super) struct Http1Pool {
    endpoint: Rc<Endpoint>,
    opening: Semaphore,
    /// A connection has become idle.
    released: Notify,
    /// Longest idle first. The wall clock: an environment is frozen between invocations, and other clocks may be with it.
    idle: RefCell<VecDeque<(Http1Connection, SystemTime)>>,
}

/// A turn at opening a connection; none when the semaphore is closed, which it never is.
type Turn<'a> = Result<SemaphorePermit<'a>, AcquireError>;

/// How a call comes to its connection.
enum Way<'a> {
    /// One was idle.
    Idle(Http1Connection),
    /// It may open one.
    Turn(Turn<'a>),
}

struct Http1Connection {
    stream: Box<dyn Stream>,
    /// What is written, then what is received.
    buffer: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
enum Http1Error {
    /// Nothing of one had arrived.
    #[error("the connection broke before the response: {0}")]
    Unanswered(io::Error),
    /// The server has taken the request.
    #[error("the connection broke within the response: {0}")]
    Midway(io::Error),
}

impl Http1Pool {
    pub(super) fn new(endpoint: Rc<Endpoint>) -> Self {
        Self { endpoint, opening: Semaphore::new(OPENING), released: Notify::new(), idle: RefCell::default() }
    }

    /// Makes a call over an idle connection, or over a new one. Servers close connections that were idle; a request
    /// that meets one of those is sent again at once, which is safe: clients drop frames that they have seen.
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
            // All others have been idle for longer.
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

/// The result of a step before anything is sent, if it comes in time.
async fn in_time<F: Future>(deadline: Instant, step: F) -> Result<F::Output, TransportError> {
    timeout_at(deadline, step).await.map_err(|_| TransportError::no_connection_in_time())
}

/// Whether what has been idle since then may not be used any more.
pub(super) fn is_stale(since: SystemTime) -> bool {
    since.elapsed().is_ok_and(|idle| idle > IDLE)
}

impl Http1Connection {
    /// Sends a request and reads the response to its end. Says whether the connection can be used again.
    async fn exchange(&mut self, request: &SignedRequest<'_>) -> Result<(PostResponse, bool), Http1Error> {
        self.check_silence().await.map_err(Http1Error::Unanswered)?;
        let written = self.write(request).await;
        // A server may refuse a request that it has not read to its end: then there is a response nevertheless.
        match (self.read().await, written) {
            (Ok((response, is_reusable)), written) => Ok((response, is_reusable && written.is_ok())),
            (Err(_), Err(error)) => Err(Http1Error::Unanswered(error)),
            (Err(error), Ok(())) if self.buffer.is_empty() => Err(Http1Error::Unanswered(error)),
            (Err(error), Ok(())) => Err(Http1Error::Midway(error)),
        }
    }

    /// Fails when the connection has ended while it was idle, or when something was received: whatever that is, it
    /// is not the response to the next request.
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
    use tokio::io::duplex;

    use super::*;

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

//! HTTP/2: as many sessions as the calls in flight need, with up to a hundred calls on each.
//!
//! It is built on `h2` itself: `hyper`, which is built on that too, starts a task for each request and passes the
//! request through two channels, neither of which is needed here. With `hyper`, and with more of the signature made
//! anew for each request, a post took 1.4 times the CPU time of `wrk`; now it takes about 0.6 of that (`make bench`).

use std::{cell::RefCell, rc::Rc};

use futures::{
    FutureExt,
    future::{LocalBoxFuture, Shared, WeakShared},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::{
    endpoint::{ConnectError, Endpoint, Offer},
    request::SignedRequest,
    response::PostResponse,
    session::{Session, SessionError},
    transport_error::TransportError,
};

/// The sessions to one endpoint.
pub(super) struct Http2Pool {
    endpoint: Rc<Endpoint>,
    sessions: Rc<RefCell<Vec<Rc<Session>>>>,
    /// The session that is being opened. All calls that find no room wait for the same one, and any of them drives its
    /// opening.
    opening: RefCell<Option<WeakShared<Opening>>>,
    /// Notified when a call is over, which leaves room for another.
    room: Notify,
}

type Opening = LocalBoxFuture<'static, Result<(), OpenError>>;

/// The reason why there is no new session, which all calls that wait for it share.
#[derive(Clone)]
enum OpenError {
    Connect(Rc<ConnectError>),
    Http1Only,
}

/// One call's place on a session. Dropping it gives the place back.
struct Place<'a> {
    pool: &'a Http2Pool,
    session: Rc<Session>,
}

impl Http2Pool {
    pub(super) fn new(endpoint: Rc<Endpoint>) -> Self {
        Self { endpoint, sessions: Rc::default(), opening: RefCell::default(), room: Notify::new() }
    }

    /// Makes a call. It is made again at once, but only once, when the server cannot have seen it, or when its session
    /// may have been closed while it was idle.
    pub(super) async fn send(
        &self,
        request: &SignedRequest<'_>,
        deadline: Instant,
    ) -> Result<PostResponse, TransportError> {
        let mut is_first = true;
        loop {
            let place = self.place(deadline).await?;
            let was_in_doubt = place.session.is_in_doubt();
            let error = match timeout_at(deadline, place.session.exchange(request, &self.endpoint)).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(SessionError::Unsendable)) => return Err(TransportError::Unsendable),
                Ok(Err(SessionError::Http2(error))) => error,
                Err(_) => {
                    place.session.timed_out();
                    return Err(TransportError::TimedOut);
                }
            };
            if !error.is_reset() {
                place.session.retire();
            }
            let is_closed_while_idle = was_in_doubt && !error.is_reset();
            if !is_first || !(is_closed_while_idle || is_unprocessed(&error)) {
                return Err(TransportError::Broken(error.into()));
            }
            is_first = false;
        }
    }

    /// A place on a session that has room: an open one, or a new one.
    async fn place(&self, deadline: Instant) -> Result<Place<'_>, TransportError> {
        loop {
            if let Some(place) = self.free_place() {
                return Ok(place);
            }
            let waited = timeout_at(deadline, self.session_or_room()).await;
            match waited.map_err(|_| TransportError::no_connection_in_time())? {
                Ok(()) => {}
                Err(OpenError::Http1Only) => return Err(TransportError::Http1Only),
                // Another call may be over by now and have left a place.
                Err(OpenError::Connect(error)) => return self.free_place().ok_or(error.into()),
            }
        }
    }

    /// Waits for a new session or for the end of another call.
    async fn session_or_room(&self) -> Result<(), OpenError> {
        let mut opening = self.open();
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => return opened,
                () = self.room.notified() => {}
            }
            // The last call that waits for the new session stays with it. Otherwise each would take a place that
            // becomes free, and a session that is needed again and again would never be opened.
            if opening.strong_count().is_some_and(|waiting| waiting > 1) {
                return Ok(());
            }
        }
    }

    fn free_place(&self) -> Option<Place<'_>> {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|session| session.is_usable());
        let session = sessions.iter().find(|session| session.has_room())?.clone();
        session.begin();
        Some(Place { pool: self, session })
    }

    /// Opens a session, or waits for the one that is being opened.
    fn open(&self) -> Shared<Opening> {
        let mut opening = self.opening.borrow_mut();
        if let Some(opening) = opening.as_ref().and_then(WeakShared::upgrade).filter(|opening| opening.peek().is_none())
        {
            return opening;
        }
        let (endpoint, sessions) = (self.endpoint.clone(), self.sessions.clone());
        let opened = async move {
            let session = open_session(&endpoint).await?;
            sessions.borrow_mut().push(Rc::new(session));
            Ok(())
        };
        let opened = opened.boxed_local().shared();
        *opening = opened.downgrade();
        opened
    }
}

async fn open_session(endpoint: &Endpoint) -> Result<Session, OpenError> {
    let connected = endpoint.connect(Offer::Any).await?;
    if !connected.is_http2 {
        return Err(OpenError::Http1Only);
    }
    // A server that accepts the connection and says nothing is no better than one that does not accept it.
    let opened =
        timeout(endpoint.timeout, Session::open(connected.stream)).await.map_err(|_| ConnectError::TimedOut)?;
    Ok(opened.map_err(ConnectError::from)?)
}

/// Whether the server says that it has not processed a request: it refused the stream, or was going away and would take
/// no more (RFC 9113, section 8.7).
fn is_unprocessed(error: &h2::Error) -> bool {
    let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && (error.is_go_away() || is_refused)
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.session.end();
        self.pool.room.notify_one();
    }
}

impl From<ConnectError> for OpenError {
    fn from(error: ConnectError) -> Self {
        Self::Connect(Rc::new(error))
    }
}

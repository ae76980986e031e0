//! HTTP/2: as many sessions as the calls in flight need, each for a hundred of them.
//!
//! Built on `h2` itself: `hyper` above it starts a task for each request, which it passes through two channels. There is
//! no use for either here. With them, and with more of the signature made anew for each, a post took 1.4 times the CPU
//! time of `wrk`; so it takes about 0.6 of that (`make bench`).

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
    /// Calls that find no room wait for the same new session, and whichever of them is left drives its opening.
    opening: RefCell<Option<WeakShared<Opening>>>,
    /// A call is over.
    room: Notify,
}

type Opening = LocalBoxFuture<'static, Result<(), OpenError>>;

/// Why there is no new session. All calls that wait for it share the reason.
#[derive(Clone)]
enum OpenError {
    Connect(Rc<ConnectError>),
    Http1Only,
}

/// One call's place on a session.
struct Place<'a> {
    pool: &'a Http2Pool,
    session: Rc<Session>,
}

impl Http2Pool {
    pub(super) fn new(endpoint: Rc<Endpoint>) -> Self {
        Self { endpoint, sessions: Rc::default(), opening: RefCell::default(), room: Notify::new() }
    }

    /// Makes a call. It is made again at once, and once, when the server cannot have seen it, or when its session may
    /// have been closed while it was idle.
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
                // Another call may be over by now.
                Err(OpenError::Connect(error)) => return self.free_place().ok_or(error.into()),
            }
        }
    }

    /// Waits for a new session, or for another call's end.
    async fn session_or_room(&self) -> Result<(), OpenError> {
        let mut opening = self.open();
        loop {
            tokio::select! {
                biased;
                opened = &mut opening => return opened,
                () = self.room.notified() => {}
            }
            // Whoever is the last to wait stays: a session that is needed again and again would never be opened.
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
    // A server that takes the connection and says nothing is no better than one that does not take it.
    let opened =
        timeout(endpoint.timeout, Session::open(connected.stream)).await.map_err(|_| ConnectError::TimedOut)?;
    Ok(opened.map_err(ConnectError::from)?)
}

/// Whether the server says that it has not looked at a request: it goes away after others, or refuses the stream (RFC
/// 9113, section 8.7). Or it went away before.
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

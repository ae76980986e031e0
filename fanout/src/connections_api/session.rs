//! One HTTP/2 session: a connection that carries many calls at once, and pings to notice when it is dead.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{Builder, Connection, SendRequest},
};
use http::header::RETRY_AFTER;
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{
    endpoint::{Endpoint, Stream},
    http1::is_stale,
    request::SignedRequest,
    response::{DRAINED, PostResponse},
};

/// The most calls that a session carries at once, even if the server allows more: so many fail with it when it breaks.
/// Servers allow at least a hundred (RFC 9113, section 6.5.2, recommends no less).
const STREAMS: usize = 100;

/// The time without any answer after which a session with calls in flight is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The time for the answer to a ping. After that the session is dead, and the calls on it have failed.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The number of calls in a row that may time out on a session before it gets no more calls. Pings do not show such a
/// fault: a proxy may answer them while the server behind it answers nothing.
const TIMEOUTS: u32 = 3;

type H2Connection = Connection<Box<dyn Stream>, Bytes>;

/// An open session.
pub(super) struct Session {
    sender: SendRequest<Bytes>,
    activity: Arc<Activity>,
    driver: AbortHandle,
    is_retired: Cell<bool>,
    /// Calls that timed out since the last answer.
    timeouts: Cell<u32>,
    /// The time since which the session has had no call. By the wall clock, for the reason given at the HTTP/1.1 pool.
    idle_since: Cell<SystemTime>,
    /// The session has been idle, and no answer has come since: the server may have closed it without this end hearing
    /// of it.
    is_in_doubt: Cell<bool>,
}

/// Counts of a session's calls that its driver reads. They are atomic because the driver is a task, which must be
/// `Send`.
#[derive(Default)]
struct Activity {
    in_flight: AtomicUsize,
    answers: AtomicU64,
}

/// The reason why a call over a session has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error(transparent)]
    Http2(#[from] h2::Error),
    #[error("the request cannot be expressed in HTTP/2")]
    Unsendable,
}

impl Session {
    /// Opens a session on a connection. Returns once the server has said how many streams it allows.
    pub(super) async fn open(stream: Box<dyn Stream>) -> Result<Self, h2::Error> {
        // No stream is opened before that: the server would refuse one that is too many.
        let mut builder = Builder::new();
        let (sender, mut connection) =
            builder.initial_max_send_streams(0).enable_push(false).handshake::<_, Bytes>(stream).await?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // The server closed the session before it was open.
            Poll::Ready(Ok(())) => Poll::Ready(Err(h2::Reason::NO_ERROR.into())),
            Poll::Pending if connection.max_concurrent_send_streams() == 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await?;
        let activity = Arc::new(Activity::default());
        let driver = tokio::spawn(drive(connection, activity.clone())).abort_handle();
        Ok(Self {
            sender,
            activity,
            driver,
            is_retired: Cell::new(false),
            timeouts: Cell::new(0),
            idle_since: Cell::new(SystemTime::now()),
            is_in_doubt: Cell::new(false),
        })
    }

    /// Whether the session can still take calls.
    pub(super) fn is_usable(&self) -> bool {
        let is_over = self.is_retired.get() || self.driver.is_finished();
        !is_over && (self.activity.in_flight() > 0 || !is_stale(self.idle_since.get()))
    }

    /// Whether the session can carry one more call.
    pub(super) fn has_room(&self) -> bool {
        self.activity.in_flight() < STREAMS.min(self.sender.current_max_send_streams())
    }

    /// Whether the server may have closed the session while it was idle.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_in_doubt.get()
    }

    /// Keeps new calls off the session; those under way go on.
    pub(super) fn retire(&self) {
        self.is_retired.set(true);
    }

    /// Counts a call that begins.
    pub(super) fn begin(&self) {
        self.activity.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts off a call that is over, with or without a response.
    pub(super) fn end(&self) {
        if self.activity.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.idle_since.set(SystemTime::now());
            self.is_in_doubt.set(true);
        }
    }

    /// Counts a call that has timed out, and retires the session after [`TIMEOUTS`] in a row.
    pub(super) fn timed_out(&self) {
        self.timeouts.set(self.timeouts.get() + 1);
        if self.timeouts.get() >= TIMEOUTS {
            self.retire();
        }
    }

    /// Makes a call. Dropping the future resets its stream.
    pub(super) async fn exchange(
        &self,
        request: &SignedRequest<'_>,
        endpoint: &Endpoint,
    ) -> Result<PostResponse, SessionError> {
        let head = request.http2_head(endpoint).ok_or(SessionError::Unsendable)?;
        // The sender is cloned for each call: a shared one would remember the call before this one as pending.
        let (response, mut body) = self.sender.clone().send_request(head, request.body.is_empty())?;
        if !request.body.is_empty() {
            body.send_data(request.body.clone(), true)?;
        }
        let response = response.await?;
        self.timeouts.set(0);
        self.is_in_doubt.set(false);
        self.activity.answers.fetch_add(1, Ordering::Relaxed);
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let answer = PostResponse { status: response.status().as_u16(), retry_after: retry_after.map(str::to_owned) };
        let mut body = response.into_body();
        let mut read = 0;
        // Dropping a body before its end resets the stream.
        while read <= DRAINED && !body.is_end_stream() {
            let Some(data) = body.data().await else { break };
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
            read += length;
        }
        Ok(answer)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nobody waits for anything on the session any more. Without this the driver of a dead one would hold its
        // socket until the last bytes were acknowledged.
        self.driver.abort();
    }
}

impl Activity {
    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

/// Drives a session until it ends or is found dead: it is pinged when calls wait and nothing is heard.
async fn drive(mut connection: H2Connection, activity: Arc<Activity>) {
    let pings = connection.ping_pong();
    tokio::select! {
        // Answers that have arrived are taken in before a ping is given up.
        biased;
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP/2 session has broken");
        },
        () = death(pings, &activity) => tracing::debug!("an HTTP/2 session is dead: it answers no ping"),
    }
}

/// Pings the session when calls wait in silence; returns when it is dead.
async fn death(pings: Option<PingPong>, activity: &Activity) {
    // `h2` hands its pings out once, and the session's only driver takes them: they are always there.
    let Some(mut pings) = pings else { return std::future::pending().await };
    loop {
        let answers = activity.answers();
        sleep(PING_INTERVAL).await;
        // An answer to a call shows as much as an answer to a ping.
        if activity.in_flight() == 0 || activity.answers() != answers {
            continue;
        }
        match timeout(PING_TIMEOUT, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use aws_credential_types::Credentials;
    use h2::server::SendResponse;
    use http::Response;
    use tokio::{io::duplex, time::Instant};

    use super::*;
    use crate::connections_api::signature::{Method, Scope, SigningContext};

    /// The server's reaction to a request.
    #[derive(Clone, Copy)]
    enum Server {
        AnswersAfter(Duration),
        /// An answer at once, and its body a KiB at a time; each that the client has taken is counted.
        Streams(usize, &'static AtomicUsize),
        /// It says nothing more on the whole connection.
        Dies,
    }

    async fn session(server: Server) -> Session {
        let (client, stream) = duplex(64 * 1024);
        tokio::spawn(async move {
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, respond))) = connection.accept().await {
                match server {
                    Server::Dies => std::future::pending().await,
                    server => drop(tokio::spawn(answer(server, respond))),
                }
            }
        });
        Session::open(Box::new(client)).await.unwrap()
    }

    async fn answer(server: Server, mut respond: SendResponse<Bytes>) {
        match server {
            Server::AnswersAfter(time) => {
                sleep(time).await;
                respond.send_response(Response::new(()), true).unwrap();
            }
            Server::Streams(length, taken) => {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                for left in (0..length).rev() {
                    // It fails when the client has reset the stream.
                    if body.send_data(Bytes::from_static(&[b'x'; 1_024]), left == 0).is_err() {
                        break;
                    }
                    taken.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(1)).await;
                }
            }
            Server::Dies => {}
        }
    }

    /// Makes a call, as the pool does.
    async fn call(session: &Session) -> Result<PostResponse, SessionError> {
        let endpoint = Endpoint::new("http://host/live", Duration::from_secs(1)).unwrap();
        let scope = Scope { region: "r".to_owned(), host: "host".to_owned(), path: endpoint.path.clone() };
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let context = Rc::new(SigningContext::new(&credentials, &scope, 0).unwrap());
        let body = Bytes::from("{}");
        let path = "/live/@connections/c";
        let request = SignedRequest { method: Method::Post, path, body: &body, context, signature: [b'0'; 64] };
        session.begin();
        let result = session.exchange(&request, &endpoint).await;
        session.end();
        result
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_answers_no_ping_is_dead() {
        let session = session(Server::Dies).await;
        let started = Instant::now();
        assert!(matches!(call(&session).await, Err(SessionError::Http2(error)) if error.is_io()));
        assert!(started.elapsed() <= PING_INTERVAL * 2 + PING_TIMEOUT, "{:?}", started.elapsed());
        assert!(!session.is_usable());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_answers_pings_is_waited_for() {
        let session = session(Server::AnswersAfter(Duration::from_secs(60))).await;
        assert_eq!(call(&session).await.unwrap().status, 200);
        assert!(session.is_usable());
    }

    /// Of a server that answers calls and no pings.
    #[tokio::test(start_paused = true)]
    async fn an_answer_to_a_call_is_as_good_as_one_to_a_ping() {
        let (stream, _silent) = duplex(64 * 1024);
        let (_sender, mut connection) = Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
        let activity = Activity::default();
        activity.in_flight.store(1, Ordering::Relaxed);
        let mut death = std::pin::pin!(death(connection.ping_pong(), &activity));
        for _ in 0..60 {
            activity.answers.fetch_add(1, Ordering::Relaxed);
            assert!(timeout(PING_INTERVAL / 2, &mut death).await.is_err(), "it is heard of");
        }
        let last = Instant::now();
        death.await;
        assert!(last.elapsed() <= PING_INTERVAL * 2 + PING_TIMEOUT, "{:?}", last.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn the_body_of_an_answer_is_read_to_its_end_or_up_to_a_bound() {
        static SHORT: AtomicUsize = AtomicUsize::new(0);
        static ENDLESS: AtomicUsize = AtomicUsize::new(0);
        for (length, taken, expected) in [(3, &SHORT, 3..=3), (usize::MAX, &ENDLESS, 17..=19)] {
            let session = session(Server::Streams(length, taken)).await;
            let answer = timeout(Duration::from_secs(60), call(&session)).await.expect("a bound");
            assert_eq!(answer.unwrap().status, 200);
            sleep(Duration::from_secs(1)).await;
            let taken = taken.load(Ordering::Relaxed);
            assert!(expected.contains(&taken), "{taken} KiB of a body of {length}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_without_calls_is_not_pinged() {
        let session = session(Server::Dies).await;
        sleep(Duration::from_secs(3_600)).await;
        assert!(session.is_usable(), "by the wall clock no time has passed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_was_idle_for_long_is_not_used_any_more() {
        let session = session(Server::AnswersAfter(Duration::ZERO)).await;
        assert!(!session.is_in_doubt(), "it has just been opened");
        call(&session).await.unwrap();
        assert!(session.is_usable() && session.is_in_doubt());
        session.idle_since.set(SystemTime::now() - Duration::from_secs(31));
        assert!(!session.is_usable());
    }

    #[tokio::test(start_paused = true)]
    async fn only_timeouts_without_an_answer_in_between_count() {
        let session = session(Server::AnswersAfter(Duration::ZERO)).await;
        for _ in 0..5 {
            (1..TIMEOUTS).for_each(|_| session.timed_out());
            assert!(session.is_usable());
            call(&session).await.unwrap();
        }
        (0..TIMEOUTS).for_each(|_| session.timed_out());
        assert!(!session.is_usable());
    }
}

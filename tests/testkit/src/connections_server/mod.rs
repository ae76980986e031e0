//! A scripted `@connections` endpoint, as API Gateway has one for each WebSocket API.
//!
//! It serves `POST`, `GET` and `DELETE` on `/{stage}/@connections/{id}` under any prefix. The answers of posts are
//! scripted for each connection, and requests are recorded for each connection, in order of arrival.

mod record;
mod script;
mod scripted;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use percent_encoding::percent_decode_str;
use tokio::sync::watch;

use crate::http_server::{Answer, Handler, HttpServer, KeepAlive, Reply, Request};
use crate::sigv4::{self, Expected};
use crate::token_bucket::TokenBucket;

pub use record::{Attempt, ConnectionRecord, Record};
pub use script::Script;
pub use scripted::Scripted;

/// The running server.
#[derive(Debug)]
pub struct ConnectionsServer {
    server: HttpServer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    held: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    started: Instant,
    scripts: HashMap<String, Script>,
    default_script: DefaultScript,
    delete_scripts: HashMap<String, Script>,
    get_scripts: HashMap<String, Script>,
    deleted: HashSet<String>,
    latency: Duration,
    bucket: Option<TokenBucket>,
    signatures: Option<Expected>,
    expired_keys: HashSet<String>,
    keep_requests: bool,
    record: Record,
}

/// Makes the script of a connection that has none of its own.
struct DefaultScript(Box<dyn Fn(&str) -> Script + Send>);

impl std::fmt::Debug for DefaultScript {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("DefaultScript")
    }
}

impl ConnectionsServer {
    /// Starts on a free port; every post is answered 200.
    pub fn start() -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                started: Instant::now(),
                scripts: HashMap::new(),
                default_script: DefaultScript(Box::new(|_| Script::always(Scripted::ok()))),
                delete_scripts: HashMap::new(),
                get_scripts: HashMap::new(),
                deleted: HashSet::new(),
                latency: Duration::ZERO,
                bucket: None,
                signatures: None,
                expired_keys: HashSet::new(),
                keep_requests: true,
                record: Record::default(),
            }),
            held: watch::Sender::new(false),
        });
        let server = HttpServer::start(0, Connections(Arc::clone(&shared))).expect("a free port");
        Self { server, shared }
    }

    /// The value for `CONNECTIONS_ENDPOINT`: the URL of a stage.
    pub fn endpoint(&self) -> String {
        format!("{}/production", self.server.url())
    }

    /// Scripts the posts to one connection.
    pub fn script(&self, connection_id: &str, script: Script) {
        self.state(|state| state.scripts.insert(connection_id.to_owned(), script));
    }

    /// Scripts the posts to every connection without a script of its own; each gets the script made for it at
    /// its first post.
    pub fn script_others(&self, script: impl Fn(&str) -> Script + Send + 'static) {
        self.state(|state| state.default_script = DefaultScript(Box::new(script)));
    }

    /// Scripts the deletes of one connection; otherwise they are answered 204.
    pub fn script_deletes(&self, connection_id: &str, script: Script) {
        self.state(|state| state.delete_scripts.insert(connection_id.to_owned(), script));
    }

    /// Scripts the `GET`s of one connection; otherwise they are answered 200, or 410 when it is closed.
    pub fn script_gets(&self, connection_id: &str, script: Script) {
        self.state(|state| state.get_scripts.insert(connection_id.to_owned(), script));
    }

    /// Closes a connection: every request about it is answered 410 from now on.
    pub fn close(&self, connection_id: &str) {
        self.state(|state| state.deleted.insert(connection_id.to_owned()));
    }

    /// Delays every answer, in addition to the scripts. Only with a delay are posts seen in flight side by side.
    pub fn set_latency(&self, latency: Duration) {
        self.state(|state| state.latency = latency);
    }

    /// Answers 429 to every post beyond `rate` a second with bursts of `burst`, over all connections and clients
    /// together, as the account's quota does. Such a post takes no step of its connection's script.
    pub fn limit_rate(&self, rate: f64, burst: f64) {
        self.state(|state| state.bucket = Some(TokenBucket::new(rate, burst, Instant::now())));
    }

    /// From now on answers 403 to requests whose signature is wrong, and counts them. Their date must be near this
    /// machine's clock, whatever [`Expected::now`] says.
    pub fn verify_signatures(&self, expected: Expected) {
        self.state(|state| state.signatures = Some(expected));
    }

    /// From now on answers 403 `ExpiredTokenException` to requests signed with this access key.
    pub fn expire_access_key(&self, access_key: &str) {
        self.state(|state| state.expired_keys.insert(access_key.to_owned()));
    }

    /// Sets how long TCP connections opened from now on are kept.
    pub fn set_keep_alive(&self, keep_alive: KeepAlive) {
        self.server.set_keep_alive(keep_alive);
    }

    /// Keeps counts only, not requests: for rooms so large that the requests would fill the memory.
    pub fn keep_counts_only(&self) {
        self.state(|state| state.keep_requests = false);
    }

    /// Accepts posts, but answers none of them until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Ends [`hold`](Self::hold).
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// The number of TCP connections that clients have opened so far.
    pub fn tcp_connections(&self) -> u64 {
        self.server.accepted()
    }

    /// A copy of everything recorded so far.
    pub fn record(&self) -> Record {
        self.state(|state| state.record.clone())
    }

    /// A copy of the record of one connection; empty when nothing came for it.
    pub fn connection(&self, connection_id: &str) -> ConnectionRecord {
        self.state(|state| state.record.connections.get(connection_id).cloned().unwrap_or_default())
    }

    /// The bodies delivered to one connection (answered 2xx), as text, in order of arrival.
    pub fn delivered(&self, connection_id: &str) -> Vec<String> {
        let record = self.connection(connection_id);
        let delivered = record.attempts.iter().filter(|attempt| attempt.delivered());
        delivered.map(|attempt| String::from_utf8_lossy(&attempt.request.body).into_owned()).collect()
    }

    /// The time since the server's start, by which posts say when they arrived.
    pub fn now(&self) -> Duration {
        self.state(|state| state.started.elapsed())
    }

    /// Waits until the record satisfies a condition.
    ///
    /// # Panics
    /// When it does not within the given time.
    pub async fn wait_until(&self, what: &str, within: Duration, condition: impl Fn(&Record) -> bool) {
        let deadline = Instant::now() + within;
        while !self.state(|state| condition(&state.record)) {
            assert!(Instant::now() < deadline, "not within {within:?}: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn state<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.shared.state.lock().unwrap())
    }
}

struct Connections(Arc<Shared>);

impl Handler for Connections {
    async fn handle(&self, request: Request) -> Answer {
        let Some(connection_id) = connection_id(request.path()) else {
            let body = r#"{"message":"Missing Authentication Token"}"#;
            let reply = Reply::with_body(403, "application/json", body);
            return reply.header("x-amzn-errortype", "MissingAuthenticationTokenException").into();
        };
        match request.method.as_str() {
            "POST" => self.post(connection_id, request).await,
            "DELETE" => self.delete(&connection_id, &request).await,
            "GET" => self.get(&connection_id, &request),
            _ => Reply::empty(405).into(),
        }
    }
}

impl Connections {
    async fn post(&self, connection_id: String, request: Request) -> Answer {
        let (answer, latency, in_flight) = {
            let mut state = self.0.state.lock().unwrap();
            let answer = state.post_answer(&connection_id, &request);
            let attempt = state.begin_post(&connection_id, request);
            let in_flight = InFlight { shared: &self.0, connection_id, attempt, status: None };
            (answer, state.latency, in_flight)
        };
        self.released().await;
        in_flight.answer(answer, latency).await
    }

    async fn delete(&self, connection_id: &str, request: &Request) -> Answer {
        let answer = {
            let mut state = self.0.state.lock().unwrap();
            state.record.connection(connection_id).deletes += 1;
            let refused = state.refusal(request);
            let scripted = state.delete_scripts.get_mut(connection_id).map(Script::next);
            let answer = refused.or(scripted).unwrap_or_else(|| {
                Scripted::answering(Reply::empty(if state.deleted.contains(connection_id) { 410 } else { 204 }))
            });
            if answer.status() == Some(204) {
                state.deleted.insert(connection_id.to_owned());
            }
            answer
        };
        answer.answer(Duration::ZERO).await
    }

    fn get(&self, connection_id: &str, request: &Request) -> Answer {
        let mut state = self.0.state.lock().unwrap();
        state.record.connection(connection_id).gets += 1;
        if let Some(refusal) = state.refusal(request) {
            return refusal.into_answer();
        }
        if state.deleted.contains(connection_id) {
            return Scripted::gone().into_answer();
        }
        let scripted = state.get_scripts.get_mut(connection_id).map(Script::next);
        if let Some(answer) = scripted.filter(|answer| answer.status() != Some(200)) {
            return answer.into_answer();
        }
        let body = r#"{"connectedAt":"2026-01-01T00:00:00Z","identity":{"sourceIp":"127.0.0.1","userAgent":"test"},"lastActiveAt":"2026-01-01T00:00:00Z"}"#;
        Reply::with_body(200, "application/json", body).into()
    }

    async fn released(&self) {
        let mut held = self.0.held.subscribe();
        // The sender lives as long as this handler.
        let _ = held.wait_for(|held| !held).await;
    }
}

impl State {
    fn post_answer(&mut self, connection_id: &str, request: &Request) -> Scripted {
        if let Some(refusal) = self.refusal(request) {
            return refusal;
        }
        if self.bucket.as_mut().is_some_and(|bucket| !bucket.try_take(Instant::now())) {
            self.record.over_rate += 1;
            return Scripted::throttled();
        }
        if self.deleted.contains(connection_id) {
            return Scripted::gone();
        }
        if let Some(script) = self.scripts.get_mut(connection_id) {
            return script.next();
        }
        let mut script = (self.default_script.0)(connection_id);
        let answer = script.next();
        self.scripts.insert(connection_id.to_owned(), script);
        answer
    }

    /// The refusal of a request before its connection is looked at, if it is refused.
    fn refusal(&mut self, request: &Request) -> Option<Scripted> {
        if sigv4::access_key(request).is_some_and(|key| self.expired_keys.contains(key)) {
            return Some(Scripted::expired_token());
        }
        let expected = self.signatures.as_mut()?;
        expected.now = Some(SystemTime::now());
        let error = sigv4::verify(request, expected).err()?;
        self.record.signature_errors.push(error);
        Some(Scripted::invalid_signature())
    }

    fn begin_post(&mut self, connection_id: &str, request: Request) -> usize {
        let arrived = request.arrived.saturating_duration_since(self.started);
        let request = self.keep_requests.then_some(request);
        self.record.begin_post(connection_id, request, arrived)
    }
}

/// A post that is being answered. Dropping it ends the post, even when the client goes away first.
struct InFlight<'a> {
    shared: &'a Shared,
    connection_id: String,
    attempt: usize,
    status: Option<u16>,
}

impl InFlight<'_> {
    async fn answer(mut self, answer: Scripted, latency: Duration) -> Answer {
        let status = answer.status();
        let answer = answer.answer(latency).await;
        if matches!(answer, Answer::Hang) {
            // The post stays in flight for as long as the client waits.
            std::future::pending::<()>().await;
        }
        self.status = status;
        answer
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock().unwrap();
        let now = state.started.elapsed();
        state.record.end_post(&self.connection_id, self.attempt, self.status, now);
    }
}

/// The connection id in `/any/prefix/@connections/{id}`, decoded. Clients may encode the `@`.
fn connection_id(path: &str) -> Option<String> {
    let encoded = ["/@connections/", "/%40connections/"].iter().find_map(|marker| {
        let (_, id) = path.split_once(marker)?;
        (!id.is_empty() && !id.contains('/')).then_some(id)
    })?;
    Some(percent_decode_str(encoded).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests;

//! A front for any AWS service with a JSON protocol, which records calls and makes them fail.
//!
//! Each call is recorded with its operation and its body. The first [`Rule`] that matches decides what goes wrong with
//! it. Otherwise, or for the rest of it, the call goes to a [`Backend`]: a real implementation, or a fake.

mod fault;
mod forward;
mod hold;

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http_server::{Answer, Handler, HttpServer, Reply, Request};

pub(crate) use fault::transaction_cancelled;
pub use fault::{Fault, Partial, Rule};
pub use forward::Forward;
pub use hold::Hold;

/// One call as it was recorded.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its position in the order of arrival of all calls, from 0.
    pub number: usize,
    /// The part of `x-amz-target` after the dot, such as `SendMessage`; `{method} {path}` for a call without a target.
    pub operation: String,
    /// The body; `null` when it is not JSON.
    pub body: Value,
    /// The whole request.
    pub request: Request,
    /// When it arrived, since the endpoint's start.
    pub arrived: Duration,
    /// The status of its answer; `None` while it is under way, and when it got none.
    pub status: Option<u16>,
    /// Whether a rule decided about it.
    pub faulted: bool,
}

/// Answers calls that no fault has answered.
pub trait Backend: Send + Sync + 'static {
    /// Answers one call.
    fn call(&self, operation: &str, body: &Value, request: &Request) -> impl Future<Output = Reply> + Send;
}

/// The running endpoint.
#[derive(Debug)]
pub struct AwsEndpoint {
    server: HttpServer,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    calls: Mutex<Vec<Call>>,
    rules: Mutex<Vec<Rule>>,
    /// Calls that the backend is carrying out.
    under_way: AtomicUsize,
}

/// The longest wait for a call that always comes on a machine that is merely busy; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The path of a request that is not a call: it is answered when everything that was sent before it has been read.
const BARRIER: &str = "/barrier";

impl AwsEndpoint {
    /// Starts on a free port.
    pub fn start(backend: impl Backend) -> Self {
        let shared = Arc::new(Shared {
            started: Instant::now(),
            calls: Mutex::default(),
            rules: Mutex::default(),
            under_way: AtomicUsize::new(0),
        });
        let server = HttpServer::start(0, Front { backend: Arc::new(backend), shared: Arc::clone(&shared) })
            .expect("a free port");
        Self { server, shared }
    }

    /// Starts in front of the service at this URL.
    pub fn in_front_of(url: &str) -> Self {
        Self::start(Forward::new(url))
    }

    /// The value for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Adds a rule. Of several that match a call, the one added first decides.
    pub fn fault(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// Takes every rule away.
    pub fn clear_faults(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    /// Every call so far, in order of arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// The calls of one operation, in order of arrival.
    pub fn calls_of(&self, operation: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.operation == operation).collect()
    }

    /// The number of calls of one operation so far.
    pub fn count(&self, operation: &str) -> usize {
        self.shared.calls.lock().unwrap().iter().filter(|call| call.operation == operation).count()
    }

    /// The operations called so far, in order of arrival, for tests of exactly which calls are made.
    pub fn operations(&self) -> Vec<String> {
        self.shared.calls.lock().unwrap().iter().map(|call| call.operation.clone()).collect()
    }

    /// Waits until everything that was sent to the endpoint is carried out, even if nobody waits for the answer any
    /// more. The server reads its connections in the order in which they become readable: an answer to a request behind
    /// all others shows that those have been read. A first request before that lets the clients of this thread send
    /// what they have ready.
    ///
    /// # Panics
    /// When the endpoint does not answer.
    pub async fn settled(&self) {
        for _ in 0..2 {
            let mut stream = tokio::net::TcpStream::connect(self.server.address()).await.unwrap();
            let request = format!("GET {BARRIER} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
        }
        while self.shared.under_way.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until the calls so far satisfy a condition.
    ///
    /// # Panics
    /// When they do not within a minute.
    pub async fn wait_until(&self, what: &str, condition: impl Fn(&[Call]) -> bool) {
        let started = Instant::now();
        while !condition(&self.shared.calls.lock().unwrap()) {
            assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until so many calls of one operation have arrived.
    ///
    /// # Panics
    /// When they do not within a minute.
    pub async fn wait_for(&self, operation: &str, count: usize) {
        let has_arrived = |calls: &[Call]| calls.iter().filter(|call| call.operation == operation).count() >= count;
        self.wait_until(&format!("{count} calls of {operation}"), has_arrived).await;
    }

    /// Forgets the calls so far; rules stay.
    pub fn clear_calls(&self) {
        self.shared.calls.lock().unwrap().clear();
    }
}

struct Front<B> {
    backend: Arc<B>,
    shared: Arc<Shared>,
}

impl<B: Backend> Handler for Front<B> {
    async fn handle(&self, request: Request) -> Answer {
        if request.path() == BARRIER {
            return Reply::empty(204).into();
        }
        let body = serde_json::from_slice(&request.body).unwrap_or_default();
        let call = Call {
            number: 0,
            operation: operation(&request),
            body,
            arrived: request.arrived.saturating_duration_since(self.shared.started),
            request,
            status: None,
            faulted: false,
        };
        let fault = self.shared.rules.lock().unwrap().iter_mut().find_map(|rule| rule.decide(&call));
        let number = self.shared.record(&call, fault.is_some());
        let answer = self.answer(&call, fault).await;
        if let Answer::Reply(reply) = &answer {
            self.shared.set_status(number, reply.status);
        }
        answer
    }
}

impl<B: Backend> Front<B> {
    async fn answer(&self, call: &Call, fault: Option<Fault>) -> Answer {
        match fault {
            None => self.forward(call, &call.body).await.into(),
            Some(Fault::Reply(reply)) => reply.into(),
            Some(Fault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                self.forward(call, &call.body).await.into()
            }
            Some(Fault::Held(hold)) => {
                hold.released().await;
                self.forward(call, &call.body).await.into()
            }
            Some(Fault::Hang) => Answer::Hang,
            Some(Fault::DropBefore) => Answer::Reset,
            Some(Fault::DropAfter) => {
                self.forward(call, &call.body).await;
                Answer::Reset
            }
            Some(Fault::Partial(partial)) => {
                let (body, held_back) = partial.hold_back(&call.operation, &call.body);
                let reply = if Partial::nothing_left(&body) {
                    Partial::empty_reply(&call.operation)
                } else {
                    self.forward(call, &body).await
                };
                held_back.add_to(&call.operation, reply).into()
            }
        }
    }

    /// Carries out a call in a task, because a service carries out calls that have reached it whether or not the client
    /// waits for the answer.
    async fn forward(&self, call: &Call, body: &Value) -> Reply {
        let (backend, shared) = (Arc::clone(&self.backend), Arc::clone(&self.shared));
        let (operation, body, request) = (call.operation.clone(), body.clone(), call.request.clone());
        shared.under_way.fetch_add(1, Ordering::SeqCst);
        let carried_out = tokio::spawn(async move {
            let reply = backend.call(&operation, &body, &request).await;
            shared.under_way.fetch_sub(1, Ordering::SeqCst);
            reply
        });
        carried_out.await.expect("a backend that answers")
    }
}

impl Shared {
    fn record(&self, call: &Call, faulted: bool) -> usize {
        let mut calls = self.calls.lock().unwrap();
        let number = calls.len();
        calls.push(Call { number, faulted, ..call.clone() });
        number
    }

    fn set_status(&self, number: usize, status: u16) {
        // The call is missing when the record was cleared while it was under way.
        if let Some(call) = self.calls.lock().unwrap().get_mut(number) {
            call.status = Some(status);
        }
    }
}

fn operation(request: &Request) -> String {
    let target = request.header("x-amz-target").and_then(|target| target.rsplit_once('.'));
    target.map_or_else(|| format!("{} {}", request.method, request.path()), |(_, operation)| operation.to_owned())
}

/// An error in the form of AWS's JSON protocols.
pub fn error_reply(status: u16, kind: &str, message: &str) -> Reply {
    let body = serde_json::json!({ "__type": kind, "message": message });
    json_reply(status, &body)
}

/// A JSON response.
pub fn json_reply(status: u16, body: &Value) -> Reply {
    Reply::with_body(status, "application/x-amz-json-1.0", body.to_string())
}

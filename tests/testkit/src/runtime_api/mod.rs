//! The Lambda Runtime API: runs a real bootstrap as Lambda would, feeds it events and measures it.
//!
//! A [`Function`] is a program with its variables. Each [`Environment`] started from it is one process with an API
//! server of its own, which handles one event at a time. Several environments side by side are what Lambda scales to.

mod function;
mod process;
mod usage;

use std::collections::HashMap;
use std::fmt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::http_server::{Answer, Handler, HttpServer, Reply, Request};
use process::Process;

pub use function::Function;
pub use usage::Usage;

/// The longest wait for something that always comes on a machine that is merely busy; only a failing test waits so
/// long. A bootstrap has it, too, to ask for its first event, where Lambda gives ten seconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn init_error(process: &Process, shared: &Shared, status: Option<ExitStatus>) -> InitError {
    let reported = shared.init_error.lock().unwrap().take();
    InitError { status, reported, output: process.output().join("\n") }
}

/// The reason why an environment did not start.
#[derive(Clone, Debug)]
pub struct InitError {
    /// The exit status of the process; `None` when it was still running after a minute.
    pub status: Option<ExitStatus>,
    /// The error that it reported to the Runtime API, if it did.
    pub reported: Option<Value>,
    /// Its standard output and standard error.
    pub output: String,
}

impl fmt::Display for InitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(formatter, "the bootstrap ended with {status}: {}", self.output),
            None => write!(formatter, "the bootstrap asked for no event within {PATIENCE:?}: {}", self.output),
        }
    }
}

impl std::error::Error for InitError {}

/// One event handled.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The function's response, or its failure.
    pub result: Result<Value, InvocationError>,
    /// The time between handing out the event and the arrival of the response.
    pub wall: Duration,
    /// The process's usage in that time.
    pub usage: Usage,
}

impl Invocation {
    /// The response.
    ///
    /// # Panics
    /// When the invocation failed.
    pub fn response(&self) -> &Value {
        self.result.as_ref().unwrap_or_else(|error| panic!("the invocation failed: {error}"))
    }
}

/// The failure of an invocation.
#[derive(Clone, Debug)]
pub enum InvocationError {
    /// The function returned an error: `{errorType, errorMessage, ...}`.
    Function(Value),
    /// No response before the deadline, nor for [`Function::lateness`] after it. The environment has ended.
    TimedOut,
    /// The process ended; its status and output.
    Ended(ExitStatus, String),
}

impl fmt::Display for InvocationError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(error) => write!(formatter, "the function returned {error}"),
            Self::TimedOut => formatter.write_str("no response before the deadline, nor later"),
            Self::Ended(status, output) => write!(formatter, "the process ended with {status}: {output}"),
        }
    }
}

impl std::error::Error for InvocationError {}

/// One running process, like an execution environment of Lambda. Dropping it kills the process.
#[derive(Debug)]
pub struct Environment {
    // Dropped before the server: a bootstrap complains when its Runtime API is gone.
    process: Process,
    _server: HttpServer,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<Event>,
    timeout: Duration,
    lateness: Duration,
    init: Duration,
    invoked: Mutex<u64>,
}

impl Environment {
    /// Hands the process an event and waits for the outcome.
    pub async fn invoke(&self, event: &Value) -> Invocation {
        self.invoke_within(event, self.timeout).await
    }

    /// Like [`invoke`](Self::invoke), with a deadline of its own.
    pub async fn invoke_within(&self, event: &Value, timeout: Duration) -> Invocation {
        let request_id = {
            let mut invoked = self.invoked.lock().unwrap();
            *invoked += 1;
            format!("00000000-0000-4000-9000-{:012}", *invoked)
        };
        let (sender, outcome) = oneshot::channel();
        self.shared.waiting.lock().unwrap().insert(request_id.clone(), Waiting { taken: None, sender });
        let before = self.usage();
        let deadline = SystemTime::now() + timeout;
        let body = event.to_string();
        let started = Instant::now();
        self.events.send(Event { request_id: request_id.clone(), deadline, body }).expect("the server runs");
        let ended = |result| (result, started.elapsed());
        let (result, wall) = tokio::select! {
            // The outcome is polled first: a process may answer and then end.
            biased;
            outcome = outcome => {
                let outcome = outcome.expect("the server runs");
                (outcome.result.map_err(InvocationError::Function), outcome.wall)
            }
            status = self.process.ended() => {
                ended(Err(InvocationError::Ended(status, self.process.output().join("\n"))))
            }
            () = tokio::time::sleep(timeout + self.lateness) => {
                self.process.kill();
                ended(Err(InvocationError::TimedOut))
            }
        };
        self.shared.waiting.lock().unwrap().remove(&request_id);
        Invocation { result, wall, usage: self.usage().since(&before) }
    }

    /// The time from the process's start until it asked for the first event.
    pub fn init_time(&self) -> Duration {
        self.init
    }

    /// The process's usage since its start; the last known values once it has ended.
    pub fn usage(&self) -> Usage {
        self.process.usage()
    }

    /// Starts the measurement of the peak memory anew, where the kernel supports it; elsewhere the peak stays that of
    /// the whole life.
    pub fn reset_peak_memory(&self) {
        self.process.reset_peak_memory();
    }

    /// The lines of the structured log (JSON objects) that have been read so far. They come through a pipe and may be
    /// late, even after the response: to look for one, wait for it with [`logged`](Self::logged).
    pub fn log(&self) -> Vec<Value> {
        log_of(&self.process.output())
    }

    /// The lines of the structured log that satisfy a condition, once there are so many.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn logged(&self, count: usize, is_wished: impl Fn(&Value) -> bool) -> Vec<Value> {
        let wished = |lines: &[String]| {
            let mut log = log_of(lines);
            log.retain(&is_wished);
            log
        };
        let all_there = self.process.wait_for_output(|lines| wished(lines).len() >= count);
        let _ = tokio::time::timeout(PATIENCE, all_there).await;
        let log = wished(&self.process.output());
        assert!(log.len() >= count, "of {count} lines there are {log:?} in {:?}", self.process.output());
        log
    }

    /// Ends the process; returns everything that it has written to standard output and standard error.
    pub fn end(self) -> Vec<String> {
        self.process.kill();
        self.process.join_readers();
        self.process.output()
    }
}

fn log_of(lines: &[String]) -> Vec<Value> {
    lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(Value::is_object).collect()
}

#[derive(Debug)]
struct Event {
    request_id: String,
    deadline: SystemTime,
    body: String,
}

#[derive(Debug)]
struct Waiting {
    taken: Option<Instant>,
    sender: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
struct Outcome {
    result: Result<Value, Value>,
    wall: Duration,
}

#[derive(Debug)]
struct Shared {
    queue: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    waiting: Mutex<HashMap<String, Waiting>>,
    ready: Notify,
    init_error: Mutex<Option<Value>>,
    trace: String,
}

struct Api(Arc<Shared>);

impl Handler for Api {
    async fn handle(&self, request: Request) -> Answer {
        let path = request.path().strip_prefix("/2018-06-01/runtime/").unwrap_or_default().to_owned();
        match path.split('/').collect::<Vec<_>>()[..] {
            ["invocation", "next"] => self.next().await,
            ["invocation", request_id, "response"] => self.finish(request_id, &request, Ok),
            ["invocation", request_id, "error"] => self.finish(request_id, &request, Err),
            ["init", "error"] => {
                *self.0.init_error.lock().unwrap() = Some(json(&request));
                self.0.ready.notify_one();
                Reply::with_body(202, "application/json", r#"{"status":"OK"}"#).into()
            }
            _ => Reply::empty(404).into(),
        }
    }
}

impl Api {
    async fn next(&self) -> Answer {
        self.0.ready.notify_one();
        let Some(event) = self.0.queue.lock().await.recv().await else {
            // The environment is being dropped.
            return Answer::Close;
        };
        if let Some(waiting) = self.0.waiting.lock().unwrap().get_mut(&event.request_id) {
            waiting.taken = Some(Instant::now());
        }
        let deadline = event.deadline.duration_since(UNIX_EPOCH).unwrap().as_millis().to_string();
        let reply = Reply::with_body(200, "application/json", event.body)
            .header("lambda-runtime-aws-request-id", &event.request_id)
            .header("lambda-runtime-deadline-ms", &deadline)
            .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:000000000000:function:test")
            .header("lambda-runtime-trace-id", &self.0.trace);
        reply.into()
    }

    fn finish(&self, request_id: &str, request: &Request, result: fn(Value) -> Result<Value, Value>) -> Answer {
        let Some(waiting) = self.0.waiting.lock().unwrap().remove(request_id) else {
            let body = r#"{"errorType":"InvalidRequestID","errorMessage":"no such invocation is under way"}"#;
            return Reply::with_body(400, "application/json", body).into();
        };
        let taken = waiting.taken.unwrap_or(request.arrived);
        let wall = request.arrived.saturating_duration_since(taken);
        // The test may have stopped waiting.
        let _ = waiting.sender.send(Outcome { result: result(json(request)), wall });
        Reply::with_body(202, "application/json", r#"{"status":"OK"}"#).into()
    }
}

/// A response as JSON; one that is not JSON becomes a text.
fn json(request: &Request) -> Value {
    let text = || Value::String(String::from_utf8_lossy(&request.body).into_owned());
    serde_json::from_slice(&request.body).unwrap_or_else(|_| text())
}

#[cfg(test)]
mod tests;

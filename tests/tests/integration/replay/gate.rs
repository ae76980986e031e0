//! The gate in front of the calls that a step of the model stands for: each waits there until the step is taken.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fanout::connections_api::Outcome;
use serde_json::Value;
use shared::ConnectionId;
use testkit::aws_endpoint::{Backend, Forward};
use testkit::dynamodb::MESSAGES_TABLE;
use testkit::http_server::{Reply, Request};
use tokio::sync::oneshot;

/// A call that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Entries are appended to a log.
    Append,
    /// Progress is written down.
    Save,
    /// A frame is posted.
    Post(ConnectionId, Bytes),
}

/// The gate of one environment; clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Call, oneshot::Sender<Outcome>)>,
    is_closed: bool,
}

impl Gate {
    /// Waits until the call is let go; `None` when it never is.
    pub(super) async fn wait(&self, call: Call) -> Option<Outcome> {
        let (go, gone) = oneshot::channel();
        {
            let mut state = self.0.lock().unwrap();
            if !state.is_closed {
                state.waiting.push_back((call, go));
            }
        }
        gone.await.ok()
    }

    /// The call that waits. One that was dropped waits no more.
    pub(super) fn waiting(&self) -> Option<Call> {
        let mut state = self.0.lock().unwrap();
        state.waiting.retain(|(_, go)| !go.is_closed());
        assert!(state.waiting.len() <= 1, "one call at a time: {:?}", state.waiting);
        state.waiting.front().map(|(call, _)| call.clone())
    }

    /// Lets the call go that waits; a post has this outcome.
    pub(super) fn pass(&self, outcome: Outcome) {
        let (_, go) = self.0.lock().unwrap().waiting.pop_front().expect("a call waits");
        go.send(outcome).expect("somebody waits for the call");
    }

    /// Closes the gate: calls that wait are never carried out.
    pub(super) fn close(&self) {
        let mut state = self.0.lock().unwrap();
        state.is_closed = true;
        state.waiting.clear();
    }
}

/// The tables, behind a gate.
pub(super) struct GatedTables {
    pub(super) tables: Forward,
    pub(super) gate: Gate,
}

impl Backend for GatedTables {
    async fn call(&self, operation: &str, body: &Value, request: &Request) -> Reply {
        if let Some(call) = call_of(operation, body)
            && self.gate.wait(call).await.is_none()
        {
            return Reply::empty(400);
        }
        self.tables.call(operation, body, request).await
    }
}

/// The call for which the model has a step; all other calls pass.
fn call_of(operation: &str, body: &Value) -> Option<Call> {
    match operation {
        "TransactWriteItems" => Some(Call::Append),
        "PutItem" if body["TableName"] == MESSAGES_TABLE => {
            match body["Item"]["seq"]["N"].as_str()?.parse::<i64>().ok()? {
                -1 => Some(Call::Save),
                seq if seq > 0 => Some(Call::Append),
                _ => None,
            }
        }
        _ => None,
    }
}

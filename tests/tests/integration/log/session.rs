//! The session function itself, on the embedded tables, with the events that API Gateway makes of frames.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use aws_sdk_dynamodb::Client;
use fastrand::Rng;
use ingest::beat::Beat;
use ingest::config::SessionLimits;
use ingest::connections_api::ConnectionsApi;
use ingest::session::SessionFunction;
use ingest::tables::Tables;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::Value;
use shared::metrics::Metrics;
use shared::room_pattern::RoomPatterns;
use shared::store::{
    connections::ConnectionTable, log::LogTable, presence::PresenceTable, state::StateTable, subjects::SubjectTable,
};
use testkit::aws_sdk::sdk_config;
use testkit::clock::TestClock;
use testkit::dynamodb::{CONNECTIONS_TABLE, MESSAGES_TABLE, STATE_TABLE};
use testkit::events;

/// The retention that clients are told.
pub(super) const RETENTION_SECONDS: u64 = 3_600;

#[derive(Clone)]
pub(crate) struct Session(Rc<SessionFunction<TestClock>>);

impl Session {
    pub(super) fn new(client: Client, clock: &TestClock) -> Self {
        Self::with_requests(0, client, clock)
    }

    /// A session function that allows each subject so many requests a second.
    pub(super) fn with_requests(requests: u64, client: Client, clock: &TestClock) -> Self {
        Self::with_limits(SessionLimits { rooms: 100, connections: None, requests, room_joins: 0 }, client, clock)
    }

    pub(crate) fn with_limits(limits: SessionLimits, client: Client, clock: &TestClock) -> Self {
        let tables = Tables {
            connections: ConnectionTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
            subjects: SubjectTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
            presence: PresenceTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
            log: LogTable::new(client, MESSAGES_TABLE, clock.clone()),
        };
        let api = nobody_expires();
        let beat = Beat::new(30_000..=540_000, Rng::with_seed(1));
        let random = Rng::with_seed(2);
        Self(Rc::new(SessionFunction::new(tables, api, limits, clock.clone(), RETENTION_SECONDS, beat, random)))
    }

    /// A function that keeps the state of the rooms that a pattern matches.
    pub(crate) fn with_state(rooms: &str, client: Client, clock: &TestClock) -> Self {
        let limits = SessionLimits { rooms: 100, connections: None, requests: 0, room_joins: 0 };
        let Self(function) = Self::with_limits(limits, client.clone(), clock);
        let table = StateTable::new(client, STATE_TABLE, clock.clone());
        let function = Rc::into_inner(function).unwrap().with_states(table, RoomPatterns::parse(rooms).unwrap());
        Self(Rc::new(function))
    }

    /// Sends a frame; returns the reply.
    pub(crate) async fn request(&self, connection: &str, subject: &str, frame: &Value) -> Value {
        self.answer(event(events::frame(connection, subject, &frame.to_string()))).await
    }

    /// Like [`Session::request`], but a call that does not answer at once is given up: 50 ms are left before the second
    /// that is kept for the answer.
    pub(super) async fn request_at_the_last_moment(&self, connection: &str, subject: &str, frame: &Value) -> Value {
        let mut event = event(events::frame(connection, subject, &frame.to_string()));
        event.context.deadline = deadline_in(Duration::from_millis(1_050));
        self.answer(event).await
    }

    async fn answer(&self, event: LambdaEvent<ApiGatewayWebsocketProxyRequest>) -> Value {
        let response = self.0.handle(event, &Metrics::default()).await.unwrap();
        serde_json::from_str(&response.body.expect("a reply")).unwrap()
    }

    /// Opens a connection; returns the status of the handshake.
    pub(crate) async fn connect(&self, connection: &str, subject: &str) -> u16 {
        self.0.handle(event(events::connect(connection, subject, None)), &Metrics::default()).await.unwrap().status_code
    }

    /// Tells that a connection is gone.
    pub(crate) async fn disconnect(&self, connection: &str, subject: &str) {
        let response =
            self.0.handle(event(events::disconnect(connection, subject)), &Metrics::default()).await.unwrap();
        assert_eq!(response.status_code, 200);
    }
}

/// The @connections API for tests in which no token expires, and nobody is closed.
pub(crate) fn nobody_expires() -> ConnectionsApi {
    ConnectionsApi::new(&sdk_config("http://127.0.0.1:9"), "http://127.0.0.1:9")
}

/// An event with time enough.
pub(crate) fn event(event: Value) -> LambdaEvent<ApiGatewayWebsocketProxyRequest> {
    let mut context = Context::default();
    context.deadline = deadline_in(Duration::from_secs(600));
    LambdaEvent::new(serde_json::from_value(event).unwrap(), context)
}

fn deadline_in(time: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from((now + time).as_millis()).unwrap()
}

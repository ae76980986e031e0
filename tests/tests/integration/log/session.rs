//! The session function itself, on the embedded tables, with the events that API Gateway makes of frames.

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use aws_sdk_dynamodb::Client;
use ingest::session::SessionFunction;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::Value;
use shared::store::{connections::ConnectionTable, log::LogTable};
use tests::clock::TestClock;
use tests::dynamodb::{CONNECTIONS_TABLE, MESSAGES_TABLE};
use tests::events;

#[derive(Clone)]
pub(super) struct Session(Arc<SessionFunction<TestClock>>);

impl Session {
    pub(super) fn new(client: Client, clock: &TestClock) -> Self {
        let connections = ConnectionTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone());
        let log = LogTable::new(client, MESSAGES_TABLE, clock.clone());
        Self(Arc::new(SessionFunction::new(connections, log)))
    }

    /// Sends a frame; returns the reply.
    pub(super) async fn request(&self, connection: &str, subject: &str, frame: &Value) -> Value {
        let event = event(events::frame(connection, subject, &frame.to_string()));
        let response = self.0.handle(event).await.unwrap();
        serde_json::from_str(&response.body.expect("a reply")).unwrap()
    }

    /// Tells that a connection is gone.
    pub(super) async fn disconnect(&self, connection: &str, subject: &str) {
        let response = self.0.handle(event(events::disconnect(connection, subject))).await.unwrap();
        assert_eq!(response.status_code, 200);
    }
}

pub(super) fn event(event: Value) -> LambdaEvent<ApiGatewayWebsocketProxyRequest> {
    LambdaEvent::new(serde_json::from_value(event).unwrap(), Context::default())
}

//! The `ephemeral` function.

use std::rc::Rc;

use aws_sdk_dynamodb::Client as DynamoDb;
use fanout::{
    connections_api::SignedConnectionsApi,
    ephemeral::{EphemeralFunction, config::EphemeralConfig, post::Poster},
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    start::{self, StartError},
    store::connections::ConnectionTable,
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = EphemeralConfig::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let (endpoint, timeout) = (&config.connections_endpoint, config.post_timeout);
    let api = SignedConnectionsApi::new(&sdk, &config.region, endpoint, timeout, config.http_version)
        .map_err(StartError::client)?;
    let connections = ConnectionTable::new(DynamoDb::new(&sdk), &config.connections_table, SystemClock);
    let function = Rc::new(EphemeralFunction {
        connections: connections.with_room_index(&config.room_index),
        most_members: config.most_members,
        poster: Poster::new(api, SystemClock, config.concurrency, config.posts_per_second),
        clock: SystemClock,
        deadline_reserve: config.deadline_reserve,
    });
    start::run(move |event, metrics| {
        let function = function.clone();
        async move { function.handle(event, &metrics).await }
    })
    .await
}

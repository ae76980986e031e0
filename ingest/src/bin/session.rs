//! The `session` function.

use aws_sdk_dynamodb::Client as DynamoDb;
use fastrand::Rng;
use ingest::{beat::Beat, config::SessionConfig, session::SessionFunction, shares::RequestShares};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    start::{self, StartError},
    store::{connections::ConnectionTable, log::LogTable},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = SessionConfig::read(Settings::from_env())?;
    let dynamodb = DynamoDb::new(&aws::sdk_config().await);
    let function = SessionFunction::new(
        ConnectionTable::new(dynamodb.clone(), &config.connections_table, SystemClock),
        LogTable::new(dynamodb, &config.messages_table, SystemClock),
        SystemClock,
        config.retention_seconds,
        Beat::new(config.sync_after_ms, Rng::new()),
        RequestShares::new(config.requests_per_second, SystemClock),
        Rng::new(),
    );
    start::run(|event| function.handle(event)).await
}

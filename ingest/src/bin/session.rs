//! The `session` function.

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use fastrand::Rng;
use ingest::{
    beat::Beat,
    config::{SessionConfig, StateConfig},
    connections_api::ConnectionsApi,
    session::SessionFunction,
    tables::Tables,
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::sqs::SqsQueue,
    start::{self, StartError},
    store::{
        connections::ConnectionTable, log::LogTable, presence::PresenceTable, state::StateTable, subjects::SubjectTable,
    },
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = SessionConfig::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let dynamodb = DynamoDb::new(&sdk);
    let tables = Tables {
        connections: ConnectionTable::new(dynamodb.clone(), &config.connections_table, SystemClock),
        subjects: SubjectTable::new(dynamodb.clone(), &config.connections_table, SystemClock),
        presence: PresenceTable::new(dynamodb.clone(), &config.connections_table, SystemClock),
        log: LogTable::new(dynamodb.clone(), &config.messages_table, SystemClock),
    };
    let ticks = config.presence_queue_url.map(|url| SqsQueue::new(Sqs::new(&sdk), &url));
    let mut function = SessionFunction::new(
        tables,
        ConnectionsApi::new(&sdk, &config.connections_endpoint),
        config.limits,
        SystemClock,
        config.retention_seconds,
        Beat::new(config.sync_after_ms, Rng::new()),
        Rng::new(),
    )
    .with_presence(config.presence, ticks);
    if let Some(StateConfig { table, rooms }) = config.state {
        function = function.with_states(StateTable::new(dynamodb, &table, SystemClock), rooms);
    }
    let function = &function;
    start::run(|event, metrics| async move { function.handle(event, &metrics).await }).await
}

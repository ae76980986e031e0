//! The `sweeper` function.

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use ingest::{
    config::SweeperConfig, connections_api::ConnectionsApi, presence::tick::Ticks, sweep::Sweep,
    sweeper::SweeperFunction,
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::sqs::SqsQueue,
    start::{self, StartError},
    store::{scan::RowTable, sweep::SweepPosition},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = SweeperConfig::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let dynamodb = DynamoDb::new(&sdk);
    let rows = RowTable::new(dynamodb.clone(), &config.connections_table);
    let connections_api = ConnectionsApi::new(&sdk, &config.connections_endpoint);
    let position = SweepPosition::new(dynamodb, &config.congestion_table, SystemClock);
    let new_sweep = || Sweep::new(rows.clone(), connections_api.clone(), SystemClock, config.settings);
    let queue = config.presence_queue_url.map(|url| SqsQueue::new(Sqs::new(&sdk), &url));
    let function = SweeperFunction::new(position, new_sweep, Ticks::new(queue, SystemClock));
    let function = &function;
    start::run(|event, metrics| async move { function.handle(event, &metrics).await }).await
}

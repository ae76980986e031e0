//! The `presence` function.

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use ingest::presence::{config::PresenceConfig, environment::PresenceFunction, pace::Budget};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::{eventbridge::EventBus, sqs::SqsQueue},
    start::{self, StartError},
    store::{connections::ConnectionTable, presence::PresenceTable},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = PresenceConfig::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let (dynamodb, sqs) = (DynamoDb::new(&sdk), Sqs::new(&sdk));
    let connections = ConnectionTable::new(dynamodb.clone(), &config.connections_table, SystemClock);
    let function = PresenceFunction {
        presence: PresenceTable::new(dynamodb, &config.connections_table, SystemClock),
        connections: connections.with_room_index(&config.room_index),
        broadcasts: SqsQueue::new(sqs.clone(), &config.queue_url),
        ticks: SqsQueue::new(sqs, &config.presence_queue_url),
        bus: EventBus::of_sdk(&sdk, &config.event_bus),
        budget: Budget::new(config.settings.posts_per_second),
        settings: config.settings,
        clock: SystemClock,
    };
    let function = &function;
    start::run(|event, metrics| async move { function.handle(event, &metrics).await }).await
}

//! The `fanout` function.

use std::rc::Rc;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use fanout::{
    append::RoomLog, config::Config, connections_api::SignedConnectionsApi, function::FanoutFunction, post::PostState,
    shard::Sharding,
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::sqs::SqsQueue,
    start::{self, StartError},
    store::{connections::ConnectionTable, log::LogTable},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = Config::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let (dynamodb, sqs) = (DynamoDb::new(&sdk), Sqs::new(&sdk));
    let log = LogTable::new(dynamodb.clone(), &config.messages_table, SystemClock);
    let connections =
        ConnectionTable::new(dynamodb, &config.connections_table, SystemClock).with_room_index(&config.room_index);
    let (endpoint, timeout) = (&config.connections_endpoint, config.posts.timeout);
    let connections_api = SignedConnectionsApi::new(&sdk, &config.region, endpoint, timeout, config.http_version)
        .map_err(StartError::client)?;
    let function = Rc::new(FanoutFunction {
        connections,
        log: RoomLog::new(log, SystemClock, config.retention),
        dead_letters: SqsQueue::new(sqs.clone(), &config.dlq_url),
        shard_queue: SqsQueue::new(sqs, &config.queue_url),
        sharding: Sharding::new(config.shard_size),
        connections_api,
        clock: SystemClock,
        posts: PostState::new(config.posts),
        deadline_reserve: config.posts.deadline_reserve,
    });
    start::run(move |event| {
        let function = function.clone();
        async move { function.handle(event).await }
    })
    .await
}

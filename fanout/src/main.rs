//! The `fanout` function. The `shards` function is the same program behind another queue.

use std::rc::Rc;

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use fanout::{
    broadcast::Broadcaster,
    config::{FanoutConfig, StateConfig},
    congestion::Notes,
    connections_api::SignedConnectionsApi,
    environment::FanoutFunction,
    layout::Layouts,
    log::LogWriter,
    state::StateWriter,
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::sqs::SqsQueue,
    room_pattern::RoomPatterns,
    start::{self, StartError},
    store::{congestion::CongestionTable, connections::ConnectionTable, log::LogTable, state::StateTable},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = FanoutConfig::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let (dynamodb, sqs) = (DynamoDb::new(&sdk), Sqs::new(&sdk));
    let (endpoint, timeout) = (&config.connections_endpoint, config.posts.timeout);
    let api = SignedConnectionsApi::new(&sdk, &config.region, endpoint, timeout, config.http_version)
        .map_err(StartError::client)?;
    let messages = LogTable::new(dynamodb.clone(), &config.messages_table, SystemClock);
    let congestion = CongestionTable::new(dynamodb.clone(), &config.congestion_table);
    let (state, state_rooms) = match config.state {
        Some(StateConfig { table, rooms, ttl_seconds }) => {
            let table = StateTable::new(dynamodb.clone(), &table, SystemClock);
            (StateWriter::new(table, rooms.clone(), ttl_seconds, config.retention), rooms)
        }
        None => (StateWriter::off(), RoomPatterns::default()),
    };
    let connections = ConnectionTable::new(dynamodb, &config.connections_table, SystemClock);
    let fanout = Rc::new(FanoutFunction {
        connections: connections.with_room_index(&config.room_index),
        log: LogWriter::new(messages, SystemClock, config.retention).with_state_rooms(state_rooms),
        state,
        congestion: Notes::new(congestion),
        source_queue: SqsQueue::new(sqs.clone(), &config.queue_url),
        batch_size: config.batch_size,
        shard_queue: SqsQueue::new(sqs.clone(), &config.shard_queue_url),
        dead_letters: SqsQueue::new(sqs, &config.dlq_url),
        layouts: Layouts::new(config.shard_size, config.shards),
        broadcaster: Broadcaster::new(api, SystemClock, config.posts),
        clock: SystemClock,
        deadline_reserve: config.posts.deadline_reserve,
    });
    start::run(move |event, metrics| {
        let fanout = fanout.clone();
        async move { fanout.handle(event, &metrics).await }
    })
    .await
}

//! The `message` function.

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use fastrand::Rng;
use ingest::{
    admission::Admission,
    config::{MessageConfig, SinkConfig},
    congestion::TableAndQueue,
    connections_api::ConnectionsApi,
    ephemeral::Ephemerals,
    message::MessageFunction,
    routes::send_message::SendMessage,
    shares::EphemeralShares,
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::{AnySink, ephemeral::EphemeralQueue, sqs::SqsQueue},
    start::{self, StartError},
    store::congestion::CongestionTable,
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = MessageConfig::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let sink = match config.sink {
        SinkConfig::Sqs { queue_url } => AnySink::queue(&sdk, &queue_url),
        SinkConfig::EventBridge { bus } => AnySink::event_bus(&sdk, &bus),
    };
    let source = TableAndQueue {
        table: CongestionTable::new(DynamoDb::new(&sdk), &config.congestion_table),
        queue: SqsQueue::new(Sqs::new(&sdk), &config.queue_url),
    };
    let admission = Admission::new(source, config.rates, config.queue_depth_limit, Rng::new());
    let ephemerals = config.ephemeral_queue_url.map(|url| {
        Ephemerals::new(EphemeralQueue::new(&sdk, &url), EphemeralShares::new(config.rates.subject_messages))
    });
    let send_message = SendMessage { sink, admission, state_rooms: config.state_rooms, ephemerals };
    let connections_api = ConnectionsApi::new(&sdk, &config.connections_endpoint);
    let function = MessageFunction::new(send_message, connections_api, SystemClock);
    let function = &function;
    start::run(|event, metrics| async move { function.handle(event, &metrics).await }).await
}

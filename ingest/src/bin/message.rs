//! The `message` function.

use ingest::{
    config::{MessageConfig, SinkConfig},
    connections_api::ConnectionsApi,
    message::MessageFunction,
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::AnySink,
    start::{self, StartError},
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
    let connections_api = ConnectionsApi::new(&sdk, &config.connections_endpoint);
    let function = MessageFunction::new(sink, connections_api, SystemClock);
    start::run(|event| function.handle(event)).await
}

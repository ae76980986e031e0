//! The `message` function.

use aws_sdk_eventbridge::Client as EventBridge;
use aws_sdk_sqs::Client as Sqs;
use ingest::{
    config::{MessageConfig, SinkConfig},
    message::MessageFunction,
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::{AnySink, eventbridge::EventBus, sqs::SqsQueue},
    start::{self, StartError},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = MessageConfig::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let sink = match config.sink {
        SinkConfig::Sqs { queue_url } => AnySink::Sqs(SqsQueue::new(Sqs::new(&sdk), &queue_url)),
        SinkConfig::EventBridge { bus } => AnySink::EventBridge(EventBus::new(EventBridge::new(&sdk), &bus)),
    };
    let function = MessageFunction::new(sink, SystemClock);
    start::run(move |event| function.clone().handle(event)).await
}

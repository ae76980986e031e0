//! The `relay` function.

use aws_sdk_sqs::Client as Sqs;
use ingest::{config::RelayConfig, relay::RelayFunction};
use shared::{
    aws,
    config::Settings,
    queue::sqs::SqsQueue,
    start::{self, StartError},
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = RelayConfig::read(Settings::from_env())?;
    let sqs = Sqs::new(&aws::sdk_config().await);
    let function =
        RelayFunction::new(SqsQueue::new(sqs.clone(), &config.queue_url), SqsQueue::new(sqs, &config.dlq_url));
    start::run(|event| function.handle(event)).await
}

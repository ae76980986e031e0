//! The `relay` function.

use aws_sdk_dynamodb::Client as DynamoDb;
use aws_sdk_sqs::Client as Sqs;
use fastrand::Rng;
use ingest::{
    config::RelayConfig,
    congestion::{CongestionMonitor, TableAndQueue},
    relay::RelayFunction,
};
use shared::{
    aws,
    clock::SystemClock,
    config::Settings,
    queue::sqs::SqsQueue,
    start::{self, StartError},
    store::congestion::CongestionTable,
    telemetry,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    telemetry::init();
    let config = RelayConfig::read(Settings::from_env())?;
    let sdk = aws::sdk_config().await;
    let sqs = Sqs::new(&sdk);
    let queue = SqsQueue::new(sqs.clone(), &config.queue_url);
    let table = CongestionTable::new(DynamoDb::new(&sdk), &config.congestion_table);
    let source = TableAndQueue { table, queue: queue.clone() };
    let congestion = CongestionMonitor::new(source, config.queue_depth_limit, Rng::new());
    let function = RelayFunction::new(queue, SqsQueue::new(sqs, &config.dlq_url), congestion, SystemClock);
    let function = &function;
    start::run(|event, metrics| async move { function.handle(event, &metrics).await }).await
}

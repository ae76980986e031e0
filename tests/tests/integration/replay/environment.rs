//! An environment of the real function, started with a batch, whose calls wait at a gate.

use std::future::pending;
use std::num::NonZeroU16;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsEvent;
use fanout::broadcast::Broadcaster;
use fanout::config::PostConfig;
use fanout::congestion::Notes;
use fanout::connections_api::{ConnectionsApi, Outcome};
use fanout::environment::FanoutFunction;
use fanout::frame::EncodedFrame;
use fanout::layout::Layouts;
use fanout::state::StateWriter;
use lambda_runtime::{Context, LambdaEvent};
use shared::ConnectionId;
use shared::metrics::Metrics;
use shared::store::{congestion::CongestionTable, connections::ConnectionTable};
use testkit::aws_endpoint::{AwsEndpoint, Forward};
use testkit::aws_sdk;
use testkit::clock::TestClock;
use testkit::dynamodb::{CONGESTION_TABLE, CONNECTIONS_TABLE, DynamoDb, ROOM_INDEX};
use testkit::events::{QueueRecord, queue_batch};
use testkit::fifo_queue::FifoQueue;
use tokio::task::JoinHandle;

use super::gate::{Call, Gate, GatedTables};
use crate::log::writer_over;

/// Time for an invocation, by the clock that moves only when a step says so; less than the five seconds after which a
/// broadcast writes down by itself how far it got.
const TIME: Duration = Duration::from_millis(4_900);

/// The part of an invocation's time that is kept for finishing up.
const RESERVE: Duration = Duration::from_secs(1);

const RETENTION_SECONDS: u64 = 3_600;

/// An environment at work on a batch.
pub(super) struct Environment {
    gate: Gate,
    /// The endpoint through which its calls to the tables go.
    pub(super) endpoint: AwsEndpoint,
    invocation: JoinHandle<Vec<String>>,
}

struct GatedApi(Gate);

impl ConnectionsApi for GatedApi {
    async fn post(&self, connection: &ConnectionId, frame: &EncodedFrame) -> Outcome {
        match self.0.wait(Call::Post(connection.clone(), frame.body().clone())).await {
            Some(outcome) => outcome,
            None => pending().await,
        }
    }

    async fn close(&self, _: &ConnectionId) -> Outcome {
        Outcome::Delivered
    }
}

impl Environment {
    /// A cold environment that is handed a batch. It posts one frame at a time.
    pub(super) fn start(dynamodb: &DynamoDb, clock: &TestClock, records: &[QueueRecord]) -> Self {
        let gate = Gate::default();
        let tables = GatedTables { tables: Forward::new(&dynamodb.url()), gate: gate.clone() };
        let endpoint = AwsEndpoint::start(tables);
        let fanout = fanout(&endpoint.url(), clock, GatedApi(gate.clone()));
        let event: SqsEvent = serde_json::from_value(queue_batch(records)).unwrap();
        let invocation = tokio::task::spawn_local(async move {
            let mut context = Context::default();
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            context.deadline = u64::try_from((now + TIME).as_millis()).unwrap();
            let response = fanout.handle(LambdaEvent::new(event, context), &Metrics::default()).await.unwrap();
            response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
        });
        Self { gate, endpoint, invocation }
    }

    /// The call that waits.
    pub(super) fn waiting(&self) -> Option<Call> {
        self.gate.waiting()
    }

    pub(super) fn has_answered(&self) -> bool {
        self.invocation.is_finished()
    }

    /// Lets the call go that waits.
    pub(super) fn pass(&self, outcome: Outcome) {
        self.gate.pass(outcome);
    }

    /// The ids of the records that the environment reports as failed, once it has answered.
    pub(super) async fn answer(&mut self) -> Vec<String> {
        (&mut self.invocation).await.unwrap()
    }
}

/// A dropped environment is killed where it stands: the call that waits is never made.
impl Drop for Environment {
    fn drop(&mut self) {
        self.gate.close();
        self.invocation.abort();
    }
}

fn fanout(url: &str, clock: &TestClock, api: GatedApi) -> FanoutFunction<FifoQueue, GatedApi, TestClock> {
    let client = aws_sdk_dynamodb::Client::new(&aws_sdk::sdk_config(url));
    let posts = PostConfig {
        concurrency: 1,
        max_per_second: 0,
        timeout: Duration::from_millis(50),
        max_attempts: 2,
        deadline_reserve: RESERVE,
        gone_grace: Duration::ZERO,
    };
    FanoutFunction {
        connections: ConnectionTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()).with_room_index(ROOM_INDEX),
        log: writer_over(client.clone(), clock, RETENTION_SECONDS),
        state: StateWriter::off(),
        congestion: Notes::new(CongestionTable::new(client, CONGESTION_TABLE)),
        source_queue: FifoQueue::default(),
        batch_size: 10,
        shard_queue: FifoQueue::default(),
        dead_letters: FifoQueue::default(),
        layouts: Layouts::new(0, NonZeroU16::MIN),
        broadcaster: Broadcaster::new(api, clock.clone(), posts),
        clock: clock.clone(),
        deadline_reserve: posts.deadline_reserve,
    }
}

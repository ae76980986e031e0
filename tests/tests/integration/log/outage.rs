//! A table that is down for twenty minutes while a hundred rooms are active: time is simulated, the function and the
//! tables' protocol are real.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU16;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsEvent;
use fanout::broadcast::Broadcaster;
use fanout::config::{HttpVersion, PostConfig};
use fanout::congestion::Notes;
use fanout::connections_api::SignedConnectionsApi;
use fanout::environment::FanoutFunction;
use fanout::layout::Layouts;
use fanout::state::StateWriter;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use shared::metrics::Metrics;
use shared::queue::{Queue, QueueError, Record};
use shared::store::{congestion::CongestionTable, connections::ConnectionTable};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::aws_sdk;
use testkit::clock::TestClock;
use testkit::connections_server::ConnectionsServer;
use testkit::dynamodb::{CONGESTION_TABLE, CONNECTIONS_TABLE, ConnectionRow, DynamoDb, ROOM_INDEX};
use testkit::events::{QueueRecord, queue_batch};

use super::writer::{client, writer_over};

const ROOMS: usize = 100;

/// The length of the outage, in seconds.
const OUTAGE: u64 = 20 * 60;

/// The longest time until all rooms have all messages once the table is back, in seconds.
const SILENCE: u64 = 60;

/// The seconds in which rooms have messages: one before the outage, five in it, and one after it. The last one in the
/// outage comes shortly before its end, to rooms whose records are hidden already. Each room has its messages up to 49
/// s earlier than others, so that the rooms' records come back at different times.
const MESSAGES: [u64; 7] = [50, 290, 530, 770, 1_010, OUTAGE - 1, OUTAGE + 50];

/// The mapping's batch size, and the queue's `maxReceiveCount` and visibility timeout in seconds, as in the template.
const BATCH: usize = 10;
const MOST_RECEIVES: u32 = 1_000;
const VISIBILITY: u64 = 180;

/// The rooms' queue, in simulated seconds.
#[derive(Clone, Default)]
struct SimulatedQueue(Rc<RefCell<State>>);

#[derive(Default)]
struct State {
    now: u64,
    groups: BTreeMap<String, Group>,
    dead_letters: Vec<Record>,
}

#[derive(Default)]
struct Group {
    records: VecDeque<QueueRecord>,
    visible_at: u64,
}

impl Queue for SimulatedQueue {
    async fn send(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
        self.0.borrow_mut().dead_letters.extend_from_slice(records);
        vec![Ok(()); records.len()]
    }

    async fn delete(&self, receipt_handles: &[String]) -> Vec<Result<(), QueueError>> {
        for group in self.0.borrow_mut().groups.values_mut() {
            group.records.retain(|record| !receipt_handles.contains(&record.receipt_handle()));
        }
        vec![Ok(()); receipt_handles.len()]
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Ok(self.0.borrow().groups.values().map(|group| group.records.len() as u64).sum())
    }

    async fn postpone(&self, receipt_handles: &[String], seconds: u32) -> Vec<Result<(), QueueError>> {
        let state = &mut *self.0.borrow_mut();
        for group in state.groups.values_mut() {
            if group.records.front().is_some_and(|record| receipt_handles.contains(&record.receipt_handle())) {
                group.visible_at = state.now + u64::from(seconds);
            }
        }
        vec![Ok(()); receipt_handles.len()]
    }
}

impl SimulatedQueue {
    fn add(&self, room: &str, id: &str) {
        let record = QueueRecord::message(room, id, &json!(id)).received(0);
        self.0.borrow_mut().groups.entry(room.to_owned()).or_default().records.push_back(record);
    }

    /// The next batch: of visible groups, the first records of each.
    fn receive(&self) -> Vec<QueueRecord> {
        let state = &mut *self.0.borrow_mut();
        let mut batch = Vec::new();
        for group in state.groups.values_mut().filter(|group| group.visible_at <= state.now) {
            let room = BATCH - batch.len();
            if room == 0 || group.records.is_empty() {
                continue;
            }
            for record in group.records.iter_mut().take(room) {
                record.receive_count += 1;
                assert!(record.receive_count < MOST_RECEIVES, "it would go to the dead-letter queue");
                batch.push(record.clone());
            }
            group.visible_at = state.now + VISIBILITY;
        }
        batch
    }

    fn settle(&self, batch: &[QueueRecord], failures: &[String]) {
        let state = &mut *self.0.borrow_mut();
        for record in batch.iter().filter(|record| !failures.contains(&record.message_id)) {
            let group = state.groups.get_mut(&record.group).unwrap();
            group.records.retain(|other| other.message_id != record.message_id);
            group.visible_at = state.now;
        }
        for record in batch.iter().filter(|record| failures.contains(&record.message_id)) {
            assert!(state.groups[&record.group].visible_at < state.now + VISIBILITY, "it comes back in seconds");
        }
    }
}

fn fanout(
    dynamodb: &DynamoDb,
    connections: &ConnectionsServer,
    clock: &TestClock,
    queue: &SimulatedQueue,
) -> FanoutFunction<SimulatedQueue, SignedConnectionsApi, TestClock> {
    let posts = PostConfig {
        concurrency: 16,
        max_per_second: 0,
        timeout: Duration::from_secs(20),
        max_attempts: 4,
        deadline_reserve: Duration::from_secs(2),
        gone_grace: Duration::ZERO,
    };
    let sdk = aws_sdk::sdk_config(&connections.endpoint());
    let endpoint = connections.endpoint();
    let api = SignedConnectionsApi::new(&sdk, "us-east-1", &endpoint, posts.timeout, HttpVersion::Http1).unwrap();
    let table = client(dynamodb);
    let congestion = CongestionTable::new(table.clone(), CONGESTION_TABLE);
    FanoutFunction {
        connections: ConnectionTable::new(table.clone(), CONNECTIONS_TABLE, clock.clone()).with_room_index(ROOM_INDEX),
        log: writer_over(table, clock, 86_400),
        state: StateWriter::off(),
        congestion: Notes::new(congestion),
        source_queue: queue.clone(),
        batch_size: 10,
        shard_queue: queue.clone(),
        dead_letters: queue.clone(),
        layouts: Layouts::new(0, NonZeroU16::MIN),
        broadcaster: Broadcaster::new(api, clock.clone(), posts),
        clock: clock.clone(),
        deadline_reserve: posts.deadline_reserve,
    }
}

async fn handle(
    fanout: &FanoutFunction<SimulatedQueue, SignedConnectionsApi, TestClock>,
    batch: &[QueueRecord],
) -> Vec<String> {
    let event: SqsEvent = serde_json::from_value(queue_batch(batch)).unwrap();
    let mut context = Context::default();
    let in_a_minute = SystemTime::now() + Duration::from_secs(60);
    context.deadline = u64::try_from(in_a_minute.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let response = fanout.handle(LambdaEvent::new(event, context), &Metrics::default()).await.unwrap();
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

fn break_down(dynamodb: &DynamoDb, fault: &Fault) {
    for operation in ["Query", "GetItem", "PutItem", "TransactWriteItems", "BatchWriteItem"] {
        dynamodb.fault(Rule::on(operation, fault.clone()));
    }
}

#[tokio::test]
async fn an_outage_of_the_tables_loses_nothing_and_is_over_when_they_are_back() {
    let (dynamodb, connections, clock) = (DynamoDb::start(), ConnectionsServer::start(), TestClock::start());
    let queue = SimulatedQueue::default();
    let rooms: Vec<String> = (0..ROOMS).map(|room| format!("room-{room}")).collect();
    dynamodb.seed(rooms.iter().map(|room| ConnectionRow::new(&format!("of-{room}"), room)));
    let fanout = fanout(&dynamodb, &connections, &clock, &queue);
    for now in 0..=OUTAGE + SILENCE {
        match now {
            60 => break_down(&dynamodb, &Fault::internal_error()),
            600 => {
                dynamodb.endpoint().clear_faults();
                break_down(&dynamodb, &Fault::throughput_exceeded());
            }
            OUTAGE => dynamodb.endpoint().clear_faults(),
            _ => {}
        }
        for (room, number) in rooms.iter().zip(0..) {
            if let Some(place) = MESSAGES.iter().position(|second| *second == now + number % 50) {
                queue.add(room, &format!("{room}-{place}"));
            }
        }
        queue.0.borrow_mut().now = now;
        clock.advance(Duration::from_secs(1));
        loop {
            let batch = queue.receive();
            if batch.is_empty() {
                break;
            }
            let failures = handle(&fanout, &batch).await;
            queue.settle(&batch, &failures);
        }
    }
    assert_eq!(queue.0.borrow().dead_letters, []);
    for room in &rooms {
        let expected: Vec<_> = (0..MESSAGES.len()).map(|number| format!("{room}-{number}")).collect();
        let bodies = connections.delivered(&format!("of-{room}"));
        let frames = bodies.iter().map(|body| serde_json::from_str::<Value>(body).unwrap());
        let ids = frames.flat_map(|frame| frame["messages"].as_array().unwrap().clone());
        assert_eq!(ids.map(|message| message["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), expected);
        assert_eq!(dynamodb.log(room).len(), MESSAGES.len());
    }
}

//! The cost of publications: each call is counted, and `roomcast cost` is compared with the counts.

#![expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsEvent;
use ingest::presence::config::{EventKinds, PresenceSettings};
use ingest::presence::environment::PresenceFunction;
use ingest::presence::events::Bus;
use ingest::presence::pace::Budget;
use ingest::presence::rooms::PresenceRooms;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::json;
use shared::clock::Clock;
use shared::metrics::Metrics;
use shared::queue::QueueError;
use shared::queue::eventbridge::BusEvent;
use shared::room_pattern::RoomPatterns;
use shared::store::{connections::ConnectionTable, presence::PresenceTable};
use testkit::clock::TestClock;
use testkit::delayed_queue::DelayedQueue;
use testkit::dynamodb::{CONNECTIONS_TABLE, DynamoDb, MEMBERS_INDEX, MeteredCall};
use testkit::events::{QueueRecord, batch_item_failures, queue_batch};

use super::world::World;
use crate::cost::{Counts, NOT_COUNTED};
use crate::log::client;

const ROOM: &str = "chat:1";

/// `PRESENCE_DELAY_SECONDS`. A small room's pace, one second, is shorter.
const DELAY: u64 = 3;

/// The bus of a stack without lifecycle events.
struct NoBus;

impl Bus for NoBus {
    async fn put(&self, _: &[BusEvent]) -> Vec<Result<(), QueueError>> {
        unreachable!("there are none")
    }
}

/// An environment of the presence function, and the rooms' queue.
struct Publisher {
    function: PresenceFunction<DelayedQueue, NoBus, TestClock>,
    clock: TestClock,
    looks: u64,
}

impl Publisher {
    fn new(dynamodb: &DynamoDb, clock: &TestClock) -> Self {
        let (client, queue) = (client(dynamodb), || DelayedQueue::new(clock, 0, 90_000));
        let settings = PresenceSettings {
            rooms: PresenceRooms {
                listed: RoomPatterns::parse("chat:*").unwrap(),
                lifecycle: RoomPatterns::default(),
                lease_seconds: 7_200,
            },
            events: EventKinds { room: true, member: false },
            delay_ms: DELAY * 1_000,
            posts_per_second: 500,
            list_max: 500,
        };
        let function = PresenceFunction {
            presence: PresenceTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
            connections: ConnectionTable::new(client, CONNECTIONS_TABLE, clock.clone()),
            broadcasts: queue(),
            ticks: queue(),
            bus: NoBus,
            budget: Budget::new(settings.posts_per_second),
            settings,
            clock: clock.clone(),
        };
        Self { function, clock: clock.clone(), looks: 0 }
    }

    /// Sends a tick, and has it handled when its delay is over.
    async fn look(&mut self) {
        self.looks += 1;
        let tick = QueueRecord::new(&format!("tick-{}", self.looks), ROOM, json!({ "v": 1, "roomId": ROOM }));
        let tick = tick.queued_at(self.clock.unix_millis());
        self.clock.advance(Duration::from_secs(DELAY + 1));
        let event: SqsEvent = serde_json::from_value(queue_batch(&[tick])).unwrap();
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(600);
        let mut context = Context::default();
        context.deadline = u64::try_from(deadline.as_millis()).unwrap();
        let response = self.function.handle(LambdaEvent::new(event, context), &Metrics::default()).await.unwrap();
        assert_eq!(batch_item_failures(&serde_json::to_value(response).unwrap()), Vec::<String>::new());
    }
}

/// The calls since the last time.
fn calls(dynamodb: &DynamoDb, since: &mut usize) -> Vec<MeteredCall> {
    let calls = dynamodb.metered_calls().split_off(*since);
    *since += calls.len();
    calls
}

#[tokio::test]
async fn a_publication_takes_the_calls_of_the_design() {
    for members in [1, 100, 500, 9_000] {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let names: Vec<(String, String)> =
            (0..members).map(|number| (format!("c{number}="), format!("subject-{number:06}"))).collect();
        let rows: Vec<(&str, &str)> = names.iter().map(|(connection, subject)| (&**connection, &**subject)).collect();
        dynamodb.seed_members(ROOM, &rows);
        let (mut publisher, mut since) = (Publisher::new(&dynamodb, &clock), 0);
        publisher.look().await;
        let taken = calls(&dynamodb, &mut since);
        let is_of_members = |call: &&MeteredCall| call.body["IndexName"] == MEMBERS_INDEX;
        let pages: Vec<_> = taken.iter().filter(is_of_members).collect();
        assert!(pages.len() <= members / 4_000 + 1, "{members} members in {} pages", pages.len());
        let mut expected = vec!["GetItem"];
        expected.extend(vec!["Query"; pages.len()]);
        expected.extend(["Query", "PutItem"]);
        let operations: Vec<_> = taken.iter().map(|call| call.operation.as_str()).collect();
        assert_eq!(operations, expected, "{members} members");
        assert_eq!(publisher.function.broadcasts.sent(), 1);
        // Half a unit reads sixteen rows, and more of rows as short as these.
        let units: f64 = pages.iter().map(|call| call.units).sum();
        assert!(units <= members as f64 / 32.0 + 0.5 * pages.len() as f64, "{members} members: {units} units");

        clock.advance(Duration::from_secs(900));
        publisher.look().await;
        let looked: Vec<_> = calls(&dynamodb, &mut since).into_iter().map(|call| call.operation).collect();
        let mut expected = vec!["GetItem"];
        expected.extend(vec!["Query"; pages.len()]);
        expected.extend((members > 500).then_some("UpdateItem"));
        assert_eq!(looked, expected, "nothing new among {members}");
        assert_eq!(publisher.function.broadcasts.sent(), 1);
    }
}

/// An hour in which each of six members comes and goes once: the calls that this takes besides a room without presence.
#[tokio::test]
async fn publications_cost_what_the_model_says() {
    const MEMBERS: u64 = 6;
    let world = World::with_lease(7_200);
    let mut publisher = Publisher::new(&world.dynamodb, &world.clock);
    let connection = |number: u64| format!("user{number}-1=");
    for number in 0..MEMBERS {
        world.enter(&connection(number), ROOM, json!("x".repeat(28))).await;
    }
    publisher.look().await;
    let (mut since, ticks, told) = (0, world.queue.taken().len(), publisher.function.broadcasts.sent());
    calls(&world.dynamodb, &mut since);
    let (mut counts, mut newest) = (Counts::default(), MEMBERS);
    for change in 0..2 * MEMBERS {
        world.clock.advance(Duration::from_secs(296));
        // On average the number of members stays the same.
        if matches!(change % 4, 0 | 3) {
            world.enter(&connection(newest), ROOM, json!("x".repeat(28))).await;
            newest += 1;
            let mut joined = calls(&world.dynamodb, &mut since);
            joined.retain(|call| call.operation == "GetItem" && call.body.to_string().contains("presence/"));
            counts.add_calls(joined.into_iter().map(|call| call.operation));
        } else {
            world.leave(&connection(newest - 1 - change % 2), ROOM).await;
            calls(&world.dynamodb, &mut since);
        }
        publisher.look().await;
        counts.add_calls(calls(&world.dynamodb, &mut since).into_iter().map(|call| call.operation));
        // The function that posts the publication reads the room once more.
        counts.add_calls(["Query"]);
        let row = world.dynamodb.endpoint().calls_of("PutItem").pop().unwrap();
        counts.add("Posts", row.body["Item"]["connections"]["N"].as_str().unwrap().parse().unwrap());
    }
    let publications = publisher.function.broadcasts.sent() - told;
    let ticks = (world.queue.taken().len() - ticks) as u64;
    // Each record is sent, and then received, handled and deleted alone.
    for name in ["SendMessage", "ReceiveMessage", "DeleteMessageBatch"] {
        counts.add(name, (ticks + publications) as f64);
    }
    counts.add("PresenceFunction", ticks as f64);
    counts.add("Fanout", publications as f64);
    let workload = json!({
        "days": 1, "fixed": false, "presenceLeaseSeconds": 7_200, "roomIdBytes": ROOM.len(),
        "rooms": [{
            "members": MEMBERS, "hoursPerDay": 1, "visitsPerDay": 1, "messagesPerSecond": 0,
            "presence": { "listed": 1, "bytes": 30 },
        }],
    });
    let mut besides = NOT_COUNTED.to_vec();
    // These belong to joins, beats and leases, and are counted there.
    besides.extend(["ReadUnits", "WriteUnits", "UpdateItem", "BatchGetItem", "Session", "Replies", "FramesIn"]);
    counts.assert_model(&Counts::of_model(&workload, &["presence"]), &besides);
}

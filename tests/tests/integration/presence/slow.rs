//! Rooms that take long to read, and the others of their batch.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use serde_json::Value;
use shared::RoomId;
use shared::clock::Clock;
use shared::store::presence::PresenceTable;
use testkit::aws_endpoint::{AwsEndpoint, Fault, Hold, Rule};
use testkit::aws_sdk::sdk_config;
use testkit::delayed_queue::DelayedBatch;
use testkit::dynamodb::{CONNECTIONS_TABLE, DynamoDb, MEMBERS_INDEX};
use testkit::events::QueueRecord;
use testkit::steps::Steps;
use tokio::task::LocalSet;

use super::environments::{Function, function, handle, handle_within};
use super::world::{DELAY, World};
use crate::log::client;

/// A time longer than any test takes that does not fail.
const PATIENCE: Duration = Duration::from_secs(60);

struct Environment {
    world: Rc<World>,
    endpoint: AwsEndpoint,
    function: Rc<Function>,
}

impl Environment {
    fn new(list_max: usize) -> Self {
        let world = Rc::new(World::new(list_max, 500, Rng::with_seed(7)));
        let steps = Steps::default();
        let endpoint = world.lagging.endpoint(&steps);
        let client = aws_sdk_dynamodb::Client::new(&sdk_config(&endpoint.url()));
        let function = Rc::new(function(&world, &client, &steps));
        Self { world, endpoint, function }
    }

    /// A batch of ticks of ten rooms with a new member each. The rooms have events and no lists, so they cost no posts.
    fn batch(&self) -> DelayedBatch {
        for number in 0..10 {
            self.world.put_row(&format!("c{number}="), &format!("e{number}"), "ann", 3_600_000);
            self.world.tick(&format!("e{number}"));
        }
        self.world.advance(DELAY + 1_000);
        let batch = self.world.ticks.receive().unwrap();
        assert_eq!(batch.records.len(), 10);
        batch
    }
}

#[tokio::test]
async fn a_room_that_takes_long_does_not_keep_the_others_of_its_batch_waiting() {
    let environment = Environment::new(500);
    let (hold, batch) = (Hold::default(), environment.batch());
    let of_first = |body: &Value| body["ExpressionAttributeValues"][":room"]["S"] == "e0";
    let query = Rule::on("Query", Fault::Held(hold.clone()));
    environment.endpoint.fault(query.when(move |call| of_first(&call.body)));
    let Environment { world, function, .. } = &environment;
    let serving = LocalSet::new();
    let served = serving.run_until(async {
        let handled = tokio::task::spawn_local(handle(Rc::clone(function), batch.records.clone()));
        let others = async {
            while (1..10).any(|number| world.bus.room(&format!("e{number}")).count == 0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, others).await.expect("the others are published meanwhile");
        assert!(world.row("e0").is_none() && !handled.is_finished());
        hold.release();
        handled.await.unwrap()
    });
    assert_eq!(served.await, Vec::<String>::new());
    assert_eq!(world.bus.room("e0").count, 1);
}

/// While the function is throttled, Lambda holds the ticks that it has received. They are hidden for six times as long
/// as the function has.
#[tokio::test]
async fn ticks_that_another_consumer_may_have_are_left_to_it() {
    let environment = Environment::new(500);
    let (time, long_ago) = (Duration::from_secs(15), Duration::from_secs(91));
    let received_at = (SystemTime::now() - long_ago).duration_since(UNIX_EPOCH).unwrap();
    let received_at = u64::try_from(received_at.as_millis()).unwrap();
    let late = |batch: DelayedBatch| {
        let late = |record: QueueRecord| record.queued_at(received_at).first_received_at(received_at);
        batch.records.into_iter().map(late).collect::<Vec<_>>()
    };
    let first = late(environment.batch());
    let world = &environment.world;
    world.advance(100_000);
    let second = late(world.ticks.receive().expect("another consumer has them"));
    let failures = handle_within(time, Rc::clone(&environment.function), first).await;
    assert_eq!((failures.len(), world.row("e0").is_none()), (10, true));
    let failures = handle_within(time, Rc::clone(&environment.function), second).await;
    assert_eq!((failures.len(), world.row("e0").map(|row| row.everybody)), (0, Some(1)));
}

#[tokio::test]
async fn ticks_of_rooms_for_which_there_was_no_time_come_back_soon() {
    let environment = Environment::new(500);
    let batch = environment.batch();
    let failures = handle_within(Duration::ZERO, Rc::clone(&environment.function), batch.records.clone()).await;
    assert_eq!(failures.len(), 10);
    let world = &environment.world;
    world.ticks.settle(&batch, &failures);
    assert!(world.ticks.receive().is_none(), "they are hidden");
    world.advance(1_000);
    let again = world.ticks.receive().expect("for a second, not for the visibility timeout");
    let failures = handle_within(Duration::ZERO, Rc::clone(&environment.function), again.records.clone()).await;
    world.ticks.settle(&again, &failures);
    world.advance(1_999);
    assert!(world.ticks.receive().is_none(), "the next time for two");
    world.advance(1);
    assert_eq!(world.ticks.receive().unwrap().records.len(), 10);
}

/// The rows of a page are dropped before the next one is read, and data is not read when there will be no list.
#[tokio::test]
async fn a_large_room_is_counted_without_its_data() {
    const MEMBERS: u64 = 20_000;
    let environment = Environment::new(500);
    let world = &environment.world;
    for number in 0..MEMBERS {
        world.put_row(&format!("c{number}="), "p", &format!("subject-{number}"), 3_600_000);
    }
    world.tick("p");
    world.advance(DELAY + 1_000);
    let batch = world.ticks.receive().unwrap();
    assert_eq!(handle(Rc::clone(&environment.function), batch.records.clone()).await, Vec::<String>::new());
    let row = world.row("p").unwrap();
    assert_eq!((row.count, row.members), (MEMBERS, None));
    let queries = environment.endpoint.calls_of("Query");
    let pages: Vec<bool> = queries
        .iter()
        .filter(|call| call.body["IndexName"] == MEMBERS_INDEX)
        .map(|call| call.body["ProjectionExpression"].is_null())
        .collect();
    assert_eq!(pages, [true, false, false, false, false]);
}

#[tokio::test]
async fn a_page_of_the_index_without_data_has_all_else() {
    let (dynamodb, clock) = (DynamoDb::start(), testkit::clock::TestClock::start());
    dynamodb.seed_members("r", &[("c1=", "ann"), ("c2=", "bob")]);
    let table = PresenceTable::new(client(&dynamodb), CONNECTIONS_TABLE, clock.clone());
    let room = RoomId::parse("r").unwrap();
    let with = table.index_page(&room, None, true).await.unwrap().rows;
    assert!(with.len() == 2 && with.iter().all(|row| row.listed && row.present_until > clock.unix_seconds()));
    assert_eq!(table.index_page(&room, None, false).await.unwrap().rows, with);
}

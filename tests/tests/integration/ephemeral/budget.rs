//! The posts of an environment and its silences, by a clock that only moves when a test says so.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsEvent;
use fanout::connections_api::SdkConnectionsApi;
use fanout::ephemeral::EphemeralFunction;
use fanout::ephemeral::dropped::Dropped;
use fanout::ephemeral::newest::STALE_AFTER;
use fanout::ephemeral::post::Poster;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::json;
use shared::clock::Clock;
use shared::metrics::Metrics;
use shared::metrics::names::{EPHEMERAL_POSTS, EPHEMERALS_POSTED};
use shared::store::connections::ConnectionTable;
use testkit::aws_sdk::sdk_config;
use testkit::clock::TestClock;
use testkit::connections_server::{ConnectionsServer, Script, Scripted};
use testkit::dynamodb::{CONNECTIONS_TABLE, ConnectionRow, DynamoDb};
use testkit::events::{QueueRecord, queue_batch};

use super::record;

/// `EPHEMERAL_POSTS_PER_SECOND`, of which half is this environment's.
const POSTS_PER_SECOND: u32 = 100;

/// An environment with its clock and its surroundings.
struct World {
    dynamodb: DynamoDb,
    connections: ConnectionsServer,
    clock: TestClock,
    function: EphemeralFunction<SdkConnectionsApi, TestClock>,
}

impl World {
    fn start(concurrency: usize) -> Self {
        let (dynamodb, connections, clock) = (DynamoDb::start(), ConnectionsServer::start(), TestClock::start());
        let sdk = sdk_config(&dynamodb.url());
        let api = SdkConnectionsApi::new(&sdk, &connections.endpoint(), Duration::from_secs(60));
        let client = aws_sdk_dynamodb::Client::new(&sdk);
        let function = EphemeralFunction {
            connections: ConnectionTable::new(client, CONNECTIONS_TABLE, clock.clone()),
            most_members: 1_000,
            poster: Poster::new(api, clock.clone(), concurrency, POSTS_PER_SECOND),
            clock: clock.clone(),
            deadline_reserve: Duration::from_secs(1),
        };
        Self { dynamodb, connections, clock, function }
    }

    fn seed(&self, room: &str, count: usize) {
        self.dynamodb.seed(ConnectionRow::many(&format!("{room}-"), count, room));
    }

    fn typing(&self, room: &str) -> QueueRecord {
        record(room, "ann", Some("typing"), self.clock.unix_millis(), &json!(true))
    }

    /// Serves a batch; returns the metrics.
    async fn serve(&self, records: &[QueueRecord]) -> Metrics {
        let event: SqsEvent = serde_json::from_value(queue_batch(records)).unwrap();
        let mut context = Context::default();
        let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(600);
        context.deadline = u64::try_from(deadline.as_millis()).unwrap();
        let metrics = Metrics::default();
        let Ok(response) = self.function.handle(LambdaEvent::new(event, context), &metrics).await;
        assert!(response.batch_item_failures.is_empty());
        metrics
    }

    /// Serves a batch of one message to a room; returns why the message was dropped, if it was.
    async fn serve_one(&self, room: &str) -> Result<(), Dropped> {
        let metrics = self.serve(&[self.typing(room)]).await;
        if metrics.count(EPHEMERALS_POSTED) == 1 {
            return Ok(());
        }
        let causes = [Dropped::Budget, Dropped::Throttled, Dropped::Failed, Dropped::Old];
        Err(causes.into_iter().find(|cause| metrics.count(cause.counter()) == 1).expect("a cause"))
    }
}

#[tokio::test]
async fn posts_are_never_more_than_the_rate_and_one_frame_and_every_room_has_its_turn() {
    fastrand::seed(1);
    let world = World::start(64);
    // There are more rooms than are served side by side: in a fixed order the last ones would never have their turn.
    let rooms: Vec<_> = (0..24).map(|number| format!("r{number}")).collect();
    let sizes = [2, 4, 8, 10, 12, 30];
    for (room, count) in rooms.iter().zip(sizes.into_iter().cycle()) {
        world.seed(room, count);
    }
    let (start, mut posts) = (world.clock.unix_micros(), 0);
    for _ in 0..60 {
        world.clock.advance(Duration::from_secs(1));
        let records: Vec<_> = rooms.iter().map(|room| world.typing(room)).collect();
        let metrics = world.serve(&records).await;
        posts += metrics.count(EPHEMERAL_POSTS);
        let dropped = metrics.count(Dropped::Budget.counter());
        assert_eq!(metrics.count(EPHEMERALS_POSTED) + dropped, rooms.len() as u64);
        let earned = u64::from(POSTS_PER_SECOND / 2) * (world.clock.unix_micros() - start) / 1_000_000;
        assert!(posts <= earned + 30, "{posts} posts, {earned} earned");
    }
    let record = world.connections.record();
    assert_eq!(record.posts as u64, posts);
    let served: BTreeSet<_> = record.connections.keys().filter_map(|connection| connection.split('-').next()).collect();
    assert_eq!(served.len(), rooms.len(), "{served:?}");
    // In each second 264 posts are wanted and 50 are earned: 3,000 in all.
    assert!(posts >= 2_700, "{posts}: what is earned is spent");
}

#[tokio::test]
async fn a_refusal_silences_the_environment_and_each_that_follows_for_twice_as_long() {
    let world = World::start(1);
    world.seed("room", 30);
    let refused_first = |_: &str| Script::always(Scripted::throttled());
    world.connections.script_others(refused_first);
    let mut posts = 0;
    for seconds in [1, 2, 4, 8, 16, 30] {
        // The silence before was long enough to earn the 30 posts of a frame, so no frame is dropped for the allowance.
        assert_eq!(world.serve_one("room").await, Err(Dropped::Throttled));
        posts += 1;
        assert_eq!(world.connections.record().posts, posts, "the first 429 ends it");
        let queries = world.dynamodb.count("Query");
        world.clock.advance(Duration::from_millis(seconds * 1_000 - 1));
        assert_eq!(world.serve_one("room").await, Err(Dropped::Throttled));
        assert_eq!(world.connections.record().posts, posts, "silent for {seconds} s");
        assert_eq!(world.dynamodb.count("Query"), queries, "and nothing is read");
        world.clock.advance(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn a_connection_that_does_not_read_silences_once_and_is_left_alone() {
    let world = World::start(64);
    world.seed("room", 10);
    world.connections.script("room-3", Script::always(Scripted::throttled()));
    let _ = world.serve_one("room").await;
    assert_eq!(world.connections.record().status(429), 1);
    for _ in 0..50 {
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.serve_one("room").await, Ok(()));
    }
    assert_eq!(world.connections.record().status(429), 1, "a minute long");
    for _ in 0..40 {
        world.clock.advance(Duration::from_millis(500));
        assert_eq!(world.serve_one("room").await, Ok(()), "its next refusal tells nothing of the account");
    }
    assert_eq!(world.connections.record().status(429), 2);
}

#[tokio::test]
async fn what_has_grown_old_while_it_was_posted_is_posted_no_more() {
    let world = World::start(1);
    world.seed("room", 5);
    world.connections.hold();
    let grow_old = async {
        while world.connections.record().posts == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        world.clock.advance(Duration::from_millis(STALE_AFTER + 1));
        world.connections.release();
    };
    let (result, ()) = tokio::join!(world.serve_one("room"), grow_old);
    assert_eq!((result, world.connections.record().posts), (Err(Dropped::Old), 1));
}

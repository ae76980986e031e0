//! The sweep, against an embedded table and a scripted API.

use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use ingest::connections_api::{ApiError, ConnectionsApi};
use ingest::presence::tick::Ticks;
use ingest::sweep::{Sweep, SweepError, SweepSettings, Swept};
use ingest::sweeper::{SweeperError, SweeperFunction};
use lambda_runtime::{Context, LambdaEvent};
use serde::de::IgnoredAny;
use serde_json::json;
use shared::metrics::Metrics;
use shared::metrics::names::{EXAMINED, SWEPT, TICKS_SENT};
use shared::store::connections::{ConnectionTable, Joining};
use shared::store::scan::RowTable;
use shared::store::sweep::SweepPosition;
use shared::{
    ConnectionId, RoomId, Subject,
    clock::{Clock, SystemClock},
};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::aws_sdk::sdk_config;
use testkit::connections_server::{ConnectionsServer, Script, Scripted};
use testkit::dynamodb::{CONGESTION_TABLE, CONNECTIONS_TABLE, ConnectionRow, DynamoDb};
use testkit::fifo_queue::FifoQueue;

const SETTINGS: SweepSettings = SweepSettings {
    per_second: NonZeroU32::new(100_000).unwrap(),
    gone_grace: Duration::from_secs(10),
    // No connection here has just been opened, so a 410 can be confirmed at once.
    confirm_after: Duration::ZERO,
    lease_seconds: 1_200,
    is_dry: false,
};

struct World {
    dynamodb: DynamoDb,
    server: ConnectionsServer,
}

impl World {
    fn new(rows: impl IntoIterator<Item = ConnectionRow>) -> Self {
        let (dynamodb, server) = (DynamoDb::start(), ConnectionsServer::start());
        dynamodb.seed(rows);
        Self { dynamodb, server }
    }

    fn client(&self) -> Client {
        Client::new(&sdk_config(&self.dynamodb.url()))
    }

    fn table(&self) -> RowTable {
        RowTable::new(self.client(), CONNECTIONS_TABLE)
    }

    fn position(&self) -> SweepPosition<SystemClock> {
        SweepPosition::new(self.client(), CONGESTION_TABLE, SystemClock)
    }

    fn sweep(&self, settings: SweepSettings) -> Sweep<SystemClock> {
        // One attempt of the SDK, so that each throttle is the sweep's own to wait for.
        let sdk = sdk_config("http://127.0.0.1:9").into_builder();
        let sdk = sdk.retry_config(aws_config::retry::RetryConfig::disabled()).build();
        Sweep::new(self.table(), ConnectionsApi::new(&sdk, &self.server.endpoint()), SystemClock, settings)
    }

    /// Sweeps the whole table.
    async fn swept(&self, settings: SweepSettings) -> Result<Swept, SweepError> {
        let (mut sweep, mut swept, mut position) = (self.sweep(settings), Swept::default(), None);
        loop {
            let (page, next) = sweep.page(position.as_ref()).await?;
            swept.add(page);
            if next.is_none() {
                return Ok(swept);
            }
            position = next;
        }
    }

    fn gets(&self, connection: &str) -> usize {
        self.server.connection(connection).gets
    }

    fn connections(&self) -> Vec<String> {
        let mut connections: Vec<_> = self.dynamodb.rows().into_iter().map(|row| row.connection_id).collect();
        connections.sort();
        connections.dedup();
        connections
    }
}

/// The ticks of a stack without presence.
fn no_ticks() -> Ticks<SystemClock, FifoQueue> {
    Ticks::new(None, SystemClock)
}

/// A call of the schedule whose deadline has long passed: there is time for one page only.
fn without_time() -> LambdaEvent<IgnoredAny> {
    LambdaEvent::new(serde_json::from_str("{}").unwrap(), Context::default())
}

fn now() -> u64 {
    SystemClock.unix_seconds()
}

#[tokio::test]
async fn rows_of_a_gone_connection_go_after_its_second_410_whatever_the_number_of_its_rooms() {
    let rows = ["a", "b", "c"].map(|room| ConnectionRow::new("gone=", room));
    let living = ["a", "b"].map(|room| ConnectionRow::new("living=", room));
    let world = World::new(rows.into_iter().chain(living).chain([ConnectionRow::new("young=", "a").young()]));
    world.server.close("gone=");
    let dry = world.swept(SweepSettings { is_dry: true, ..SETTINGS }).await.unwrap();
    assert_eq!((dry.gone, dry.young, world.connections().len()), (3, 1, 3));
    let swept = world.swept(SETTINGS).await.unwrap();
    assert_eq!(swept, Swept { examined: 6, gone: 3, young: 1, calls: 3, ..Swept::default() });
    assert_eq!(world.connections(), ["living=", "young="]);
    assert_eq!((world.gets("gone="), world.gets("living="), world.gets("young=")), (4, 2, 0), "in two sweeps");
}

#[tokio::test]
async fn a_connection_that_is_said_once_to_be_gone_keeps_its_rows() {
    let world = World::new([ConnectionRow::new("false=", "a")]);
    world.server.script_gets("false=", Script::queue([Scripted::gone()]));
    assert_eq!(world.swept(SETTINGS).await.unwrap().gone, 0);
    assert_eq!((world.connections(), world.gets("false=")), (vec!["false=".to_owned()], 2));
}

#[tokio::test]
async fn what_has_long_expired_goes_unasked() {
    let expired = |connection: &str, seconds| ConnectionRow {
        expires_at: now() - seconds,
        ..ConnectionRow::new(connection, "a")
    };
    let world = World::new([expired("long=", 3_600), expired("just=", 5)]);
    let swept = world.swept(SETTINGS).await.unwrap();
    assert_eq!((swept.expired, world.gets("long="), world.gets("just=")), (1, 0, 1));
    assert_eq!(world.connections(), ["just="]);
}

#[tokio::test]
async fn a_row_that_was_put_again_since_it_was_read_stays() {
    let world = World::new([ConnectionRow::new("back=", "a"), ConnectionRow::new("gone=", "a")]);
    let page = world.table().page(None, 10).await.unwrap();
    let connections = ConnectionTable::new(world.client(), CONNECTIONS_TABLE, SystemClock);
    let (room, subject) = (RoomId::parse("a").unwrap(), Subject::parse("alice").unwrap());
    let connection = &ConnectionId::new("back=");
    let joining = Joining { connection, room: &room, subject: &subject, ends_at: now() + 60 };
    connections.join(joining).await.unwrap();
    for row in &page.rows {
        assert_eq!(world.table().remove(row).await.unwrap(), row.connection.as_str() == "gone=");
        // A second removal of the same row is no error.
        world.table().remove(row).await.unwrap();
    }
    assert_eq!(world.connections(), ["back="]);
}

#[tokio::test]
async fn a_throttled_call_is_waited_for_and_a_refused_one_ends_the_sweep() {
    let world = World::new([ConnectionRow::new("slow=", "a"), ConnectionRow::new("gone=", "a")]);
    world.server.close("gone=");
    world.server.script_gets("slow=", Script::queue([Scripted::throttled()]));
    let swept = world.swept(SETTINGS).await.unwrap();
    assert_eq!((swept.gone, swept.unknown, world.gets("slow=")), (1, 0, 2));
    world.server.script_gets("slow=", Script::queue([Scripted::bad_request()]));
    assert_eq!(world.swept(SETTINGS).await.unwrap().unknown, 1);
    for refusal in [Scripted::forbidden(), Scripted::not_found()] {
        world.server.script_gets("slow=", Script::always(refusal));
        let refused = world.swept(SETTINGS).await.unwrap_err();
        assert!(matches!(refused, SweepError::Api(ApiError::Refused(_))), "{refused}");
        assert_eq!(world.connections(), ["slow="]);
    }
}

#[tokio::test]
async fn a_sweep_that_is_throttled_for_long_ends_after_five_attempts() {
    let world = World::new([ConnectionRow::new("slow=", "a")]);
    world.server.script_gets("slow=", Script::always(Scripted::throttled()));
    let throttled = world.swept(SETTINGS).await.unwrap_err();
    assert!(matches!(throttled, SweepError::Api(ApiError::Throttled(_))), "{throttled}");
    assert_eq!((world.gets("slow="), world.connections()), (5, vec!["slow=".to_owned()]));
}

#[tokio::test]
async fn the_function_goes_on_where_its_time_was_up() {
    let world = World::new(ConnectionRow::many("gone-", 250, "a"));
    for number in 0..250 {
        world.server.close(&format!("gone-{number}"));
    }
    let function = SweeperFunction::new(world.position(), || world.sweep(SETTINGS), no_ticks());
    let metrics = Metrics::default();
    for (left, is_complete) in [(150, false), (50, false), (0, true)] {
        assert!(function.handle(without_time(), &metrics).await.is_ok());
        assert_eq!(world.dynamodb.rows().len(), left);
        assert_eq!(world.position().load().await.unwrap().is_none(), is_complete);
    }
    assert_eq!((metrics.count(EXAMINED), metrics.count(SWEPT)), (250, 250));
}

#[tokio::test]
async fn the_function_begins_no_page_that_its_rate_has_no_time_for() {
    // The API is not asked about these connections, whose rows have expired.
    let world =
        World::new(ConnectionRow::many("c-", 250, "a").into_iter().map(|row| ConnectionRow { expires_at: 1, ..row }));
    let slow = SweepSettings { per_second: NonZeroU32::MIN, ..SETTINGS };
    let function = SweeperFunction::new(world.position(), || world.sweep(slow), no_ticks());
    // A page may take 200 s.
    let mut event = without_time();
    event.context.deadline = SystemClock.unix_millis() + 150_000;
    let swept = function.handle(event, &Metrics::default()).await.unwrap();
    assert_eq!((swept.examined, swept.expired), (100, 100));
}

/// When the last member is gone unreported, nobody is left whose `sync` would show it.
#[tokio::test]
async fn rooms_in_which_somebody_was_present_who_is_swept_have_a_tick() {
    let world = World::new([ConnectionRow::new("gone=", "plain")]);
    let present = |connection: &str, room: &str| {
        let now = now();
        json!({
            "connectionId": connection, "roomId": room, "userId": "ann", "joinedAt": 1, "slot": 1, "memberOf": room,
            "presentUntil": now - 60, "expiresAt": now + 3_600,
        })
    };
    for (connection, room) in [("gone=", "chat:1"), ("gone=", "chat:2"), ("living=", "chat:3")] {
        world.dynamodb.seed_raw_row(&present(connection, room));
    }
    world.server.close("gone=");
    let dry = SweepSettings { is_dry: true, ..SETTINGS };
    let queue = FifoQueue::default();
    for (settings, ticked) in [(dry, vec![]), (SETTINGS, vec!["chat:1", "chat:2"])] {
        let ticks = Ticks::new(Some(queue.clone()), SystemClock);
        let function = SweeperFunction::new(world.position(), || world.sweep(settings), ticks);
        let metrics = Metrics::default();
        function.handle(without_time(), &metrics).await.unwrap();
        let rooms: Vec<_> = queue.sent().into_iter().map(|record| record.group_id).collect();
        assert_eq!(
            (rooms, metrics.count(TICKS_SENT)),
            (ticked.iter().map(ToString::to_string).collect(), ticked.len() as u64)
        );
    }
}

/// The tick of the last member's end may be lost, and no row is left of that member.
#[tokio::test]
async fn rooms_at_whose_members_nobody_has_looked_for_a_lease_have_a_tick() {
    let world = World::new([]);
    let lease = SETTINGS.lease_seconds * 1_000;
    for (room, everybody, age) in [("chat:1", 1, lease), ("chat:2", 1, lease - 60_000), ("chat:3", 0, lease)] {
        world.dynamodb.seed_raw_row(&json!({
            "connectionId": format!("presence/{room}"), "roomId": room, "rev": 1, "count": 0, "everybody": everybody,
            "readAt": SystemClock.unix_millis() - age, "expiresAt": now() + 3_600,
        }));
    }
    let queue = FifoQueue::default();
    for settings in [SweepSettings { is_dry: true, ..SETTINGS }, SETTINGS] {
        let ticks = Ticks::new(Some(queue.clone()), SystemClock);
        let function = SweeperFunction::new(world.position(), || world.sweep(settings), ticks);
        let swept = function.handle(without_time(), &Metrics::default()).await.unwrap();
        assert_eq!((swept.examined, swept.deleted()), (3, 0));
        let rooms: Vec<_> = queue.sent().into_iter().map(|record| record.group_id).collect();
        assert_eq!(rooms, if settings.is_dry { vec![] } else { vec!["chat:1"] });
    }
}

/// Ticks are sent for rows that were deleted before the sweep failed.
#[tokio::test]
async fn a_sweep_that_fails_has_ticks_of_what_it_deleted() {
    let world = World::new([]);
    for room in ["chat:1", "chat:2"] {
        world.dynamodb.seed_raw_row(&json!({
            "connectionId": "gone=", "roomId": room, "userId": "ann", "joinedAt": 1, "slot": 1, "memberOf": room,
            "presentUntil": 1, "expiresAt": 1,
        }));
    }
    world.dynamodb.fault(Rule::on("DeleteItem", Fault::access_denied()).after(1));
    let queue = FifoQueue::default();
    let ticks = Ticks::new(Some(queue.clone()), SystemClock);
    let function = SweeperFunction::new(world.position(), || world.sweep(SETTINGS), ticks);
    assert!(function.handle(without_time(), &Metrics::default()).await.is_err());
    assert_eq!((queue.sent().len(), world.dynamodb.rows().len()), (1, 1));
}

/// The next call goes on with the page that failed, neither with the first page nor with the one behind.
#[tokio::test]
async fn a_page_that_fails_is_swept_again() {
    let world = World::new(ConnectionRow::many("gone-", 150, "a"));
    (0..150).for_each(|number| world.server.close(&format!("gone-{number}")));
    // The second page fails at its eleventh row.
    world.dynamodb.fault(Rule::on("DeleteItem", Fault::access_denied()).after(110).times(1));
    let function = SweeperFunction::new(world.position(), || world.sweep(SETTINGS), no_ticks());
    let call = || async { function.handle(without_time(), &Metrics::default()).await };
    assert_eq!(call().await.unwrap().examined, 100);
    let second_page = world.position().load().await.unwrap();
    assert!(second_page.is_some());
    assert!(matches!(call().await, Err(SweeperError::Sweep(SweepError::Store(_)))));
    assert_eq!((world.dynamodb.rows().len(), world.position().load().await.unwrap()), (40, second_page));
    assert_eq!(call().await.unwrap().gone, 40);
    assert_eq!((world.dynamodb.rows().len(), world.position().load().await.unwrap()), (0, None));
}

//! The published row of a room: one that cannot be read, and the writes of a look that finds nothing new.

use std::rc::Rc;

use fastrand::Rng;
use ingest::presence::config::{EventKinds, PresenceSettings};
use serde_json::json;
use testkit::aws_endpoint::AwsEndpoint;
use testkit::aws_sdk::sdk_config;
use testkit::steps::Steps;

use super::environments::{Function, function, handle};
use super::world::{DELAY, World};

struct Environment {
    world: Rc<World>,
    endpoint: AwsEndpoint,
    function: Rc<Function>,
}

impl Environment {
    fn new(settings: impl FnOnce(&mut PresenceSettings)) -> Self {
        let world = Rc::new(World::new(500, 500, Rng::with_seed(3)));
        let steps = Steps::default();
        let endpoint = world.lagging.endpoint(&steps);
        let client = aws_sdk_dynamodb::Client::new(&sdk_config(&endpoint.url()));
        let mut function: Function = function(&world, &client, &steps);
        settings(&mut function.settings);
        Self { world, endpoint, function: Rc::new(function) }
    }

    /// Sends a tick of a room, and has it handled.
    async fn look(&self, room: &str) {
        self.world.tick(room);
        self.world.advance(DELAY + 2_000);
        let batch = self.world.ticks.receive().unwrap();
        let failures = handle(Rc::clone(&self.function), batch.records.clone()).await;
        assert_eq!(failures, Vec::<String>::new());
        self.world.ticks.settle(&batch, &failures);
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_replaced_by_a_list_to_ask_for() {
    let environment = Environment::new(|_| ());
    let world = &environment.world;
    let rev = world.now() + 1_000_000;
    world.spoil("p", rev);
    world.put_row("c1=", "p", "ann", 3_600_000);
    environment.look("p").await;
    let row = world.row("p").expect("another row");
    assert_eq!((row.rev, row.members.map(|members| members.len())), (rev + 1, Some(1)));
    let told = world.broadcasts.receive().unwrap().records[0].body.clone();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["presence"], json!({ "rev": rev + 1, "count": 1, "reload": true }));
}

#[tokio::test]
async fn a_look_at_a_small_room_that_finds_nothing_new_writes_nothing() {
    for (room, events) in [
        ("e", EventKinds { room: true, member: false }),
        ("e", EventKinds { room: true, member: true }),
        ("b", EventKinds { room: true, member: false }),
        ("p", EventKinds { room: false, member: false }),
    ] {
        let environment = Environment::new(|settings| settings.events = events);
        environment.world.put_row("c1=", room, "ann", 3_600_000);
        environment.look(room).await;
        environment.endpoint.clear_calls();
        environment.look(room).await;
        assert_eq!(environment.endpoint.operations(), ["GetItem", "Query"], "{room}, {events:?}");
    }
}

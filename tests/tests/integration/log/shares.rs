//! The share of an environment's requests that a subject may use.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::clock::TestClock;
use testkit::dynamodb::DynamoDb;

use super::session::Session;
use super::writer::client;

/// Requests in a burst, at one a second.
const BURST: usize = 10;

struct World {
    dynamodb: DynamoDb,
    clock: TestClock,
    session: Session,
}

impl World {
    fn new() -> Self {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let session = Session::with_requests(1, client(&dynamodb), &clock);
        Self { dynamodb, clock, session }
    }

    async fn join(&self, subject: &str) -> Value {
        self.session.request("c=", subject, &json!({ "action": "joinRoom", "roomId": "r", "requestId": "q" })).await
    }
}

#[tokio::test]
async fn a_subject_that_asks_too_much_is_told_when_to_ask_again() {
    let world = World::new();
    for _ in 0..BURST {
        assert_eq!(world.join("alice").await["type"], "joined");
    }
    let calls = world.dynamodb.endpoint().operations().len();
    let reply = world.join("alice").await;
    assert_eq!((&reply["code"], &reply["requestId"]), (&json!("rate_limited"), &json!("q")), "{reply}");
    let retry_after = reply["retryAfterMs"].as_u64().unwrap();
    assert!((990..=1_000).contains(&retry_after), "{reply}");
    assert_eq!(world.session.connect("d=", "alice").await, 429);
    assert_eq!(world.dynamodb.endpoint().operations().len(), calls, "what is refused costs nothing");

    assert_eq!(world.join("bob").await["type"], "joined", "another subject");
    world.clock.advance(Duration::from_millis(retry_after));
    assert_eq!(world.join("alice").await["type"], "joined");
}

#[tokio::test]
async fn a_sync_puts_as_many_rows_anew_as_there_are_requests_left() {
    let world = World::new();
    let all: BTreeSet<String> = (0..25).map(|number| format!("room-{number:02}")).collect();
    let mut left = all.clone();
    let mut syncs = 0;
    while !left.is_empty() {
        let rooms: Value = left.iter().map(|room| (room.clone(), json!(0))).collect::<serde_json::Map<_, _>>().into();
        let reply = world.session.request("c=", "alice", &json!({ "action": "sync", "rooms": rooms })).await;
        let served: BTreeSet<String> = reply["rooms"].as_object().unwrap().keys().cloned().collect();
        let renewed: BTreeSet<String> = serde_json::from_value(reply["renewed"].clone()).unwrap();
        assert_eq!((served.len(), &served), (left.len().min(BURST - 1), &renewed), "{reply}");
        assert_eq!(reply.get("forbidden"), None, "what cannot be afforded is not forbidden");
        left.retain(|room| !renewed.contains(room));
        syncs += 1;
        if syncs == 1 {
            let over = world.session.request("c=", "alice", &json!({ "action": "sync", "rooms": rooms })).await;
            assert_eq!(over["code"], "rate_limited");
        }
        world.clock.advance(Duration::from_secs(10));
    }
    assert_eq!((syncs, world.dynamodb.rooms_of_connection("c=")), (3, all.into_iter().collect()));
}

#[tokio::test]
async fn a_sync_for_which_no_row_can_be_afforded_is_told_when_to_ask_again() {
    let world = World::new();
    for _ in 1..BURST {
        world.join("alice").await;
    }
    let frame = json!({ "action": "sync", "rooms": { "another": 0 } });
    let reply = world.session.request("c=", "alice", &frame).await;
    assert_eq!((&reply["code"], reply["retryAfterMs"].is_u64()), (&json!("rate_limited"), true), "{reply}");
    // A room whose row exists is served, since it costs no more than the frame.
    world.clock.advance(Duration::from_secs(1));
    let frame = json!({ "action": "sync", "rooms": { "another": 0, "r": 0 } });
    let reply = world.session.request("c=", "alice", &frame).await;
    assert_eq!(reply["rooms"].as_object().map(|rooms| rooms.keys().cloned().collect()), Some(vec!["r".to_owned()]));
}

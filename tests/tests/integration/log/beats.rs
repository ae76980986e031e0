//! The times that clients are told: when to sync next, when to try again, and that the time was up.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::aws_endpoint::{Fault, Hold, Rule};

use super::rooms::{CONNECTION, Rooms, SUBJECT, sync_of};
use super::session::RETENTION_SECONDS;

/// A time longer than any answer takes on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn sync_after(reply: &Value) -> u64 {
    reply["syncAfterMs"].as_u64().unwrap_or_else(|| panic!("{reply}"))
}

/// Whether a time is the expected one, but for the jitter (up to 5 % less) and for the time that the clock has moved
/// meanwhile (up to a second more).
fn is_about(millis: u64, expected: u64) -> bool {
    (expected - expected / 20 - 1..=expected + 1_000).contains(&millis)
}

#[tokio::test]
async fn rooms_are_synced_as_seldom_as_they_are_silent() {
    let rooms = Rooms::new();
    rooms.seed("old", 3, 10);
    rooms.join("old", 7_200);
    rooms.join("empty", 7_200);
    let at = |names: &[(&str, u64)]| names.iter().map(|(room, after)| ((*room).to_owned(), *after)).collect::<Vec<_>>();
    let join = json!({ "action": "joinRoom", "roomId": "old" });
    for (silent, expected) in [(0, 30_000), (100, 100_000), (900, 540_000)] {
        rooms.clock.advance(Duration::from_secs(silent));
        assert!(is_about(sync_after(&rooms.sync(&at(&[("old", 3)])).await), expected), "{silent}");
        assert!(is_about(sync_after(&rooms.sync(&at(&[("old", 1)])).await), expected), "{silent}");
        assert!(is_about(sync_after(&rooms.request(&join).await), expected), "{silent}");
    }
    assert!(is_about(sync_after(&rooms.sync(&at(&[("empty", 0)])).await), 540_000));
    rooms.seed("new", 3, 10);
    rooms.join("new", 7_200);
    let newest = rooms.sync(&at(&[("old", 3), ("new", 3), ("empty", 0)])).await;
    assert!(is_about(sync_after(&newest), 30_000), "the newest counts");
    assert_eq!(rooms.request(&join).await["retentionSeconds"], RETENTION_SECONDS);
}

/// A message that is posted before the index shows the row is missed, and in a silent room nothing follows it.
#[tokio::test]
async fn a_connection_whose_row_was_put_anew_syncs_again_soon() {
    let rooms = Rooms::new();
    rooms.seed("old", 3, 10);
    rooms.clock.advance(Duration::from_secs(900));
    let at = [("old".to_owned(), 3)];
    for expected in [30_000, 540_000] {
        assert!(is_about(sync_after(&rooms.sync(&at).await), expected), "{expected}");
    }
}

#[tokio::test]
async fn while_tables_throttle_everybody_waits_longer() {
    let rooms = Rooms::new();
    rooms.seed("room", 3, 10);
    rooms.join("room", 7_200);
    let sync = sync_of(&[("room".to_owned(), 3)]);
    for (round, retry_after) in [(0, 2_000), (1, 4_000), (2, 8_000), (3, 8_000)] {
        rooms.dynamodb.fault(Rule::on("PutItem", Fault::throughput_exceeded()).times(3));
        let throttled = rooms.request(&json!({ "action": "joinRoom", "roomId": "room", "requestId": "j" })).await;
        assert_eq!((&throttled["code"], &throttled["requestId"]), (&json!("rate_limited"), &json!("j")));
        assert_eq!(throttled["retryAfterMs"], retry_after, "{round}");
        rooms.clock.advance(Duration::from_secs(1));
    }
    assert!(is_about(sync_after(&rooms.request(&sync).await), 240_000));
    rooms.clock.advance(Duration::from_secs(20));
    assert!(is_about(sync_after(&rooms.request(&sync).await), 60_000));
    // Rooms that are left out count as well.
    rooms.clock.advance(Duration::from_secs(1));
    rooms.dynamodb.fault(Rule::on("BatchGetItem", Fault::throughput_exceeded()));
    assert_eq!(rooms.request(&sync).await["retryAfterMs"], 4_000);
}

#[tokio::test]
async fn every_route_answers_before_its_time_is_up() {
    let routes = [
        ("PutItem", json!({ "action": "joinRoom", "roomId": "room" })),
        ("DeleteItem", json!({ "action": "leaveRoom", "roomId": "room" })),
        ("Query", json!({ "action": "getHistory", "roomId": "room" })),
        ("BatchGetItem", json!({ "action": "sync", "rooms": { "room": 0 } })),
    ];
    for (operation, mut frame) in routes {
        let rooms = Rooms::new();
        rooms.dynamodb.fault(Rule::on(operation, Fault::Held(Hold::default())));
        frame["requestId"] = json!("q");
        let answer = rooms.session.request_at_the_last_moment(CONNECTION, SUBJECT, &frame);
        let reply = tokio::time::timeout(PATIENCE, answer).await.expect("an answer");
        assert_eq!((&reply["code"], &reply["requestId"]), (&json!("unavailable"), &json!("q")), "{operation}");
    }
}

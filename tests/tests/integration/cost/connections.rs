//! Connections in rooms in which nothing is said: handshakes, joins, beats, disconnects.

use std::num::NonZeroU32;
use std::time::Duration;

use ingest::config::SessionLimits;
use serde_json::json;
use shared::clock::Clock;
use testkit::clock::TestClock;
use testkit::dynamodb::DynamoDb;

use super::{Counts, NOT_COUNTED};
use crate::log::{Session, client};

/// Seconds from one beat of a silent room to the next, as the model has it.
const BEAT: f64 = 540.0 * 0.99;

#[tokio::test]
async fn idle_connections_cost_what_the_model_says() {
    let (connections, beats) = (20, 7);
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let limits = SessionLimits { rooms: 100, connections: NonZeroU32::new(50), requests: 0, room_joins: 0 };
    let session = Session::with_limits(limits, client(&dynamodb), &clock);
    let mut counts = Counts::default();
    for number in 0..connections {
        let (connection, subject, room) =
            (format!("connection-{number:04}="), format!("subject-{number}"), format!("room-{number:015}"));
        let (now, expires_at) = (clock.unix_millis(), clock.unix_seconds() + 86_400);
        dynamodb.seed_log([json!({
            "roomId": room, "seq": 1, "id": "m", "from": "bob", "sentAt": now, "data": "1", "appendedAt": now,
            "expiresAt": expires_at,
        })]);
        dynamodb.seed_head(&room, 1, now, expires_at);
        assert_eq!(session.connect(&connection, &subject).await, 200);
        counts.add_calls(["Authorizer", "Session"]);
        let join = json!({ "action": "joinRoom", "roomId": room });
        assert_eq!(session.request(&connection, &subject, &join).await["type"], "joined");
        for _ in 0..beats {
            clock.advance(Duration::from_secs(530));
            let sync = json!({ "action": "sync", "rooms": { &room: 1 } });
            assert_eq!(session.request(&connection, &subject, &sync).await["renewed"], json!([]));
        }
        for _ in 0..=beats {
            counts.add_calls(["Session", "FramesIn", "Replies"]);
        }
        session.disconnect(&connection, &subject).await;
        counts.add_calls(["Session"]);
    }
    counts.add_metered(dynamodb.metered_calls());

    // One of the beats confirms the join. The time until the next one starts anew then, which saves half a beat.
    let hours = (f64::from(beats) - 0.5) * BEAT / 3_600.0;
    let workload = json!({
        "days": 1, "subjectBytes": 10, "roomIdBytes": 20, "fixed": false,
        "rooms": [{ "count": connections, "members": 1, "messagesPerSecond": 0, "hoursPerDay": hours }],
    });
    counts.assert_model(&Counts::of_model(&workload, &["beats", "handshakes"]), &NOT_COUNTED);
}

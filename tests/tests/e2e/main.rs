//! The whole system on the local stack, seen by real WebSocket clients.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test a broken expectation must stop the test, loudly and where it broke"
)]

use std::time::Duration;

use serde_json::json;
use tests::history::{Delivery, History, Membership, RoomLog, assert_clean};
use tests::stack::LocalStack;
use tests::websocket::{Handshake, Refused};

#[tokio::test]
async fn a_message_reaches_everyone_in_the_room_and_nobody_else() {
    let stack = LocalStack::start(&[]).await;
    let alice = stack.connect("alice").await.unwrap();
    let bob = stack.connect_with(&Handshake::token(&stack.token("bob")).room("lobby")).await.unwrap();
    let carol = stack.connect("carol").await.unwrap();
    alice.join("lobby").await;
    carol.join("elsewhere").await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(alice.say("lobby", json!({ "number": number })).await);
    }
    for client in [&alice, &bob] {
        let messages = client.expect_messages("lobby", 3, Duration::from_secs(30)).await;
        assert_eq!(messages.iter().map(|message| &message["id"]).collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
        assert!(messages.iter().all(|message| message["from"] == "alice"));
    }
    assert!(carol.seen().is_empty());

    let log = RoomLog::new("lobby", bob.seen().into_iter().map(|seen| (seen.seq, seen.id)));
    let histories = [&alice, &bob].map(|client| History {
        connection: "client".to_owned(),
        memberships: vec![Membership::since("lobby", 0)],
        seen: client.seen(),
    });
    assert_clean(&[log], &histories, Delivery::AtLeastOnce);
    assert_eq!(stack.connect_with(&Handshake::token("x.y.z")).await.unwrap_err(), Refused(Some(403)));
    carol.kill().await;
}

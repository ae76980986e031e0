//! Logs whose messages have expired. Retention is a minute at the least, so the scenario makes them expire.

use serde_json::json;
use testkit::websocket::Handshake;

use crate::stacks::Stacks;
use crate::tables::{expire, log, now, plant_expired};
use crate::wait::PATIENCE;

pub(crate) async fn what_has_expired_is_reported_as_truncated(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("old-alice")).room("old")).await.unwrap();
    for number in 0..5 {
        alice.say("old", json!(number)).await;
    }
    alice.expect_messages("old", 5, PATIENCE).await;
    let numbers: Vec<u64> = log(stack, "old").await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(numbers.len(), 5);
    for seq in &numbers[..3] {
        expire(stack, "old", *seq).await;
    }
    let bob = stack.connect("old-bob").await.unwrap();
    // From the last message before the retained ones, nothing is missing; from the beginning, only the retained ones
    // are left.
    for (after, missed, truncated) in
        [(numbers[1], 2, true), (numbers[2], 2, false), (numbers[3], 1, false), (0, 2, false)]
    {
        let joined = bob.join_after("old", after).await;
        let found: Vec<_> = joined["messages"].as_array().unwrap().iter().map(|message| &message["seq"]).collect();
        assert_eq!(
            found,
            numbers[5 - missed..].iter().map(|seq| json!(seq)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
        );
        assert_eq!(
            (&joined["truncated"], &joined["seq"]),
            (&json!(truncated), &json!(numbers[4])),
            "{after}: {joined}"
        );
    }
}

pub(crate) async fn a_room_silent_past_its_retention_starts_anew(stacks: &Stacks) {
    let stack = stacks.shared().await;
    // A day ago, as far as fan-out knows: numbers are microseconds.
    let yesterday = micros() - 86_400_000_000;
    for seq in [yesterday, yesterday + 1] {
        plant_expired(stack, "silent", seq).await;
    }
    let alice = stack.connect("silent-alice").await.unwrap();
    let joined = alice.join_after("silent", yesterday).await;
    assert_eq!((&joined["seq"], &joined["messages"], &joined["truncated"]), (&json!(0), &json!([]), &json!(true)));
    let before = micros();
    alice.say("silent", json!("anybody?")).await;
    alice.say("silent", json!("hello?")).await;
    let messages = alice.expect_messages("silent", 2, PATIENCE).await;
    let numbers: Vec<_> = messages.iter().map(|message| message["seq"].as_u64().unwrap()).collect();
    assert!(before <= numbers[0] && numbers[0] <= micros(), "{numbers:?} does not start after {before}");
    assert_eq!(numbers[1], numbers[0] + 1);
    let synced = alice.request_for("synced", json!({ "action": "sync", "rooms": { "silent": yesterday } })).await;
    let synced = &synced["rooms"]["silent"];
    assert_eq!((&synced["seq"], &synced["truncated"]), (&json!(numbers[1]), &json!(true)));
    assert_eq!(synced["messages"].as_array().unwrap().len(), 2);
}

fn micros() -> u64 {
    now().as_micros().try_into().unwrap()
}

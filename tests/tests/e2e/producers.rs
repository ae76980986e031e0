//! Producers that write to the queue themselves, for strict order.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::websocket::Handshake;

use crate::stacks::Stacks;
use crate::tables::{enqueue, log, reason_of_dead_letter, whole_log};
use crate::wait::{PATIENCE, until};

pub(crate) async fn records_written_to_the_queue_arrive_in_order(stacks: &Stacks) {
    const RECORDS: u64 = 15;
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("strict-alice")).room("strict")).await.unwrap();
    for number in 0..RECORDS {
        let body = json!({ "v": 1, "roomId": "strict", "id": format!("s{number}"), "from": "feed", "sentAt": 5, "data": number });
        enqueue(stack, "strict", &format!("strict-{number}"), &body.to_string()).await;
    }
    // The least that a record may be.
    enqueue(stack, "strict", "strict-least", r#"{"roomId":"strict","data":"least"}"#).await;
    let messages = alice.expect_messages("strict", 16, PATIENCE).await;
    for (number, message) in (0..RECORDS).zip(&messages) {
        assert_eq!(
            (&message["from"], &message["sentAt"], &message["data"]),
            (&json!("feed"), &json!(5), &json!(number))
        );
    }
    assert_eq!((&messages[15]["from"], &messages[15]["data"]), (&json!("producer"), &json!("least")));
    whole_log(stack, "strict", 16).await;
}

pub(crate) async fn poison_in_the_queue_goes_to_the_dead_letter_queue_and_blocks_nothing(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("poison-alice")).room("poison")).await.unwrap();
    let poison = [
        ("poison: no JSON", "not a JSON object"),
        (r#"{"roomId":"poison","poison":"no data"}"#, "`data` is missing"),
        (r#"{"roomId":"poison: bad room","data":1}"#, "`roomId` may only have the characters"),
        (r#"{"roomId":"poison-other-room","data":1}"#, "`roomId` is not the record's MessageGroupId"),
    ];
    for (number, (body, _)) in poison.iter().enumerate() {
        enqueue(stack, "poison", &format!("poison-{number}"), body).await;
        let good = json!({ "roomId": "poison", "data": number }).to_string();
        enqueue(stack, "poison", &format!("good-{number}"), &good).await;
    }
    let messages = alice.expect_messages("poison", poison.len(), PATIENCE).await;
    assert!(
        (0..poison.len())
            .eq(messages.iter().map(|message| usize::try_from(message["data"].as_u64().unwrap()).unwrap()))
    );
    whole_log(stack, "poison", poison.len()).await;
    for (body, expected) in poison {
        let reason = reason_of_dead_letter(stack, body).await;
        assert!(reason.starts_with(expected), "{body}: {reason}");
    }
}

/// The number of conflated messages depends on how the queue cuts its batches; the guarantees do not.
pub(crate) async fn of_messages_with_a_key_all_are_logged_and_the_newest_arrives(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("keys-alice")).room("keys")).await.unwrap();
    // Newest last for one key, not for the other; and one without a key.
    let records = [("a", 1), ("b", 9), ("a", 2), ("b", 4), ("", 0), ("a", 3), ("b", 5)];
    for (number, (key, version)) in records.iter().enumerate() {
        let body = match *key {
            "" => json!({ "roomId": "keys", "id": format!("k{number}"), "data": "always" }),
            key => json!({ "roomId": "keys", "id": format!("k{number}"), "data": 0, "key": key, "version": version }),
        };
        enqueue(stack, "keys", &format!("keys-{number}"), &body.to_string()).await;
    }
    until("all are logged", async || (log(stack, "keys").await.len() == records.len()).then_some(())).await;
    let entries = log(stack, "keys").await;
    let head = whole_log(stack, "keys", records.len()).await.head();
    let covered = |frame: &Value| {
        let messages = frame["messages"].as_array().unwrap();
        let (first, last) = (messages[0]["seq"].as_u64().unwrap(), messages.last().unwrap()["seq"].as_u64().unwrap());
        let after = frame["after"].as_u64().unwrap_or(first - 1);
        (after + 1)..=frame["seq"].as_u64().unwrap_or(last)
    };
    let is_broadcast = |frame: &Value| frame["type"] == "messages" && frame["roomId"] == "keys";
    alice.expect("the frame that covers the last", |frame| is_broadcast(frame) && covered(frame).contains(&head)).await;
    let frames: Vec<_> = alice.received().into_iter().map(|frame| frame.json).filter(is_broadcast).collect();
    let all: BTreeSet<u64> = frames.iter().flat_map(covered).collect();
    assert!(all.into_iter().eq(entries.iter().map(|(seq, _)| *seq)), "a number looks lost: {frames:?}");

    let seen = alice.messages("keys");
    assert!(seen.is_sorted_by_key(|message| message["seq"].as_u64()), "{seen:?}");
    let arrived =
        |key: &str, version: u64| seen.iter().any(|message| message["key"] == key && message["version"] == version);
    assert!(arrived("a", 3) && arrived("b", 9), "the newest version is missing: {seen:?}");
    assert!(seen.iter().any(|message| message["data"] == "always"));
}

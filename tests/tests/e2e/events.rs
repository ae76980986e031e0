//! Producers that put events on the bus.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use serde_json::{Value, json};
use tests::stack::LocalStack;
use tests::websocket::Handshake;

use crate::stacks::Stacks;
use crate::tables::{log, reason_of_dead_letter};
use crate::wait::PATIENCE;

/// Puts an event; its id.
async fn put(stack: &LocalStack, source: &str, detail: &Value) -> String {
    let client = aws_sdk_eventbridge::Client::new(&stack.sdk_config());
    let entry = PutEventsRequestEntry::builder()
        .event_bus_name(&stack.description().event_bus_name)
        .source(source)
        .detail_type("roomcast.message")
        .detail(detail.to_string())
        .build();
    let put = client.put_events().entries(entry).send().await.unwrap();
    put.entries()[0].event_id().expect("the bus took the event").to_owned()
}

pub(crate) async fn an_event_of_a_producer_reaches_the_room_once(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("events-alice")).room("prices:X")).await.unwrap();
    let event = put(stack, "prices.feed", &json!({ "roomId": "prices:X", "data": { "price": 1.5 } })).await;
    let first = alice.expect_messages("prices:X", 1, PATIENCE).await.remove(0);
    assert_eq!((&first["from"], &first["id"]), (&json!("prices.feed"), &json!(event)));
    assert_eq!(first["data"], json!({ "price": 1.5 }));
    // The bus gives each event that is put an id of its own; a producer that repeats itself says so by its own id.
    let tick = json!({ "roomId": "prices:X", "id": "tick-1", "data": 2, "key": "X", "version": 1, "from": "exchange" });
    put(stack, "prices.feed", &tick).await;
    put(stack, "prices.feed", &tick).await;
    let second = alice.expect_messages("prices:X", 2, PATIENCE).await.remove(1);
    assert_eq!((&second["from"], &second["id"]), (&json!("exchange"), &json!("tick-1")));
    assert_eq!((&second["key"], &second["version"]), (&json!("X"), &json!(1)));
    let last = put(stack, "prices.feed", &json!({ "roomId": "prices:X", "data": 3 })).await;
    alice.expect_messages("prices:X", 3, PATIENCE).await;
    let ids: Vec<_> = log(stack, "prices:X").await.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, [event.as_str(), "tick-1", last.as_str()]);
}

pub(crate) async fn an_event_that_is_no_message_goes_to_the_dead_letter_queue_with_its_reason(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let details = [
        (json!({ "roomId": "no room", "data": 1 }), "`roomId` may only have the characters"),
        (json!({ "roomId": "events-bad" }), "`data` is missing"),
    ];
    for (detail, expected) in details {
        let event = put(stack, "prices.bad", &detail).await;
        let reason = reason_of_dead_letter(stack, &event).await;
        assert!(reason.starts_with(expected), "{detail}: {reason}");
    }
    // The bus still works.
    let alice = stack.connect_with(&Handshake::token(&stack.token("events-bob")).room("events-bad")).await.unwrap();
    put(stack, "prices.bad", &json!({ "roomId": "events-bad", "data": "good" })).await;
    assert_eq!(alice.expect_messages("events-bad", 1, PATIENCE).await[0]["data"], "good");
}

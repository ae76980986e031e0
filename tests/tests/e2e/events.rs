//! Producers that put events on the bus.

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sqs::types::MessageAttributeValue;
use serde_json::{Value, json};
use testkit::stack::LocalStack;
use testkit::websocket::Handshake;

use crate::stacks::Stacks;
use crate::tables::{log, queue_url, reason_of_dead_letter, received, whole_log};
use crate::wait::{PATIENCE, until};

/// Puts an event; returns its id.
pub(crate) async fn put(stack: &LocalStack, source: &str, detail: &Value) -> String {
    put_all(stack, source, "roomcast.message", &[detail.to_string()]).await.remove(0)
}

/// Puts events in one call, ten at the most; returns their ids.
pub(crate) async fn put_all(stack: &LocalStack, source: &str, detail_type: &str, details: &[String]) -> Vec<String> {
    let client = aws_sdk_eventbridge::Client::new(&stack.sdk_config());
    let entries = details.iter().map(|detail| {
        PutEventsRequestEntry::builder()
            .event_bus_name(&stack.description().event_bus_name)
            .source(source)
            .detail_type(detail_type)
            .detail(detail)
            .build()
    });
    let put = client.put_events().set_entries(Some(entries.collect())).send().await.unwrap();
    put.entries().iter().map(|entry| entry.event_id().expect("the bus took the event").to_owned()).collect()
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

/// Many events at once come to several environments: each arrives once, in any order.
pub(crate) async fn a_burst_of_events_reaches_its_rooms_whole(stacks: &Stacks) {
    const EVENTS: usize = 60;
    let stack = stacks.shared().await;
    let room_of = |number: usize| ["burst:a", "burst:b", "burst:c"][number % 3];
    let details: Vec<_> = (0..EVENTS)
        .map(|number| json!({ "roomId": room_of(number), "id": number.to_string(), "data": number }).to_string())
        .collect();
    for details in details.chunks(10) {
        put_all(stack, "burst", "roomcast.message", details).await;
    }
    for room in 0..3 {
        let ids = async || {
            let mut ids: Vec<usize> =
                log(stack, room_of(room)).await.iter().map(|(_, id)| id.parse().unwrap()).collect();
            ids.sort_unstable();
            ids
        };
        let expected: Vec<_> = (room..EVENTS).step_by(3).collect();
        until("all are logged", async || (ids().await == expected).then_some(())).await;
        whole_log(stack, room_of(room), EVENTS / 3).await;
    }
}

/// Events that EventBridge could not deliver, or that `relay` has failed to send a thousand times: nobody needs to
/// redrive them.
pub(crate) async fn the_failure_queue_is_drained_by_itself(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("drain-alice")).room("drained")).await.unwrap();
    let failures = queue_url(stack, "RelayFailureQueue").await;
    let event = json!({
        "version": "0", "id": "late", "detail-type": "roomcast.message", "source": "feed", "account": "000000000000",
        "time": "2026-11-21T00:00:07Z", "region": "us-east-1", "resources": [],
        "detail": { "roomId": "drained", "data": "late" },
    });
    let client = aws_sdk_sqs::Client::new(&stack.sdk_config());
    let mut send = client.send_message().queue_url(&failures).message_body(event.to_string());
    // EventBridge marks events that it gives up in this way ("Using dead-letter queues to process undelivered events").
    for (name, value) in [("ERROR_CODE", "NO_PERMISSIONS"), ("RULE_ARN", "arn:aws:events:us-east-1:0:rule/r")] {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap();
        send = send.message_attributes(name, value);
    }
    send.send().await.unwrap();
    let message = alice.expect_messages("drained", 1, PATIENCE).await.remove(0);
    assert_eq!((&message["id"], &message["from"], &message["data"]), (&json!("late"), &json!("feed"), &json!("late")));
    assert_eq!(message["sentAt"], 1_795_219_207_000_u64);
}

pub(crate) async fn an_event_of_another_type_is_kept_where_it_can_be_read(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let detail = json!({ "roomId": "unmatched", "data": "misspelt" }).to_string();
    let id = put_all(stack, "prices.feed", "roomcast.mesage", &[detail]).await.remove(0);
    let kept = received(stack, &queue_url(stack, "UnmatchedQueue").await, &id).await;
    let event = kept.body().unwrap();
    assert!(event.contains("roomcast.mesage"), "{event}");
    // The bus promises no order, so an event after it that has arrived would not show that this one never will. The
    // bus says itself which of its rules an event matches.
    let client = aws_sdk_eventbridge::Client::new(&stack.sdk_config());
    let rules = client.list_rules().event_bus_name(&stack.description().event_bus_name).send().await.unwrap();
    let mut matching = Vec::new();
    for rule in rules.rules() {
        let test = client.test_event_pattern().event_pattern(rule.event_pattern().unwrap()).event(event);
        if test.send().await.unwrap().result() {
            matching.push(rule.name().unwrap());
        }
    }
    assert!(matches!(matching[..], [rule] if rule.contains("UnmatchedRule")), "{matching:?}");
}

//! Ephemeral messages: posted to the connections in the room, and kept nowhere.

use std::time::Duration;

use aws_sdk_sqs::Client as Sqs;
use serde_json::{Value, json};
use testkit::stack::LocalStack;
use testkit::websocket::{Client, Handshake};

use crate::members::state;
use crate::stacks::Stacks;
use crate::tables::{log, now};

fn is_ephemeral_of(frame: &Value, room: &str) -> bool {
    frame["type"] == "ephemeral" && frame["roomId"] == room
}

/// Every ephemeral message of a room that a client has got, in the order of arrival.
fn ephemerals(client: &Client, room: &str) -> Vec<Value> {
    let frames = client.received().into_iter().map(|frame| frame.json).filter(|frame| is_ephemeral_of(frame, room));
    frames.flat_map(|frame| frame["ephemeral"].as_array().cloned().unwrap_or_default()).collect()
}

async fn expect(client: &Client, room: &str, data: &Value) -> Value {
    let has_it = |frame: &Value| {
        is_ephemeral_of(frame, room)
            && frame["ephemeral"].as_array().unwrap().iter().any(|message| message["data"] == *data)
    };
    let frame = client.expect(&format!("an ephemeral message with {data}"), has_it).await;
    frame["ephemeral"].as_array().unwrap().iter().find(|message| message["data"] == *data).unwrap().clone()
}

/// Writes to the queue as a producer does.
pub(crate) async fn produce(stack: &LocalStack, room: &str, body: &Value) {
    let queue = stack.description().ephemeral_queue_url.as_deref().expect("a queue of ephemeral messages");
    let send = Sqs::new(&stack.sdk_config()).send_message().queue_url(queue).message_body(body.to_string());
    send.message_group_id(room).send().await.unwrap();
}

pub(crate) async fn typing_is_seen_and_leaves_no_trace(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "brief:typing";
    let ann = stack.connect_with(&Handshake::token(&stack.token("typing-ann")).room(room)).await.unwrap();
    let bob = stack.connect_with(&Handshake::token(&stack.token("typing-bob")).room(room)).await.unwrap();
    let typing =
        json!({ "action": "sendMessage", "roomId": room, "ephemeral": true, "key": "typing", "data": "Ann types" });
    // Sent until it is seen: a busy machine may take so long that it is dropped as old.
    crate::wait::until("it is seen", async || {
        ann.request_for("accepted", typing.clone()).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        (!ephemerals(&bob, room).is_empty()).then_some(())
    })
    .await;
    let seen = expect(&bob, room, &json!("Ann types")).await;
    assert_eq!((&seen["from"], &seen["key"]), (&json!("typing-ann"), &json!("typing")));
    assert!(seen["sentAt"].is_u64() && seen.get("seq").is_none(), "{seen}");
    // The sender gets it like all others.
    expect(&ann, room, &json!("Ann types")).await;
    // A message after it has the log's first number of the room, and nothing else was kept.
    ann.say(room, json!("said")).await;
    bob.expect_messages(room, 1, crate::wait::PATIENCE).await;
    assert_eq!(log(stack, room).await.len(), 1);
    assert!(state(stack, room).await.is_empty());
}

pub(crate) async fn a_producers_ephemerals_arrive_unless_they_are_old(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "brief:producer";
    let bob = stack.connect_with(&Handshake::token(&stack.token("brief-bob")).room(room)).await.unwrap();
    let long_ago = now().checked_sub(Duration::from_mins(1)).unwrap();
    let old = json!({ "v": 1, "roomId": room, "from": "feed", "sentAt": u64::try_from(long_ago.as_millis()).unwrap(), "data": "old" });
    produce(stack, room, &old).await;
    produce(stack, room, &json!({ "roomId": room })).await;
    // The queue's delay is not the subject here, so messages are sent until one arrives in time.
    let mut number = 0;
    crate::wait::until("a new one arrives", async || {
        number += 1;
        produce(stack, room, &json!({ "v": 1, "roomId": room, "data": number })).await;
        (!ephemerals(&bob, room).is_empty()).then_some(())
    })
    .await;
    let arrived = ephemerals(&bob, room);
    assert!(arrived.iter().all(|message| message["data"].is_u64()), "{arrived:?}");
    assert!(arrived.iter().all(|message| message["from"] == "producer" && message["sentAt"].is_u64()), "{arrived:?}");
}

pub(crate) async fn what_cannot_be_ephemeral_is_refused(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let ann = stack.connect("refused-ann").await.unwrap();
    let send = |more: Value| {
        let mut frame = json!({ "action": "sendMessage", "roomId": "brief:refused", "ephemeral": true, "data": 1 });
        frame.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        frame
    };
    for more in [
        json!({ "key": "k", "remove": true }),
        json!({ "key": "k", "ttlSeconds": 5 }),
        json!({ "data": "x".repeat(4 * 1024) }),
    ] {
        let refused = ann.request_for("error", send(more)).await;
        assert_eq!(refused["code"], "bad_request", "{refused}");
    }
    let claims =
        json!({ "sub": "refused-bob", "exp": now().as_secs() + 600, "rooms": { "brief:*": ["join", "state"] } });
    let bob = stack.connect_with(&Handshake::token(&stack.token_with(&claims))).await.unwrap();
    assert_eq!(bob.request_for("error", send(json!({}))).await["code"], "forbidden");
    ann.request_for("accepted", send(json!({}))).await;
}

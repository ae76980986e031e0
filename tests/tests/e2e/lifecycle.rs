//! Lifecycle events on the bus, about members that come and go.

use std::collections::HashMap;

use aws_sdk_eventbridge::Client as EventBridge;
use aws_sdk_eventbridge::types::Target;
use aws_sdk_sqs::Client as Sqs;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use testkit::stack::LocalStack;
use testkit::websocket::Handshake;

use crate::stacks::Stacks;
use crate::wait::until;

/// A queue that gets the stack's own events of one room, as a backend's would.
pub(crate) struct Listener<'a> {
    stack: &'a LocalStack,
    queue_url: String,
    heard: Vec<Value>,
}

impl<'a> Listener<'a> {
    /// Begins to listen for a room.
    pub(crate) async fn of(stack: &'a LocalStack, room: &str) -> Self {
        let name = format!("lifecycle-{}", room.replace(':', "-"));
        let (sqs, events) = (Sqs::new(&stack.sdk_config()), EventBridge::new(&stack.sdk_config()));
        let queue_url = sqs.create_queue().queue_name(&name).send().await.unwrap().queue_url.expect("a queue");
        let asked = sqs.get_queue_attributes().queue_url(&queue_url).attribute_names(QueueAttributeName::QueueArn);
        let attributes: HashMap<_, _> = asked.send().await.unwrap().attributes.expect("attributes");
        let bus = &stack.description().event_bus_name;
        let pattern = json!({ "source": ["roomcast"], "detail": { "roomId": [room] } }).to_string();
        events.put_rule().name(&name).event_bus_name(bus).event_pattern(pattern).send().await.unwrap();
        let target = Target::builder().id("queue").arn(&attributes[&QueueAttributeName::QueueArn]).build().unwrap();
        events.put_targets().rule(&name).event_bus_name(bus).targets(target).send().await.unwrap();
        Self { stack, queue_url, heard: Vec::new() }
    }

    /// All events so far, in order.
    async fn heard(&mut self) -> &[Value] {
        let client = Sqs::new(&self.stack.sdk_config());
        loop {
            let receive = client.receive_message().queue_url(&self.queue_url).max_number_of_messages(10);
            let page = receive.send().await.unwrap().messages.unwrap_or_default();
            if page.is_empty() {
                return &self.heard;
            }
            for message in page {
                self.heard.push(serde_json::from_str(message.body().unwrap()).unwrap());
                let delete = client.delete_message().queue_url(&self.queue_url);
                delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
            }
        }
    }

    /// Waits for an event of this kind at or after a place; returns the event and the place after it.
    pub(crate) async fn hears(&mut self, kind: &str, from: usize) -> (Value, usize) {
        let kind = format!("roomcast.{kind}");
        until(&format!("the bus hears {kind}"), async || {
            let mut heard = self.heard().await.iter().enumerate().skip(from);
            heard
                .find(|(_, event)| event["detail-type"] == kind.as_str())
                .map(|(place, event)| (event.clone(), place + 1))
        })
        .await
    }
}

pub(crate) async fn a_backend_hears_who_comes_and_goes(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "life:backend";
    let mut backend = Listener::of(stack, room).await;
    // A member who joins with the handshake is counted too, though not listed.
    let ann = stack.connect_with(&Handshake::token(&stack.token("life-ann")).room(room)).await.unwrap();
    let (occupied, _) = backend.hears("room.occupied", 0).await;
    assert_eq!(occupied["source"], "roomcast");
    assert_eq!((&occupied["detail"]["roomId"], &occupied["detail"]["count"]), (&json!(room), &json!(1)));
    let (joined, place) = backend.hears("member.joined", 0).await;
    assert_eq!(joined["detail"]["members"][0]["id"], "life-ann", "{joined}");
    let bob = stack.connect("life-bob").await.unwrap();
    assert!(bob.join(room).await.get("presence").is_none());
    let (joined, place) = backend.hears("member.joined", place).await;
    assert_eq!((&joined["detail"]["members"][0]["id"], &joined["detail"]["count"]), (&json!("life-bob"), &json!(2)));
    ann.close().await;
    let (left, place) = backend.hears("member.left", place).await;
    assert_eq!((&left["detail"]["members"][0]["id"], &left["detail"]["count"]), (&json!("life-ann"), &json!(1)));
    bob.leave(room).await;
    let (vacated, _) = backend.hears("room.vacated", place).await;
    assert_eq!(vacated["detail"]["roomId"], room);
    // Events of a rev come before those of the next, and clients of the room hear nothing of them.
    let revs: Vec<_> = backend.heard().await.iter().map(|event| event["detail"]["rev"].as_u64().unwrap()).collect();
    assert!(revs.is_sorted(), "{revs:?}");
    assert!(!bob.received().iter().any(|frame| frame.json["type"] == "presence"), "{:?}", bob.received());
}

//! Personal rooms: direct messages, and what follows from them.

use futures::future::join_all;
use serde_json::json;
use testkit::stack::LocalStack;
use testkit::websocket::{Client, Handshake};

use crate::stacks::Stacks;
use crate::tables::rows;
use crate::wait::{PATIENCE, until};

async fn devices(stack: &LocalStack, subject: &str, count: usize) -> Vec<Client> {
    let room = format!("user:{subject}");
    let handshake = Handshake::token(&stack.token(subject)).room(&room);
    join_all((0..count).map(|_| async { stack.connect_with(&handshake).await.unwrap() })).await
}

pub(crate) async fn a_direct_message_reaches_every_device_of_its_owner_and_nobody_else(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let devices = devices(stack, "dm-alice", 2).await;
    let bob = stack.connect_with(&Handshake::token(&stack.token("dm-bob")).room("user:dm-bob")).await.unwrap();
    let id = bob.say("user:dm-alice", json!("psst")).await;
    for device in &devices {
        let messages = device.expect_messages("user:dm-alice", 1, PATIENCE).await;
        assert_eq!((&messages[0]["from"], &messages[0]["id"]), (&json!("dm-bob"), &json!(id)));
    }
    devices[0].say("user:dm-bob", json!("what?")).await;
    bob.expect_messages("user:dm-bob", 1, PATIENCE).await;
    assert_eq!(bob.messages("user:dm-alice"), [] as [serde_json::Value; 0]);
}

pub(crate) async fn a_personal_room_is_closed_to_others(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let eve = stack.connect("closed-eve").await.unwrap();
    let frames = [
        json!({ "action": "joinRoom", "roomId": "user:closed-alice" }),
        json!({ "action": "joinRoom", "roomId": "user:closed-alice", "after": 0 }),
        json!({ "action": "getHistory", "roomId": "user:closed-alice" }),
    ];
    for frame in frames {
        let refused = eve.request_for("error", frame.clone()).await;
        assert_eq!(refused["code"], "forbidden", "{frame}: {refused}");
        assert!(refused["message"].as_str().unwrap().contains("user:closed-alice"), "{refused}");
    }
    let sync = json!({ "action": "sync", "rooms": { "closed": 0, "user:closed-alice": 0 } });
    assert_eq!(eve.request_for("synced", sync).await["forbidden"], json!(["user:closed-alice"]));
    assert_eq!(rows(stack, "user:closed-alice").await, []);
    eve.join("user:closed-eve").await;
}

pub(crate) async fn all_devices_log_out_at_a_message_to_the_personal_room(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let devices = devices(stack, "everywhere", 3).await;
    devices[0].say("user:everywhere", json!({ "command": "log-out" })).await;
    for device in devices {
        let messages = device.expect_messages("user:everywhere", 1, PATIENCE).await;
        assert_eq!(messages[0]["data"]["command"], "log-out");
        device.close().await;
    }
    until("no device is left", async || rows(stack, "user:everywhere").await.is_empty().then_some(())).await;
}

//! Rows whose connections no longer exist, and connections whose rows no longer exist.

use std::time::Duration;

use serde_json::json;
use testkit::websocket::Handshake;

use crate::stacks::{Behaviour, Stacks};
use crate::tables::{lose_row, now, plant_row, rows, users};
use crate::wait::{PATIENCE, until};

pub(crate) async fn a_killed_clients_rows_go_with_its_disconnect(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let _alice = stack.connect_with(&Handshake::token(&stack.token("killed-alice")).room("killed")).await.unwrap();
    let bob = stack.connect_with(&Handshake::token(&stack.token("killed-bob")).room("killed")).await.unwrap();
    bob.join("killed:too").await;
    assert_eq!(users(stack, "killed").await, ["killed-alice", "killed-bob"]);
    bob.kill().await;
    until("only alice's row is left", async || (users(stack, "killed").await == ["killed-alice"]).then_some(())).await;
    until("no row is left", async || rows(stack, "killed:too").await.is_empty().then_some(())).await;
}

/// The emulator never loses a `$disconnect`, but API Gateway may: rows of connections that never existed stand for
/// that.
pub(crate) async fn rows_whose_disconnect_was_lost_go_with_the_next_broadcast_but_young_ones_stay(stacks: &Stacks) {
    const STALE: u64 = 30; // enough for shards
    let stack = stacks.shared().await;
    let alice = stack.connect("stale-alice").await.unwrap();
    let long_ago = now().checked_sub(Duration::from_mins(10)).unwrap();
    for number in 0..STALE {
        plant_row(stack, "stale", &format!("stale{number}="), number * 2000, long_ago).await;
    }
    plant_row(stack, "stale:other", "stale0=", 0, long_ago).await;
    // A handshake that is still under way answers 410 as well. The row is dated in the future, to stay young on a slow
    // machine.
    plant_row(stack, "stale", "young=", 7, now() + Duration::from_mins(10)).await;
    let connections = async || -> Vec<_> { rows(stack, "stale").await.into_iter().map(|row| row.connection).collect() };
    alice.say("stale", json!("hello")).await;
    until("the stale rows are gone", async || (connections().await.len() <= 1).then_some(())).await;
    // A second broadcast, complete when alice has it.
    alice.join("stale").await;
    alice.say("stale", json!("anybody?")).await;
    alice.expect_messages("stale", 1, PATIENCE).await;
    assert!(connections().await.contains(&"young=".to_owned()), "the young row is gone too");
    assert_eq!(rows(stack, "stale:other").await.len(), 1, "another room's row is that room's to delete");
}

pub(crate) async fn a_client_whose_row_was_lost_hears_again_after_its_next_sync(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let (alice, bob) = (stack.connect("deaf-alice").await.unwrap(), stack.connect("deaf-bob").await.unwrap());
    let joined = alice.join("deaf").await;
    assert!(joined["retentionSeconds"].is_u64() && joined["syncAfterMs"].is_u64(), "{joined}");
    let row = rows(stack, "deaf").await.remove(0);
    lose_row(stack, "deaf", &row.connection).await;
    bob.join("deaf").await;
    bob.say("deaf", json!(1)).await;
    bob.expect_messages("deaf", 1, PATIENCE).await;

    let sync = json!({ "action": "sync", "rooms": { "deaf": joined["seq"] } });
    let synced = alice.request_for("synced", sync).await;
    assert_eq!(synced["renewed"], json!(["deaf"]));
    assert_eq!(synced["rooms"]["deaf"]["messages"][0]["data"], 1);
    assert!((1_000..=540_000).contains(&synced["syncAfterMs"].as_u64().unwrap()), "{synced}");
    assert_eq!(users(stack, "deaf").await, ["deaf-alice", "deaf-bob"]);
    bob.say("deaf", json!(2)).await;
    alice.expect_messages("deaf", 1, PATIENCE).await;
    let again = json!({ "action": "sync", "rooms": { "deaf": synced["rooms"]["deaf"]["seq"] } });
    assert_eq!(alice.request_for("synced", again).await["renewed"], json!([]));
}

pub(crate) async fn a_living_connection_that_is_said_to_be_gone_is_closed_and_comes_back(stacks: &Stacks) {
    let faulty = stacks.faulty().await;
    let stack = &faulty.stack;
    let (alice, bob) = (stack.connect("false-alice").await.unwrap(), stack.connect("false-bob").await.unwrap());
    let joined = alice.join("false").await;
    // The row looks like that of a member that has been there for longer than a handshake takes.
    let row = rows(stack, "false").await.remove(0);
    plant_row(stack, "false", &row.connection, 7, now().checked_sub(Duration::from_mins(10)).unwrap()).await;
    faulty.posts.behave(Behaviour::SayGone);
    bob.say("false", json!("is anybody there?")).await;
    alice.ended().await;
    faulty.posts.behave(Behaviour::Pass);
    let again = stack.connect("false-alice").await.unwrap();
    let resumed = again.join_after("false", joined["seq"].as_u64().unwrap()).await;
    assert_eq!(resumed["messages"][0]["data"], "is anybody there?");
    bob.say("false", json!("again")).await;
    again.expect_messages("false", 1, PATIENCE).await;
}

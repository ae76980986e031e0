//! Rows of connections that are no more.

use std::time::Duration;

use serde_json::json;
use tests::websocket::Handshake;

use crate::stacks::Stacks;
use crate::tables::{now, plant_row, rows, users};
use crate::wait::{PATIENCE, until};

pub(crate) async fn a_killed_client_leaves_no_row_after_the_next_broadcast(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("killed-alice")).room("killed")).await.unwrap();
    let bob = stack.connect_with(&Handshake::token(&stack.token("killed-bob")).room("killed")).await.unwrap();
    bob.join("killed:too").await;
    assert_eq!(users(stack, "killed").await, ["killed-alice", "killed-bob"]);
    bob.kill().await;
    alice.say("killed", json!("is anybody there?")).await;
    alice.expect_messages("killed", 1, PATIENCE).await;
    until("only alice's row is left", async || (users(stack, "killed").await == ["killed-alice"]).then_some(())).await;
    until("no row is left", async || rows(stack, "killed:too").await.is_empty().then_some(())).await;
}

/// The emulator never loses a `$disconnect`; API Gateway, which promises none, is played by rows of connections that
/// never were.
pub(crate) async fn rows_whose_disconnect_was_lost_go_with_the_next_broadcast_but_young_ones_stay(stacks: &Stacks) {
    const STALE: u64 = 30; // enough for shards
    let stack = stacks.shared().await;
    let alice = stack.connect("stale-alice").await.unwrap();
    let long_ago = now().checked_sub(Duration::from_mins(10)).unwrap();
    for number in 0..STALE {
        plant_row(stack, "stale", &format!("stale{number}="), number * 2000, long_ago).await;
    }
    plant_row(stack, "stale:other", "stale0=", 0, long_ago).await;
    // A handshake that is still under way answers 410 as well. From the future, to stay young however slow the machine.
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

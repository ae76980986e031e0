//! Rows that were left behind, and connections that are to go.

use std::time::Duration;

use serde_json::json;
use testkit::websocket::Handshake;

use super::roomcast;
use crate::permissions::invoke_sweeper;
use crate::stacks::Stacks;
use crate::tables::{now, plant_row, rows, users};
use crate::wait::until;

/// This runs on the stack of the bus: on others, scenarios plant rows that a sweep would find.
pub(crate) async fn a_sweep_deletes_what_was_left_behind(stacks: &Stacks) {
    let stack = stacks.bus().await;
    let room = "cli:sweep";
    let token = stack.token_with(&json!({
        "sub": "cli-sweep", "iss": crate::stacks::ISSUER, "aud": crate::stacks::AUDIENCE,
        "exp": (now() + Duration::from_hours(1)).as_secs(), "rooms": { "*": ["join"] },
    }));
    let alice = stack.connect_with(&Handshake::token(&token).room(room)).await.unwrap();
    let long_ago = now().checked_sub(Duration::from_mins(10)).unwrap();
    let living = rows(stack, room).await.remove(0);
    // The row looks like that of a member that has been there for long.
    plant_row(stack, room, &living.connection, 7, long_ago).await;
    let plant = async || {
        for number in 0..3 {
            plant_row(stack, room, &format!("swept{number}="), number, long_ago).await;
            plant_row(stack, "cli:sweep:2", &format!("swept{number}="), number, long_ago).await;
        }
    };
    plant().await;
    plant_row(stack, room, "young=", 5, now() + Duration::from_mins(10)).await;
    let dry = roomcast(stack, &["sweep", "--dry-run", "--json"]).await.ended_with(0).json().remove(0);
    // The row of the subject's own connection may be young, too.
    assert!(dry["gone"] == 6 && dry["young"].as_u64() >= Some(1), "{dry}");
    assert_eq!(rows(stack, room).await.len(), 5);
    let file = stack.state().join("sweep.json");
    let words = ["sweep", "--per-second", "200", "--resume", file.to_str().unwrap(), "--json"];
    let swept = roomcast(stack, &words).await.ended_with(0).json().remove(0);
    assert_eq!((&swept["gone"], &swept["unknown"]), (&json!(6), &json!(0)), "{swept}");
    let mut left: Vec<_> = rows(stack, room).await.into_iter().map(|row| row.connection).collect();
    left.sort();
    let mut kept = vec![living.connection, "young=".to_owned()];
    kept.sort();
    assert_eq!(left, kept);
    assert!(rows(stack, "cli:sweep:2").await.is_empty() && !file.exists());

    // The function `sweeper` does the same.
    plant().await;
    invoke_sweeper(stack).await;
    until("the function has swept", async || rows(stack, "cli:sweep:2").await.is_empty().then_some(())).await;
    drop(alice);
}

pub(crate) async fn a_subject_is_disconnected_everywhere(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let mut clients = Vec::new();
    for subject in ["cli-out", "cli-out", "cli-stays"] {
        let handshake = Handshake::token(&stack.token(subject)).room("cli:out");
        clients.push(stack.connect_with(&handshake).await.unwrap());
    }
    let words = ["disconnect", "cli-out", "--json"];
    let dry = roomcast(stack, &[&words[..], &["--dry-run"]].concat()).await.ended_with(0).json();
    assert!(dry.len() == 2 && dry.iter().all(|line| line["outcome"] == "found"), "{dry:?}");
    assert_eq!(users(stack, "cli:out").await.len(), 3);
    let found = roomcast(stack, &["disconnect", "cli-out", "--scan", "--dry-run"]).await.ended_with(0);
    assert!(found.out.contains("2 would be closed"), "{found:?}");
    let closed = roomcast(stack, &words).await.ended_with(0).json();
    assert!(closed.len() == 2 && closed.iter().all(|line| line["outcome"] == "closed"), "{closed:?}");
    for client in &clients[..2] {
        until("the connection ends", async || client.end()).await;
    }
    assert_eq!(users(stack, "cli:out").await, ["cli-stays"]);
    assert!(clients[2].end().is_none());
    let again = roomcast(stack, &["disconnect", "cli-out"]).await.ended_with(0);
    assert!(again.out.contains("cli-out has no connections"), "{again:?}");
}

//! Shares: a client that takes too much is told when to come back, and is served then.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::websocket::Client;
use tokio::time::sleep;

use crate::bus_sink::{claims, connect};
use crate::stacks::Stacks;
use crate::wait::until;

/// Asks until the answer is that there is too much.
async fn flood(client: &Client, mut frame: impl FnMut(usize) -> Value) -> (Value, Value) {
    let mut number = 0;
    until("an answer that it is too much", async || {
        number += 1;
        let frame = frame(number);
        let reply = client.request(frame.clone()).await;
        (reply["type"] == "error").then_some((frame, reply))
    })
    .await
}

async fn is_served_later(client: &Client, frame: Value, refused: &Value, kind: &str) {
    assert_eq!(refused["code"], "rate_limited", "{refused}");
    let mut wait = refused["retryAfterMs"].as_u64().expect("when to come back");
    // Each environment counts for itself, so another one may answer with a wait of its own.
    until("to be served", async || {
        sleep(Duration::from_millis(wait)).await;
        let reply = client.request(frame.clone()).await;
        wait = reply["retryAfterMs"].as_u64().unwrap_or_default();
        (reply["type"] == kind).then_some(())
    })
    .await;
}

pub(crate) async fn whoever_sends_too_much_is_told_when_to_try_again(stacks: &Stacks) {
    let stack = stacks.bus().await;
    let (flooder, other) =
        (connect(stack, &claims("flooder")).await.unwrap(), connect(stack, &claims("bystander")).await.unwrap());
    let message =
        |number| json!({ "action": "sendMessage", "roomId": "flooded", "data": number, "id": format!("m{number}") });
    let (frame, refused) = flood(&flooder, message).await;
    assert_eq!(refused["id"], frame["id"], "with what to try again");
    // Another sender's share is untouched.
    other.say("flooded", json!("a word")).await;
    is_served_later(&flooder, frame, &refused, "accepted").await;
}

pub(crate) async fn whoever_asks_too_much_is_told_when_to_ask_again(stacks: &Stacks) {
    let stack = stacks.bus().await;
    let (flooder, other) =
        (connect(stack, &claims("joiner")).await.unwrap(), connect(stack, &claims("onlooker")).await.unwrap());
    let join = |number| json!({ "action": "joinRoom", "roomId": format!("joined-{}", number % 3) });
    let (frame, refused) = flood(&flooder, join).await;
    other.join("joined-0").await;
    is_served_later(&flooder, frame, &refused, "joined").await;
}

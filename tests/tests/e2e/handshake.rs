//! Handshakes: who may connect, and with what.

use serde_json::json;
use testkit::stack::mint;
use testkit::websocket::{Handshake, Refused};

use crate::stacks::Stacks;
use crate::tables::{now, rows, users};
use crate::wait::until;

pub(crate) async fn tokens_that_prove_nothing_are_refused(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let later = now().as_secs() + 600;
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJldmUiLCJleHAiOjQwMDAwMDAwMDB9.";
    let cases = [
        ("no token", Handshake::default()),
        ("no JWT", Handshake::token("x.y.z")),
        ("not signed", Handshake::token(unsigned)),
        ("signed by another", Handshake::token(&mint(&"s".repeat(40), &json!({ "sub": "eve", "exp": later })))),
        ("expired", Handshake::token(&stack.token_with(&json!({ "sub": "eve", "exp": now().as_secs() - 600 })))),
        ("without expiry", Handshake::token(&stack.token_with(&json!({ "sub": "eve" })))),
        ("without subject", Handshake::token(&stack.token_with(&json!({ "exp": later })))),
        ("in another scheme", Handshake::default().header("authorization", &format!("Basic {}", stack.token("eve")))),
    ];
    for (what, handshake) in cases {
        assert_eq!(stack.connect_with(&handshake.room("refused")).await.unwrap_err(), Refused(Some(403)), "{what}");
    }
    assert_eq!(rows(stack, "refused").await, []);
}

pub(crate) async fn a_token_in_the_authorization_header_connects(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let header = format!("Bearer {}", stack.token("header-alice"));
    let alice = stack.connect_with(&Handshake::default().header("authorization", &header)).await.unwrap();
    alice.join("user:header-alice").await;
    assert_eq!(users(stack, "user:header-alice").await, ["header-alice"]);
    alice.close().await;
    until("no row after $disconnect", async || rows(stack, "user:header-alice").await.is_empty().then_some(())).await;
}

pub(crate) async fn connecting_with_a_room_joins_it_at_once(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let _alice = stack.connect_with(&Handshake::token(&stack.token("at-once")).room("at-once")).await.unwrap();
    // There is no wait here: the row was there before the handshake was answered.
    assert_eq!(users(stack, "at-once").await, ["at-once"]);
}

/// The emulator answers 403 whatever status the function gives; API Gateway passes a 400 on.
pub(crate) async fn connecting_with_a_room_that_may_not_be_joined_is_refused(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let token = stack.token("nosy");
    for room in ["user:victim", "no room", "", &"r".repeat(101)] {
        let refused = stack.connect_with(&Handshake::token(&token).room(room)).await.unwrap_err();
        assert_eq!(refused, Refused(Some(403)), "{room:?}");
    }
    assert_eq!(rows(stack, "user:victim").await, []);
}

//! A stack that sends messages through the event bus (`IngestSink` = `eventbridge`), with issuer and audience checked.

use serde_json::{Value, json};
use testkit::events::everywhere;
use testkit::stack::LocalStack;
use testkit::websocket::{Client, Handshake, Refused};

use crate::stacks::{AUDIENCE, ISSUER, Stacks};
use crate::tables::{log, now};
use crate::wait::PATIENCE;

pub(crate) fn claims(subject: &str) -> Value {
    json!({ "sub": subject, "exp": now().as_secs() + 600, "iss": ISSUER, "aud": AUDIENCE, "rooms": everywhere() })
}

pub(crate) async fn connect(stack: &LocalStack, claims: &Value) -> Result<Client, Refused> {
    stack.connect_with(&Handshake::token(&stack.token_with(claims)).room("bus")).await
}

pub(crate) async fn a_message_sent_through_the_bus_reaches_the_room_once(stacks: &Stacks) {
    let stack = stacks.bus().await;
    let alice = connect(stack, &claims("alice")).await.unwrap();
    let bob = connect(stack, &claims("bob")).await.unwrap();
    let send =
        json!({ "action": "sendMessage", "roomId": "bus", "id": "m-1", "data": { "n": 1 }, "key": "k", "version": 7 });
    for _ in 0..2 {
        assert_eq!(alice.request_for("accepted", send.clone()).await["id"], "m-1");
    }
    // The bus keeps no order: wait before the next is sent.
    let first = bob.expect_messages("bus", 1, PATIENCE).await.remove(0);
    assert_eq!((&first["from"], &first["id"]), (&json!("alice"), &json!("m-1")));
    assert_eq!((&first["data"], &first["key"], &first["version"]), (&json!({ "n": 1 }), &json!("k"), &json!(7)));
    let second = alice.say("bus", json!("next")).await;
    let messages = bob.expect_messages("bus", 2, PATIENCE).await;
    assert_eq!(messages[1]["id"], second.as_str());
    let ids: Vec<_> = log(stack, "bus").await.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["m-1", second.as_str()]);
}

pub(crate) async fn a_token_must_be_of_the_issuer_and_for_the_audience(stacks: &Stacks) {
    let stack = stacks.bus().await;
    for (claim, value) in [("iss", json!("https://other.example")), ("aud", json!("other")), ("aud", Value::Null)] {
        let mut claims = claims("eve");
        claims[claim] = value;
        assert_eq!(connect(stack, &claims).await.unwrap_err(), Refused(Some(403)), "{claims}");
    }
}

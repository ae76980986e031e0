//! Frames that are wrong: each gets its `error`, and nothing else happens.

use serde_json::json;
use testkit::websocket::{Client, Handshake};

use crate::stacks::Stacks;
use crate::tables::rows;
use crate::wait::PATIENCE;

/// Sends a frame without a readable `requestId`; returns its error, which is the next one that comes.
async fn next_error(client: &Client, send: impl FnOnce()) -> serde_json::Value {
    let before = client.received().len();
    send();
    let errors =
        || client.received().into_iter().skip(before).map(|frame| frame.json).find(|frame| frame["type"] == "error");
    crate::wait::until("an error frame", async || errors()).await
}

pub(crate) async fn every_bad_frame_gets_its_error_and_the_connection_stays_usable(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("bad-alice")).room("bad")).await.unwrap();
    alice.join("bad:too").await;
    let rows_before = (rows(stack, "bad").await, rows(stack, "bad:too").await);
    assert_eq!((rows_before.0.len(), rows_before.1.len()), (1, 1));

    let long = "r".repeat(101);
    // API Gateway takes it only in several frames of 32 KiB each; the emulator knows no limit.
    let large = "x".repeat(120 * 1024);
    let many: serde_json::Map<_, _> = (0..51).map(|room| (format!("r{room}"), json!(0))).collect();
    let cases = [
        (json!({ "action": "dance" }), "unknown_action", vec!["dance", "sendMessage"]),
        // Frames that name a lifecycle route reach that route's function as messages.
        (json!({ "action": "$connect", "roomId": "bad" }), "unknown_action", vec!["$connect"]),
        (json!({ "action": "$disconnect" }), "unknown_action", vec!["$disconnect"]),
        (json!({ "action": "$default" }), "unknown_action", vec!["$default"]),
        (json!({ "roomId": "bad" }), "bad_request", vec!["`action`"]),
        (json!({ "action": "joinRoom" }), "bad_request", vec!["`roomId`", "missing"]),
        (json!({ "action": "joinRoom", "roomId": "a/b" }), "bad_request", vec!["`roomId`", "A-Z a-z 0-9"]),
        (json!({ "action": "leaveRoom", "roomId": long }), "bad_request", vec!["`roomId`", "100", "101"]),
        (
            json!({ "action": "joinRoom", "roomId": "bad", "after": -1 }),
            "bad_request",
            vec!["`after`", "9007199254740991"],
        ),
        (json!({ "action": "sendMessage", "roomId": "bad" }), "bad_request", vec!["`data`"]),
        (
            json!({ "action": "sendMessage", "roomId": "a b", "data": 1 }),
            "bad_request",
            vec!["`roomId`", "A-Z a-z 0-9"],
        ),
        (
            json!({ "action": "sendMessage", "roomId": "bad", "data": 1, "id": "" }),
            "bad_request",
            vec!["`id`", "1 to 64"],
        ),
        (json!({ "action": "sendMessage", "roomId": "bad", "data": large }), "too_large", vec!["`data`", "120832"]),
        (json!({ "action": "getHistory", "roomId": "bad", "limit": 101 }), "bad_request", vec!["`limit`", "100"]),
        (json!({ "action": "sync", "rooms": many }), "bad_request", vec!["`rooms`", "50", "51"]),
    ];
    for (frame, code, fragments) in cases {
        let action = frame["action"].to_string();
        let error = alice.request_for("error", frame).await;
        assert_eq!(error["code"], code, "{action}: {error}");
        let message = error["message"].as_str().unwrap();
        assert!(
            fragments.iter().all(|fragment| message.contains(fragment)),
            "{action}: {error} lacks one of {fragments:?}"
        );
    }
    for text in ["", "{", "hello", "[1]", "7", r#"{"action":"joinRoom","roomId":"bad","requestId":7}"#] {
        let error = next_error(&alice, || alice.send_text(text)).await;
        assert_eq!((&error["code"], &error["requestId"]), (&json!("bad_request"), &json!(null)), "{text:?}: {error}");
    }
    // The emulator passes binary frames on as text, API Gateway encoded and marked; neither makes them a request.
    let error = next_error(&alice, || alice.send_binary(&[0, 159, 146, 150])).await;
    assert_eq!(error["code"], "bad_request", "{error}");

    assert_eq!((rows(stack, "bad").await, rows(stack, "bad:too").await), rows_before);
    let id = alice.say("bad", json!("still here")).await;
    let messages = alice.expect_messages("bad", 1, PATIENCE).await;
    assert_eq!(messages.iter().map(|message| &message["id"]).collect::<Vec<_>>(), [&json!(id)]);
}

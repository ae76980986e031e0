//! The rights of a token, each given and withheld, and its end.

use serde_json::{Value, json};
use testkit::stack::LocalStack;
use testkit::websocket::{Client, End, Handshake, Refused};

use crate::stacks::Stacks;
use crate::tables::{now, rows};
use crate::wait::{PATIENCE, until};

async fn connect(stack: &LocalStack, subject: &str, rooms: &Value, seconds: u64) -> Client {
    try_connect(stack, subject, rooms, seconds).await.unwrap()
}

async fn try_connect(stack: &LocalStack, subject: &str, rooms: &Value, seconds: u64) -> Result<Client, Refused> {
    let claims = json!({ "sub": subject, "exp": now().as_secs() + seconds, "rooms": rooms });
    stack.connect_with(&Handshake::token(&stack.token_with(&claims))).await
}

pub(crate) async fn each_right_lets_through_what_it_is_for_and_nothing_else(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let requests = [
        (json!({ "action": "joinRoom", "roomId": "rights:1" }), vec!["join"]),
        (json!({ "action": "joinRoom", "roomId": "rights:1", "after": 0 }), vec!["join", "history"]),
        (json!({ "action": "getHistory", "roomId": "rights:1" }), vec!["history"]),
        (json!({ "action": "sendMessage", "roomId": "rights:1", "data": 1 }), vec!["send"]),
        (json!({ "action": "sendMessage", "roomId": "rights:1", "data": 1, "ephemeral": true }), vec!["send"]),
        (json!({ "action": "sendMessage", "roomId": "rights:1", "data": 1, "key": "k" }), vec!["send", "state"]),
        (json!({ "action": "getState", "roomId": "rights:1" }), vec!["join"]),
        (json!({ "action": "leaveRoom", "roomId": "rights:1" }), vec![]),
    ];
    for given in [
        vec![],
        vec!["join"],
        vec!["send"],
        vec!["history"],
        vec!["state"],
        vec!["join", "history"],
        vec!["send", "state"],
        vec!["join", "send", "history"],
    ] {
        let client =
            connect(stack, "rights", &json!({ "rights:*": given, "elsewhere": ["join", "send", "history"] }), 600)
                .await;
        for (request, needed) in &requests {
            let reply = client.request(request.clone()).await;
            let is_allowed = needed.iter().all(|right| given.contains(right));
            assert_eq!(reply["code"] == "forbidden", !is_allowed, "{request} with {given:?}: {reply}");
            assert_eq!(reply["type"] != "error", is_allowed, "{request} with {given:?}: {reply}");
        }
        let synced =
            client.request_for("synced", json!({ "action": "sync", "rooms": { "rights:1": 0, "rights": 0 } })).await;
        let forbidden = if given.contains(&"join") { json!(["rights"]) } else { json!(["rights", "rights:1"]) };
        assert_eq!(synced["forbidden"], forbidden, "with {given:?}");
        client.close().await;
    }
}

pub(crate) async fn a_token_without_rights_has_its_own_personal_room_and_nothing_else(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let claims = json!({ "sub": "bare", "exp": now().as_secs() + 600 });
    let bare = stack.connect_with(&Handshake::token(&stack.token_with(&claims)).room("user:bare")).await.unwrap();
    bare.say("user:bare", json!("to my other devices")).await;
    for room in ["lobby", "user:other", "bare"] {
        for action in ["joinRoom", "getHistory", "sendMessage"] {
            let reply = bare.request_for("error", json!({ "action": action, "roomId": room, "data": 1 })).await;
            assert_eq!(reply["code"], "forbidden", "{action} {room}");
        }
    }
    let friend = connect(stack, "friend", &json!({ "user:*": ["send"] }), 600).await;
    friend.say("user:bare", json!("hello")).await;
    bare.expect_messages("user:bare", 2, PATIENCE).await;
    let refused = stack.connect_with(&Handshake::token(&stack.token_with(&claims)).room("lobby")).await;
    assert!(refused.is_err());
}

pub(crate) async fn a_connection_ends_with_its_token(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let rooms = json!({ "brief": ["join", "send"] });
    // On a busy machine a token may end before its bearer has joined; the next one lives longer.
    let mut seconds = 2;
    let (brief, joined) = until("joined before the token's end", async || {
        seconds *= 2;
        let brief = try_connect(stack, "brief", &rooms, seconds).await.ok()?;
        let joined = brief.ask(json!({ "action": "joinRoom", "roomId": "brief" }), PATIENCE).await?;
        (joined["type"] == "joined").then_some((brief, joined))
    })
    .await;
    assert!(joined["expiresInMs"].as_u64().unwrap() <= seconds * 1_000, "{joined}");
    let message = || json!({ "action": "sendMessage", "roomId": "brief", "data": 1 });
    // The leeway must be over too; then the answer comes before the close.
    let told = until("the end of the token", async || {
        brief.send(&message());
        brief.received().into_iter().find(|frame| frame.json["code"] == "forbidden")
    })
    .await;
    assert!(told.json["message"].as_str().unwrap().contains("expired"), "{}", told.text);
    assert_ne!(brief.ended().await, End::Ours);
    until("no row", async || rows(stack, "brief").await.is_empty().then_some(())).await;
    // A new token of the same subject opens another connection.
    connect(stack, "brief", &rooms, 600).await.join("brief").await;
}

pub(crate) async fn a_subject_has_so_many_connections_and_a_connection_so_many_rooms(stacks: &Stacks) {
    let stack = stacks.faulty().await;
    let stack = &stack.stack;
    let mut open = Vec::new();
    for _ in 0..crate::stacks::SUBJECT_CONNECTIONS {
        open.push(stack.connect("many").await.unwrap());
    }
    assert!(stack.connect("many").await.is_err());
    stack.connect("few").await.unwrap();
    open.pop().unwrap().close().await;
    let again = until("room for another one", async || stack.connect("many").await.ok()).await;
    for number in 0..crate::stacks::CONNECTION_ROOMS {
        again.join(&format!("many-{number}")).await;
    }
    let refused = again.request_for("error", json!({ "action": "joinRoom", "roomId": "many-more" })).await;
    assert_eq!(refused["code"], "forbidden", "{refused}");
    again.leave("many-0").await;
    again.join("many-more").await;
}

//! Commands about rooms and messages.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::json;
use testkit::websocket::Handshake;

use super::{command, roomcast, roomcast_reading};
use crate::stacks::Stacks;
use crate::tables::{enqueue, expire, log, reason_of_dead_letter};
use crate::wait::{PATIENCE, until};

pub(crate) async fn lines_are_published_once_and_tailed(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("cli-tail")).room("cli:tail")).await.unwrap();
    let lines = (1..=12).map(|number| format!("{{\"n\": {number}}}\n")).collect::<Vec<_>>().concat();
    let words = ["publish", "cli:tail", "--json-lines", "--from", "feed", "--id", "run", "--json"];
    let accepted = roomcast_reading(stack, &words, &lines).await.ended_with(0).json();
    assert_eq!(accepted[11], json!({ "line": 12, "room": "cli:tail", "id": "run-12" }));
    assert_eq!(accepted.len(), 12);
    alice.expect_messages("cli:tail", 12, PATIENCE).await;
    // A second run of the same is the same messages.
    roomcast_reading(stack, &words, &lines).await.ended_with(0);
    let text = roomcast_reading(stack, &["publish", "cli:tail", "--unordered"], "the last\n").await.ended_with(0);
    assert!(text.out.trim().ends_with("-1"), "{text:?}");
    alice.expect_messages("cli:tail", 13, PATIENCE).await;
    let logged = log(stack, "cli:tail").await;
    assert_eq!(logged.len(), 13);

    let last = roomcast(stack, &["tail", "cli:tail", "-n", "3", "--json"]).await.ended_with(0).json();
    assert_eq!(
        last.iter().map(|message| message["seq"].as_u64().unwrap()).collect::<Vec<_>>(),
        [logged[10].0, logged[11].0, logged[12].0]
    );
    assert_eq!((&last[0]["data"], &last[0]["from"]), (&json!({ "n": 11 }), &json!("feed")));
    assert_eq!(last[2]["data"], json!({ "text": "the last" }));
    let after = logged[9].0.to_string();
    let rest = roomcast(stack, &["tail", "cli:tail", "--after", &after]).await.ended_with(0);
    assert_eq!(rest.out.lines().count(), 3, "{rest:?}");
    assert!(rest.out.lines().next().unwrap().contains("run-11") || rest.out.contains("{\"n\": 11}"), "{rest:?}");
    let none = roomcast(stack, &["tail", "cli:tail", "-n", "0"]).await.ended_with(0);
    assert_eq!(none.out, "");
    expire(stack, "cli:tail", logged[0].0).await;
    let all = roomcast(stack, &["tail", "cli:tail", "--after", &(logged[0].0 - 1).to_string()]).await.ended_with(0);
    assert!(all.out.lines().count() == 12 && all.err.contains("it has expired"), "{all:?}");
}

pub(crate) async fn a_tail_follows_the_log(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let mut tail = command(stack, &["tail", "cli:follow", "--follow", "--json"]);
    let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    for text in ["one", "two"] {
        roomcast_reading(stack, &["publish", "cli:follow"], text).await.ended_with(0);
        let read = move || (lines.next().unwrap().unwrap(), lines);
        let (line, rest) = tokio::task::spawn_blocking(read).await.unwrap();
        let message: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(message["data"]["text"], text);
        lines = rest;
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
}

pub(crate) async fn what_presence_has_published_is_shown(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "presence:cli";
    let alice = stack.connect("cli-present").await.unwrap();
    let join = json!({ "action": "joinRoom", "roomId": room, "presence": true, "presenceData": { "name": "Alice" } });
    alice.request_for("joined", join).await;
    let nothing = roomcast(stack, &["members", "cli:unpublished", "--presence"]).await.ended_with(0);
    assert!(nothing.err.contains("of cli:unpublished: PresenceRooms does not match it"), "{nothing:?}");
    let frame = alice.expect("the list", |frame| frame["type"] == "presence").await;
    let shown = roomcast(stack, &["members", room, "--presence", "--json"]).await.ended_with(0).json();
    assert_eq!(shown[0], json!({ "id": "cli-present", "data": { "name": "Alice" } }));
    assert_eq!((&shown[1]["presence"]["rev"], &shown[1]["presence"]["count"]), (&frame["rev"], &json!(1)));
    let text = roomcast(stack, &["members", room, "--presence"]).await.ended_with(0).out;
    assert!(text.contains("cli-present") && text.contains(": 1 members, looked at"), "{text}");
    let stats = roomcast(stack, &["stats", room]).await.ended_with(0).out;
    assert!(stats.contains("presence        1 at rev"), "{stats}");
}

pub(crate) async fn members_and_numbers_of_a_room_are_shown(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let mut clients = Vec::new();
    for number in 0..3 {
        let token = stack.token(&format!("cli-member-{number}"));
        clients.push(stack.connect_with(&Handshake::token(&token).room("cli:members")).await.unwrap());
    }
    let members = roomcast(stack, &["members", "cli:members", "--json"]).await.ended_with(0).json();
    let mut users: Vec<_> = members.iter().map(|member| member["user"].as_str().unwrap().to_owned()).collect();
    users.sort();
    assert_eq!(users, ["cli-member-0", "cli-member-1", "cli-member-2"]);
    assert!(members[0]["joinedAt"].as_u64() < members[0]["expiresAt"].as_u64().map(|seconds| seconds * 1_000));
    let two = roomcast(stack, &["members", "cli:members", "--limit", "2"]).await.ended_with(0);
    assert!(two.out.lines().count() == 2 && two.err.contains("there are more"), "{two:?}");
    let nobody = roomcast(stack, &["members", "cli:nobody"]).await.ended_with(0);
    assert!(nobody.out.is_empty() && nobody.err.contains("nobody is in cli:nobody"), "{nobody:?}");

    clients[0].say("cli:members", json!(1)).await;
    clients[0].expect_messages("cli:members", 1, PATIENCE).await;
    let seq = log(stack, "cli:members").await[0].0;
    let room = roomcast(stack, &["stats", "cli:members", "--json"]).await.ended_with(0).json().remove(0);
    assert_eq!((&room["members"], &room["headSeq"], &room["firstSeq"]), (&json!(3), &json!(seq), &json!(seq)));
    assert_eq!((&room["fenceSeq"], &room["unfinished"], &room["behind"]), (&json!(seq), &json!(null), &json!(null)));
    let room = roomcast(stack, &["stats", "cli:members"]).await.ended_with(0);
    assert!(room.out.contains("members         3") && room.out.contains("behind          no"), "{room:?}");

    let whole = roomcast(stack, &["stats", "--json"]).await.ended_with(0).json().remove(0);
    let queues: Vec<_> = whole["queues"].as_array().unwrap().iter().map(|queue| &queue["queue"]).collect();
    assert_eq!(
        queues,
        ["broadcast", "shards", "events", "presence", "ephemeral", "dead-letters", "relay-failures", "unmatched"]
    );
    let whole = roomcast(stack, &["stats"]).await.ended_with(0);
    assert!(whole.out.contains("relay-failures") && whole.out.contains("no room is behind"), "{whole:?}");
}

pub(crate) async fn a_messages_way_is_explained(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let room = "cli:explain";
    let alice = stack.connect_with(&Handshake::token(&stack.token("cli-explain")).room(room)).await.unwrap();
    let explain = async |message: &str| roomcast(stack, &["explain", room, message, "--json"]).await;
    let sent =
        alice.request_for("accepted", json!({ "action": "sendMessage", "roomId": room, "data": 1, "id": "m-1" }));
    sent.await;
    alice.expect_messages(room, 1, PATIENCE).await;
    let seq = log(stack, room).await[0].0;
    for asked in ["m-1", &seq.to_string()] {
        // Other scenarios fill the queues, so `explain` may not know that the message is posted before the broadcast's
        // log line is written.
        let posted = until("it is known to be accepted and posted", async || {
            let said = explain(asked).await.ended_with(0).json().remove(0);
            (said["outcome"] == "posted" && said["acceptedAt"].is_u64()).then_some(said)
        })
        .await;
        assert_eq!((&posted["id"], &posted["logged"]["seq"]), (&json!("m-1"), &json!(seq)));
        assert_eq!((&posted["logged"]["from"], &posted["headSeq"]), (&json!("cli-explain"), &json!(seq)));
        assert!(posted["verdict"].as_str().unwrap().starts_with(&format!("It is number {seq}, and was")), "{posted}");
    }
    let unknown = explain("m-2").await.ended_with(1).json().remove(0);
    assert_eq!(unknown["outcome"], "unknown");
    let expired = explain(&(seq - 1).to_string()).await.ended_with(1).json().remove(0);
    assert_eq!(expired["outcome"], "expired");
    // A number that has not been given yet is no message's.
    let unknown = explain(&(seq + 1_000).to_string()).await.ended_with(1).json().remove(0);
    assert_eq!(unknown["outcome"], "unknown");

    enqueue(stack, room, "poison", &json!({ "roomId": room, "id": "m-3" }).to_string()).await;
    reason_of_dead_letter(stack, "\"m-3\"").await;
    let dead = explain("m-3").await.ended_with(1).json().remove(0);
    assert_eq!(dead["outcome"], "dead-letter");
    assert_eq!(dead["deadLetters"][0]["reason"], "`data` is missing");
    let told = roomcast(stack, &["explain", room, "m-3"]).await.ended_with(1);
    assert!(told.out.contains("roomcast dlq redrive --id"), "{told:?}");
}

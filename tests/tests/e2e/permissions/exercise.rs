//! Exercises of each function that use all its permissions. A new statement in a role needs a step here that uses it.

use std::time::Duration;

use futures::future::{LocalBoxFuture, try_join};
use serde_json::{Value, json};
use testkit::events::{QueueRecord, queue_batch};
use testkit::stack::{LocalStack, mint};
use testkit::websocket::{Client, Handshake, Received};
use tokio::time::{sleep, timeout};

use super::ANSWERED_WITHIN;
use super::aws::Aws;
use crate::ephemeral::produce as produce_ephemeral;
use crate::events::put;
use crate::lifecycle::Listener;
use crate::members::{age_lease, forget_look, hold, looked_at, plant_count, plant_member, read_number, row, tick};
use crate::stacks::PERMISSIONS_SHARD_SIZE;
use crate::tables::{enqueue, enqueue_to, log, now, plant_row, queue_url, rows};

/// Records in a full batch.
const BATCH: usize = 10;

/// The time by which a tick comes too early.
const EARLY: Duration = Duration::from_secs(2);

const POLL: Duration = Duration::from_millis(50);

/// The time after which an invocation, which should take a second, counts as lost by the emulator.
const LOST: Duration = Duration::from_secs(15);

/// Does all that a function has to do, once: `tag` distinguishes its rooms and subjects from those of other times. It
/// may wait for something that never comes, so the caller limits the time.
pub(super) async fn exercise(stack: &LocalStack, function: &str, tag: &str) -> Result<(), String> {
    // Boxed, since each future is large and a thread of the harness has a small stack.
    let work: LocalBoxFuture<'_, _> = match function {
        "Authorizer" => Box::pin(authorizer(stack, tag)),
        "Session" => Box::pin(session(stack, tag)),
        "Message" => Box::pin(message(stack, tag)),
        "Relay" => Box::pin(relay(stack, tag)),
        "Fanout" => Box::pin(fanout(stack, tag)),
        "Shards" => Box::pin(shards(stack, tag)),
        "Presence" => Box::pin(presence(stack, tag)),
        "Ephemeral" => Box::pin(ephemeral(stack, tag)),
        "Sweeper" => Box::pin(sweeper(stack, tag)),
        other => panic!("there is no exercise for the function {other}: nothing shows what its role is for"),
    };
    work.await
}

async fn connect(stack: &LocalStack, subject: &str, room: Option<&str>) -> Result<Client, String> {
    let mut handshake = Handshake::token(&stack.token(subject));
    if let Some(room) = room {
        handshake = handshake.room(room);
    }
    stack.connect_with(&handshake).await.map_err(|refused| format!("{subject} cannot connect: {refused:?}"))
}

async fn request(client: &Client, kind: &str, frame: Value) -> Result<Value, String> {
    let reply = client.request(frame).await;
    if reply["type"] == kind { Ok(reply) } else { Err(format!("no {kind}: {reply}")) }
}

async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    while !is_so().await {
        sleep(POLL).await;
    }
}

/// Has the authorizer read a new secret, for a token that is signed with it. The stack's own secret, with which all
/// other exercises sign, stays one of the last two, so its tokens remain good.
async fn authorizer(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let secret = format!("a new secret of at least 32 bytes: {tag}");
    let expiry = (now() + Duration::from_hours(1)).as_secs();
    let token = mint(&secret, &json!({ "sub": "authorizer", "exp": expiry }));
    stack.rotate_secret(&secret).await;
    let handshake = Handshake::token(&token);
    eventually(async || {
        timeout(ANSWERED_WITHIN, stack.connect_with(&handshake)).await.is_ok_and(|connected| connected.is_ok())
    })
    .await;
    stack.rotate_secret(stack.secret()).await;
    Ok(())
}

async fn session(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let expired = ended_with_its_token(stack, format!("session-{tag}-brief"), json!({ "action": "sync", "rooms": {} }));
    try_join(try_join(requests(stack, tag), membership(stack, tag)), expired).await.map(drop)
}

/// Joins a room with presence, renews the lease, and looks up members of a room that is too large for a list.
async fn membership(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let room = format!("presence:session:{tag}");
    let alice = connect(stack, &format!("session-{tag}-member"), None).await?;
    let join = json!({ "action": "joinRoom", "roomId": room, "presence": true });
    let joined = request(&alice, "joined", join).await?;
    if joined.get("presence").is_none() {
        return Err(format!("nothing is said of who is there: {joined}"));
    }
    let connection = rows(stack, &room).await.remove(0).connection;
    age_lease(stack, &room, &connection).await;
    let sync = json!({ "action": "sync", "rooms": { &room: 0 }, "presence": { &room: 0 } });
    request(&alice, "synced", sync).await?;
    let renewed = read_number(&row(stack, &room, &connection).await, "presentUntil");
    if renewed < Some(now().as_secs() + 60) {
        return Err(format!("the lease is not renewed: until {renewed:?}"));
    }
    plant_count(stack, &room, 2).await;
    request(&alice, "members", json!({ "action": "getMembers", "roomId": room })).await?;
    alice.close().await;
    Ok(())
}

async fn requests(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let (room, other) = (format!("session:{tag}"), format!("session:{tag}:other"));
    // The subject already has the one connection that `SubjectConnections` allows, but that one is gone.
    let subject = format!("session-{tag}");
    plant_row(stack, &format!("gone-{tag}="), &format!("subject/{subject}"), 0, long_ago()).await;
    // The room has an empty log, whose fence is read.
    let alice = connect(stack, &subject, Some(&room)).await?;
    let synced = request(&alice, "synced", json!({ "action": "sync", "rooms": { &room: 0 } })).await?;
    if synced["rooms"].get(&room).is_none() {
        return Err(format!("nothing is said of the room: {synced}"));
    }
    request(&alice, "history", json!({ "action": "getHistory", "roomId": room })).await?;
    request(&alice, "state", json!({ "action": "getState", "roomId": room })).await?;
    request(&alice, "joined", json!({ "action": "joinRoom", "roomId": other })).await?;
    request(&alice, "left", json!({ "action": "leaveRoom", "roomId": room })).await?;
    alice.close().await;
    eventually(async || rows(stack, &other).await.is_empty()).await;
    Ok(())
}

async fn message(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let send = json!({ "action": "sendMessage", "roomId": format!("message:{tag}"), "data": 1 });
    let expired = ended_with_its_token(stack, format!("message-{tag}-brief"), send.clone());
    let typing =
        json!({ "action": "sendMessage", "roomId": format!("message:{tag}"), "ephemeral": true, "data": true });
    let sending = async {
        let alice = connect(stack, &format!("message-{tag}"), None).await?;
        request(&alice, "accepted", typing).await?;
        request(&alice, "accepted", send).await
    };
    try_join(sending, expired).await.map(drop)
}

/// Sends frames until the token has expired: the connection is told so, and closed.
async fn ended_with_its_token(stack: &LocalStack, subject: String, frame: Value) -> Result<(), String> {
    // The token expired two seconds ago: three of the five seconds of leeway are left.
    let claims = json!({ "sub": subject, "exp": now().as_secs() - 2, "rooms": {} });
    let brief = stack.connect_with(&Handshake::token(&stack.token_with(&claims))).await;
    let brief = brief.map_err(|refused| format!("{subject} cannot connect: {refused:?}"))?;
    let is_told = |frame: &Received| frame.json["message"].as_str().is_some_and(|told| told.contains("expired"));
    eventually(async || {
        brief.send(&frame);
        brief.received().iter().any(is_told)
    })
    .await;
    eventually(async || brief.end().is_some()).await;
    Ok(())
}

fn long_ago() -> Duration {
    now().checked_sub(Duration::from_mins(10)).unwrap()
}

async fn relay(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let room = format!("relay:{tag}");
    put(stack, "feed", &json!({ "roomId": room, "data": 1 })).await;
    let poison = put(stack, "feed", &json!({ "roomId": room })).await;
    eventually(async || log(stack, &room).await.len() == 1).await;
    dead_letter(stack, &poison).await;
    Ok(())
}

async fn fanout(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let (small, large, poison) =
        (format!("fanout:{tag}"), format!("fanout:{tag}:large"), format!("fanout:{tag}:poison"));
    // The function posts to a small room itself, and hands a large one to `shards`.
    let broadcasts = try_join(
        broadcast(stack, &small, PERMISSIONS_SHARD_SIZE - 1),
        broadcast(stack, &large, PERMISSIONS_SHARD_SIZE),
    );
    let poisoning = async {
        enqueue(stack, &poison, &poison, &poison).await;
        dead_letter(stack, &poison).await;
        Ok(())
    };
    behind(stack, "Fanout", &format!("fanout:{tag}:behind")).await;
    try_join(broadcasts, poisoning).await.map(drop)
}

async fn shards(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let (room, poison) = (format!("shards:{tag}"), format!("shards:{tag}:poison"));
    let poisoning = async {
        let body = json!({ "shard": poison }).to_string();
        enqueue_to(stack, &queue_url(stack, "ShardQueue").await, &poison, &poison, &body).await;
        dead_letter(stack, &poison).await;
        Ok(())
    };
    behind(stack, "Shards", &format!("shards:{tag}:behind")).await;
    try_join(broadcast(stack, &room, PERMISSIONS_SHARD_SIZE), poisoning).await.map(drop)
}

/// Has the function find somebody in a room, tell the room and the bus, hide a tick that comes too early, and note that
/// nothing has changed. Nobody connects, so no other function is needed.
async fn presence(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let room = format!("presence:presence:{tag}");
    let mut backend = Listener::of(stack, &room).await;
    plant_member(stack, &room, &format!("presence-{tag}-ghost")).await;
    tick(stack, &room).await;
    // The event is put after the record for the room is sent, so both have happened.
    backend.hears("room.occupied", 0).await;
    forget_look(stack, &room).await;
    hold(stack, &room, EARLY).await;
    tick(stack, &room).await;
    eventually(async || looked_at(stack, &room).await > Some(1)).await;
    Ok(())
}

/// Sends ephemeral messages until one arrives: one that comes too late is dropped.
async fn ephemeral(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let room = format!("ephemeral:{tag}");
    let alice = connect(stack, &format!("ephemeral-{tag}"), Some(&room)).await?;
    eventually(async || {
        produce_ephemeral(stack, &room, &json!({ "v": 1, "roomId": room, "data": tag })).await;
        alice.received().iter().any(|frame| frame.json["type"] == "ephemeral")
    })
    .await;
    Ok(())
}

async fn sweeper(stack: &LocalStack, tag: &str) -> Result<(), String> {
    let room = format!("sweeper:{tag}");
    plant_row(stack, &room, &format!("{room}="), 0, long_ago()).await;
    // The sweeper sends a tick for this room, since nobody has looked at the room for long.
    plant_count(stack, &format!("presence:sweeper:{tag}"), 1).await;
    let aws = Aws::of(stack);
    eventually(async || {
        let _ = timeout(LOST, aws.invoke("Sweeper", &json!({}))).await;
        rows(stack, &room).await.is_empty()
    })
    .await;
    Ok(())
}

/// Broadcasts to a room with one client, which gets the message, and `gone` connections that do not exist, whose rows
/// are deleted.
async fn broadcast(stack: &LocalStack, room: &str, gone: usize) -> Result<(), String> {
    let alice = connect(stack, room, Some(room)).await?;
    for number in 0..gone {
        let slot = u64::try_from(number * 0x1_0000 / gone).unwrap();
        plant_row(stack, room, &format!("{room}:{number}="), slot, long_ago()).await;
    }
    enqueue(stack, room, room, &json!({ "roomId": room, "key": "k", "data": 1 }).to_string()).await;
    eventually(async || !alice.messages(room).is_empty() && rows(stack, room).await.len() == 1).await;
    Ok(())
}

/// Gives a function a full batch of a group that has waited for long, so that it notes the group as behind. The fate of
/// the records does not matter.
async fn behind(stack: &LocalStack, function: &str, group: &str) {
    let queued_at = u64::try_from(long_ago().as_millis()).unwrap();
    let record = |number| QueueRecord::message(group, &format!("{group}:{number}"), &json!(1)).queued_at(queued_at);
    let records: Vec<_> = (0..BATCH).map(record).collect();
    Aws::of(stack).invoke(function, &queue_batch(&records)).await;
}

/// Waits for a dead letter whose body has this text. Others are taken as well: a queue hands out its first ten only.
async fn dead_letter(stack: &LocalStack, text: &str) {
    let (client, url) = (aws_sdk_sqs::Client::new(&stack.sdk_config()), &stack.description().dlq_url);
    eventually(async || {
        let received = client.receive_message().queue_url(url).max_number_of_messages(10).send().await.unwrap();
        let mut found = false;
        for letter in received.messages() {
            found |= letter.body().is_some_and(|body| body.contains(text));
            let delete = client.delete_message().queue_url(url).receipt_handle(letter.receipt_handle().unwrap());
            delete.send().await.unwrap();
        }
        found
    })
    .await;
}

//! Broadcasts to rooms of real clients, against the rooms' logs.

use futures::future::join_all;
use futures::{StreamExt, stream};
use serde_json::json;
use testkit::history::{Delivery, History, Membership, assert_clean};
use testkit::stack::LocalStack;
use testkit::websocket::{Client, Handshake};

use crate::stacks::{SHARD_SIZE, Stacks};
use crate::tables::whole_log;
use crate::wait::{PATIENCE, until};

/// Handshakes at once.
const CONNECTS: usize = 8;

/// Connects these subjects, each with its room.
async fn connect_all(stack: &LocalStack, members: Vec<(String, String)>) -> Vec<Client> {
    let connects = members.into_iter().map(|(subject, room)| async move {
        let handshake = Handshake::token(&stack.token(&subject)).room(&room);
        stack.connect_with(&handshake).await.unwrap()
    });
    stream::iter(connects).buffered(CONNECTS).collect().await
}

/// Several members send, each as soon as its last message was accepted.
async fn send_from_all(senders: &[&Client], room: &str, each: usize, what: &str) {
    join_all(senders.iter().enumerate().map(|(sender, client)| async move {
        for number in 0..each {
            client.say(room, json!({ "what": what, "sender": sender, "number": number })).await;
        }
    }))
    .await;
}

pub(crate) async fn fifty_clients_in_five_rooms_receive_exactly_their_rooms_in_order(stacks: &Stacks) {
    const ROOMS: usize = 5;
    const CLIENTS: usize = 50;
    const MESSAGES: usize = 20;
    let stack = stacks.shared().await;
    let room = |number: usize| format!("fifty:{}", number % ROOMS);
    let members = (0..CLIENTS).map(|client| (format!("fifty-{client}"), room(client))).collect();
    let clients = connect_all(stack, members).await;
    // The first client of each room is in the next room too. The last of each leaves at half-time, and all who leave
    // are in a room of their own.
    let (in_two, leavers) = (&clients[..ROOMS], &clients[CLIENTS - ROOMS..]);
    join_all(in_two.iter().enumerate().map(|(number, client)| async move { client.join(&room(number + 1)).await }))
        .await;
    join_all(leavers.iter().map(|leaver| leaver.join("fifty:left"))).await;

    let halves = |what: &'static str| {
        let clients = &clients;
        (0..ROOMS).map(move |number| async move {
            let senders: Vec<_> = clients.iter().skip(number).step_by(ROOMS).skip(1).take(2).collect();
            send_from_all(&senders, &room(number), MESSAGES / 4, what).await;
        })
    };
    join_all(halves("first half")).await;
    join_all(leavers.iter().enumerate().map(|(number, leaver)| async move {
        leaver.expect_messages(&room(number), MESSAGES / 2, PATIENCE).await;
        leaver.leave(&room(number)).await;
    }))
    .await;
    join_all(halves("second half")).await;
    for (number, client) in clients[..CLIENTS - ROOMS].iter().enumerate() {
        client.expect_messages(&room(number), MESSAGES, PATIENCE).await;
    }
    for (number, client) in in_two.iter().enumerate() {
        client.expect_messages(&room(number + 1), MESSAGES, PATIENCE).await;
    }
    // Frames that were still on their way to a leaver arrive before this.
    clients[0].say("fifty:left", json!("the end")).await;
    for leaver in leavers {
        leaver.expect_messages("fifty:left", 1, PATIENCE).await;
    }

    let mut logs = vec![whole_log(stack, "fifty:left", 1).await];
    let mut half_time = Vec::new();
    for number in 0..ROOMS {
        let log = whole_log(stack, &room(number), MESSAGES).await;
        half_time.push(log.head() - MESSAGES as u64 / 2);
        logs.push(log);
    }
    let histories = clients.iter().enumerate().map(|(number, client)| {
        let own = Membership::since(&room(number), 0);
        let memberships = if number < ROOMS {
            vec![own, Membership::since(&room(number + 1), 0)]
        } else if number < CLIENTS - ROOMS {
            vec![own]
        } else {
            let half_time = half_time[number % ROOMS];
            vec![own.until(half_time, half_time), Membership::since("fifty:left", 0)]
        };
        History { connection: format!("client {number}"), memberships, seen: client.seen() }
    });
    assert_clean(&logs, &histories.collect::<Vec<_>>(), Delivery::AtLeastOnce);
}

pub(crate) async fn a_room_cut_into_shards_receives_everything_in_order(stacks: &Stacks) {
    const CLIENTS: usize = SHARD_SIZE * 2 + 1; // large
    const SENDERS: usize = 3;
    const EACH: usize = 5;
    let stack = stacks.shared().await;
    let members = (0..CLIENTS).map(|client| (format!("sharded-{client}"), "sharded".to_owned())).collect();
    let clients = connect_all(stack, members).await;
    send_from_all(&clients.iter().take(SENDERS).collect::<Vec<_>>(), "sharded", EACH, "sharded").await;
    for client in &clients {
        client.expect_messages("sharded", SENDERS * EACH, PATIENCE).await;
    }
    let cut = |line: &str| {
        line.contains(r#""broadcast in shards""#)
            && line.contains(r#""room":"sharded""#)
            && line.contains(r#""shards":4"#)
    };
    until("fan-out says that it cut the room", async || stack.log().lines().any(cut).then_some(())).await;
    let log = whole_log(stack, "sharded", SENDERS * EACH).await;
    let histories = clients.iter().enumerate().map(|(number, client)| History {
        connection: format!("client {number}"),
        memberships: vec![Membership::since("sharded", 0)],
        seen: client.seen(),
    });
    assert_clean(&[log], &histories.collect::<Vec<_>>(), Delivery::AtLeastOnce);
}

pub(crate) async fn a_retry_with_the_same_id_arrives_once(stacks: &Stacks) {
    let stack = stacks.shared().await;
    let alice = stack.connect_with(&Handshake::token(&stack.token("retry-alice")).room("retry")).await.unwrap();
    let bob = stack.connect_with(&Handshake::token(&stack.token("retry-bob")).room("retry")).await.unwrap();
    let send = json!({ "action": "sendMessage", "roomId": "retry", "id": "order-1", "data": "once" });
    for _ in 0..3 {
        let accepted = alice.request_for("accepted", send.clone()).await;
        assert_eq!((&accepted["roomId"], &accepted["id"]), (&json!("retry"), &json!("order-1")));
    }
    // The same id from another sender is another message.
    bob.request_for("accepted", send).await;
    let last = alice.say("retry", json!("last")).await;
    let messages = bob.expect_messages("retry", 3, PATIENCE).await;
    let seen: Vec<_> = messages.iter().map(|message| (&message["from"], &message["id"])).collect();
    let (first, other, last) = (json!("order-1"), json!("order-1"), json!(last));
    let (from_alice, from_bob) = (json!("retry-alice"), json!("retry-bob"));
    assert_eq!(seen, [(&from_alice, &first), (&from_bob, &other), (&from_alice, &last)]);
}

//! Posts that hang, posts that are lost, and the end of fan-out in the middle of a broadcast.

use futures::future::join_all;
use serde_json::json;
use testkit::history::{Delivery, History, Membership, assert_clean};
use testkit::stack::LocalStack;
use testkit::websocket::{Client, Handshake};

use crate::environments::kill_environments;
use crate::reader::Reader;
use crate::stacks::{Behaviour, Stacks};
use crate::tables::{log, whole_log};
use crate::wait::{PATIENCE, seed, until};

/// Clients of each room.
const CLIENTS: usize = 12;

async fn connect_all(stack: &LocalStack, room: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let token = stack.token(&format!("{room}-{client}"));
        clients.push(stack.connect_with(&Handshake::token(&token).room(room)).await.unwrap());
    }
    clients
}

/// Every client comes back and catches up with the log, as do those that fan-out closes because they have missed
/// something; then every application must have seen all of it, once and in order.
async fn assert_converge(stack: &LocalStack, room: &str, messages: usize, clients: &[Client]) {
    let log = whole_log(stack, room, messages).await;
    let before_first = log.head() - messages as u64;
    let histories = join_all(clients.iter().enumerate().map(|(number, client)| async move {
        // The reader was there before the first message.
        let mut reader = Reader::new(room, before_first);
        reader.read_broadcasts(client);
        let again = stack.connect(&format!("{room}-{number}")).await.unwrap();
        reader.join(&again).await;
        let connection = format!("client {number}");
        History { connection, memberships: vec![Membership::since(room, 0)], seen: reader.seen }
    }))
    .await;
    assert_clean(&[log], &histories, Delivery::Once);
}

pub(crate) async fn sending_is_answered_while_every_post_hangs(stacks: &Stacks) {
    let faulty = stacks.faulty().await;
    let clients = connect_all(&faulty.stack, "hang").await;
    faulty.posts.behave(Behaviour::Hang);
    let mut ids = vec![clients[0].say("hang", json!("the first")).await];
    until("posts hang", async || (faulty.posts.hanging() > 0).then_some(())).await;
    // Answers come though fan-out is stuck, and also for another room.
    for (number, client) in clients.iter().take(5).enumerate() {
        ids.push(client.say("hang", json!(number)).await);
        client.say("hang:other", json!(number)).await;
    }
    assert!(clients.iter().all(|client| client.seen().is_empty()), "a post got through");
    faulty.posts.behave(Behaviour::Pass);
    for client in &clients {
        client.expect_messages("hang", ids.len(), PATIENCE).await;
    }
    assert_converge(&faulty.stack, "hang", ids.len(), &clients).await;
}

pub(crate) async fn clients_converge_when_a_fifth_of_all_posts_is_lost(stacks: &Stacks) {
    const MESSAGES: usize = 20;
    let faulty = stacks.faulty().await;
    let seed = seed();
    let clients = connect_all(&faulty.stack, "lossy").await;
    faulty.posts.behave(Behaviour::Lose { share: 0.2, random: fastrand::Rng::with_seed(seed.0) });
    for number in 0..MESSAGES {
        clients[number % CLIENTS].say("lossy", json!(number)).await;
    }
    until("all is logged", async || (log(&faulty.stack, "lossy").await.len() == MESSAGES).then_some(())).await;
    for client in &clients {
        client.expect_messages("lossy", 1, PATIENCE).await;
    }
    assert_converge(&faulty.stack, "lossy", MESSAGES, &clients).await;
    faulty.posts.behave(Behaviour::Pass);
}

/// A client keeps the messages that it had; the missing ones come with the redelivery, under the same numbers.
pub(crate) async fn killed_in_mid_broadcast_fanout_still_delivers_everything_once_numbered(stacks: &Stacks) {
    const DELIVERED: usize = 5;
    let faulty = stacks.faulty().await;
    let stack = &faulty.stack;
    let clients = connect_all(stack, "killed").await;
    let mut ids = vec![clients[0].say("killed", json!("before")).await];
    for client in &clients {
        client.expect_messages("killed", 1, PATIENCE).await;
    }
    faulty.posts.behave(Behaviour::HangAfter(DELIVERED));
    ids.push(clients[0].say("killed", json!("cut")).await);
    let cut = ids[1].clone();
    let had = |client: &Client| client.seen().iter().filter(|seen| seen.id == cut).count();
    until("the broadcast is in its middle", async || {
        let delivered = clients.iter().map(had).sum::<usize>();
        (delivered == DELIVERED && faulty.posts.hanging() >= CLIENTS - DELIVERED).then_some(())
    })
    .await;
    let killed = kill_environments(stack, "Fanout");
    assert!(killed > 0, "there is no environment of fan-out");
    faulty.posts.behave(Behaviour::Pass);
    for (number, client) in clients.iter().take(5).enumerate() {
        ids.push(client.say("killed", json!(number)).await);
    }
    let has_all = |client: &Client| client.seen().last().is_some_and(|seen| Some(&seen.id) == ids.last());
    until("everybody has the last", async || clients.iter().all(has_all).then_some(())).await;
    assert!(clients.iter().map(had).sum::<usize>() > CLIENTS, "nothing was delivered again: was fan-out killed?");
    let log = whole_log(stack, "killed", ids.len()).await;
    let histories: Vec<_> = clients
        .iter()
        .enumerate()
        .map(|(number, client)| History {
            connection: format!("client {number}"),
            memberships: vec![Membership::since("killed", 0)],
            seen: client.seen(),
        })
        .collect();
    assert_clean(&[log], &histories, Delivery::AtLeastOnce);
}

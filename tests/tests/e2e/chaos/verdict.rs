//! The verdict: what must be true when the faults are over and everything has drained.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use testkit::history::{Delivery, RoomLog, check};

use super::client::ChaosClient;
use super::world::{ROOMS, World};
use crate::tables::{log, users};

/// The number and id of every message of each room, by its log.
pub(super) async fn logs(world: &World) -> BTreeMap<&'static str, Vec<(u64, String)>> {
    let mut logs = BTreeMap::new();
    for room in ROOMS {
        logs.insert(room, log(&world.stack, room).await);
    }
    logs
}

pub(super) async fn violations(world: &World, clients: &[ChaosClient]) -> Vec<String> {
    let mut wrong = world.books(|books| books.violations.clone());
    let logs = logs(world).await;
    for (room, entries) in &logs {
        check_log(world, room, entries, &mut wrong);
    }
    // The checker takes no log that has a message twice, which is a violation already.
    if wrong.is_empty() {
        let logs: Vec<_> = logs.into_iter().map(|(room, entries)| RoomLog::new(room, entries)).collect();
        let histories: Vec<_> = clients.iter().map(ChaosClient::history).collect();
        wrong.extend(check(&logs, &histories, Delivery::Once).iter().map(ToString::to_string));
    }
    for room in ROOMS {
        let members: BTreeSet<_> = users(&world.stack, room).await.into_iter().collect();
        let missing =
            clients.iter().filter(|client| client.views.contains_key(room) && !members.contains(&client.name));
        wrong.extend(missing.map(|client| format!("{} has synced, but is no member of {room}", client.name)));
    }
    check_dead_letters(world, &mut wrong).await;
    wrong
}

/// Checks that each accepted message has one number, and that each sender's messages are in the order in which it sent
/// them.
fn check_log(world: &World, room: &'static str, entries: &[(u64, String)], wrong: &mut Vec<String>) {
    if !entries.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1) {
        wrong.push(format!("the numbers of {room} are not consecutive"));
    }
    let mut numbers: HashMap<&str, u64> = HashMap::new();
    for (seq, id) in entries {
        if let Some(first) = numbers.insert(id, *seq) {
            wrong.push(format!("{id} is in the log of {room} as {first} and as {seq}"));
        }
    }
    world.books(|books| {
        for (id, sent) in books.sent.iter().filter(|(_, sent)| sent.room == room) {
            if sent.accepted && !numbers.contains_key(id.as_str()) {
                wrong.push(format!("{id} was accepted and is not in the log of {room}"));
            }
        }
        let foreign = numbers.keys().filter(|id| books.sent.get(**id).is_none_or(|sent| sent.room != room));
        wrong.extend(foreign.map(|id| format!("{id} is in the log of {room}, where nobody has sent it")));
        for ((sender, _), ids) in books.orders.iter().filter(|((_, of), _)| *of == room) {
            let sent: Vec<_> = ids.iter().filter_map(|id| numbers.get(id.as_str())).collect();
            if !sent.is_sorted() {
                wrong.push(format!("the messages of {sender} are not in their order in {room}"));
            }
        }
    });
}

/// Checks that the dead letters are the poison, each once.
async fn check_dead_letters(world: &World, wrong: &mut Vec<String>) {
    let letters = dead_letters(world).await;
    let mut poison: BTreeMap<String, u32> =
        world.books(|books| books.poison.iter().map(|mark| (mark.clone(), 0)).collect());
    for letter in &letters {
        match poison.iter_mut().find(|(mark, _)| letter.contains(mark.as_str())) {
            Some((_, times)) => *times += 1,
            None => wrong.push(format!("a dead letter is no poison: {letter}")),
        }
    }
    let not_once = poison.into_iter().filter(|(_, times)| *times != 1);
    wrong.extend(not_once.map(|(mark, times)| format!("{mark} is a dead letter {times} times")));
}

/// Takes every dead letter out of its queue.
async fn dead_letters(world: &World) -> Vec<String> {
    let client = aws_sdk_sqs::Client::new(&world.stack.sdk_config());
    let url = &world.stack.description().dlq_url;
    let mut letters = Vec::new();
    loop {
        let receive = client.receive_message().queue_url(url).max_number_of_messages(10);
        let received = receive.send().await.expect("dead letters");
        if received.messages().is_empty() {
            return letters;
        }
        for message in received.messages() {
            letters.push(message.body().unwrap_or_default().to_owned());
            let handle = message.receipt_handle().expect("a receipt");
            client.delete_message().queue_url(url).receipt_handle(handle).send().await.expect("a letter to delete");
        }
    }
}

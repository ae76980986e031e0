//! Producers beside the clients: records written to the queue in strict order, events on the bus, and poison in both.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use tokio::time::sleep;

use super::world::{ROOMS, World};
use crate::events::put_all;
use crate::tables::enqueue;

/// Milliseconds between two records.
const RECORD_MS: std::ops::Range<u64> = 500..2_000;

/// The events of a burst, at most.
const BURST: usize = 30;

/// Writes the first message of each room, so that no log is empty.
pub(super) async fn found(world: &World) {
    for room in ROOMS {
        write_record(world, room, &format!("first-{room}"), "founder").await;
    }
}

/// Writes records until the faults are over.
pub(super) async fn write_records(world: Arc<World>, mut random: Rng) {
    let mut number = 0;
    while !world.is_calm() {
        sleep(Duration::from_millis(random.u64(RECORD_MS))).await;
        number += 1;
        write_record(&world, ROOMS[random.usize(..ROOMS.len())], &format!("record-{number}"), "feed").await;
    }
}

pub(super) async fn write_record(world: &World, room: &'static str, id: &str, from: &str) {
    world.sending(id, room);
    let body = json!({ "roomId": room, "id": id, "from": from, "data": id });
    enqueue(&world.stack, room, id, &body.to_string()).await;
    world.accepted_in_order(id, from);
}

/// Puts many events at once, for all rooms.
pub(super) async fn burst(world: &World, number: usize, random: &mut Rng) {
    let mut details = Vec::new();
    for event in 0..random.usize(BURST / 3..=BURST) {
        let (id, room) = (format!("event-{number}-{event}"), ROOMS[random.usize(..ROOMS.len())]);
        world.sending(&id, room);
        details.push((id.clone(), json!({ "roomId": room, "id": id, "data": event }).to_string()));
    }
    for ten in details.chunks(10) {
        let bodies: Vec<_> = ten.iter().map(|(_, body)| body.clone()).collect();
        put_all(&world.stack, "chaos", "roomcast.message", &bodies).await;
        for (id, _) in ten {
            world.accepted(id);
        }
    }
}

/// Sends poison, which can never be a message: to the bus for every fifth number, otherwise to the queue.
pub(super) async fn poison(world: &World, number: usize, random: &mut Rng) {
    let (mark, room) = (format!("poison-{number}."), ROOMS[random.usize(..ROOMS.len())]);
    let body = match number % 5 {
        0 => format!("{mark} is no JSON"),
        1 => json!({ "roomId": room, "poison": mark }).to_string(),
        2 => json!({ "roomId": "no room", "data": mark }).to_string(),
        3 => json!({ "roomId": "chaos:another", "data": mark }).to_string(),
        _ => {
            let detail = json!({ "roomId": room, "poison": mark }).to_string();
            put_all(&world.stack, "chaos", "roomcast.message", &[detail]).await;
            return world.books(|books| books.poison.push(mark));
        }
    };
    enqueue(&world.stack, room, &mark, &body).await;
    world.books(|books| books.poison.push(mark));
}

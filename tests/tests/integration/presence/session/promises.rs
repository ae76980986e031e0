//! The promises of the ticks of many environments together: every change is looked at (P2), and nobody who is gone
//! counts as present for longer than two leases (P7).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use shared::clock::Clock;
use testkit::seeds::for_each_seed;

use super::world::{Environment, LEASE, World, sync_of};

/// The queue's delay, in microseconds.
const DELAY: u64 = 3_000_000;

/// The least time between a change and a look at it, in microseconds: an index follows its table within a second.
const LEAST: u64 = 1_000_000;

const SECOND: u64 = 1_000_000;

/// Environments whose clocks are 0.2 s ahead, right, and behind.
fn environments(world: &World, lease_seconds: u64) -> Vec<Environment> {
    let environment = |millis| {
        let clock = world.clock.ahead_by_millis(millis);
        Environment::of(&world.dynamodb, &clock, &world.queue, lease_seconds)
    };
    [200, 0, -200].map(environment).into()
}

/// P2. Times are those of the world's clock, whatever the environments' own clocks show.
async fn every_change_is_followed_by_a_look(seed: u64) {
    let (world, mut random) = (World::new(), Rng::with_seed(seed));
    let environments = environments(&world, LEASE);
    let mut changes: Vec<(u64, &str)> = Vec::new();
    let mut present: BTreeSet<(usize, &str)> = BTreeSet::new();
    for _ in 0..100 {
        world.clock.advance(Duration::from_millis(random.u64(0..700)));
        let environment = &environments[random.usize(0..3)];
        let (number, room) = (random.usize(0..6), ["chat:1", "shop:1"][random.usize(0..2)]);
        let connection = format!("user{number}-{number}=");
        match random.u8(0..4) {
            0 | 1 => {
                environment.enter(&connection, room, json!(random.u8(..))).await;
                present.insert((number, room));
                changes.push((world.clock.unix_micros(), room));
            }
            2 => {
                environment.ask(&connection, json!({ "action": "leaveRoom", "roomId": room })).await;
                if present.remove(&(number, room)) {
                    changes.push((world.clock.unix_micros(), room));
                }
            }
            _ => {
                environment.disconnect(&connection).await;
                for room in ["chat:1", "shop:1"] {
                    if present.remove(&(number, room)) {
                        changes.push((world.clock.unix_micros(), room));
                    }
                }
            }
        }
    }
    let ticks = world.queue.taken();
    for (at, room) in &changes {
        let looks = ticks.iter().filter(|(_, tick)| tick.group_id == **room).map(|(taken, _)| taken + DELAY);
        let first = looks.filter(|look| *look >= at + LEAST).min();
        assert!(first.is_some_and(|look| look <= at + DELAY + SECOND), "seed {seed}: {room} at {at}: {first:?}");
    }
    for room in ["chat:1", "shop:1"] {
        let taken: Vec<_> = ticks.iter().filter(|(_, tick)| tick.group_id == room).map(|(taken, _)| taken).collect();
        let span = taken.last().unwrap().abs_diff(**taken.first().unwrap()) / SECOND;
        assert!(taken.len() as u64 <= span + 2, "seed {seed}: {} ticks in {span} s", taken.len());
    }
}

#[test]
fn every_change_whose_tick_was_sent_is_followed_by_a_look_a_second_later() {
    for_each_seed("looks", 6, every_change_is_followed_by_a_look);
}

/// A simple form of the function `presence`: three seconds after each tick it reads the rows, and publishes them.
#[derive(Default)]
struct Publisher {
    /// The times at which the ticks that were taken are due, each with its room.
    due: Vec<(u64, String)>,
    seen: usize,
    /// The published members, by room.
    published: BTreeMap<String, BTreeSet<String>>,
}

impl Publisher {
    fn work(&mut self, world: &World, connections: &[String]) {
        let taken = world.queue.taken();
        self.due.extend(taken[self.seen..].iter().map(|(at, tick)| (at + DELAY, tick.group_id.clone())));
        self.seen = taken.len();
        let now = world.clock.unix_micros();
        let (ready, due): (Vec<_>, Vec<_>) = self.due.drain(..).partition(|(at, _)| *at <= now);
        self.due = due;
        for (_, room) in ready {
            let is_present = |connection: &&String| {
                world.row(connection, &room)["presentUntil"].as_u64().is_some_and(|until| until > now / SECOND)
            };
            let members: BTreeSet<String> = connections.iter().filter(is_present).cloned().collect();
            world.publish(&room, now / 1_000, members.len() as u64, None);
            self.published.insert(room, members);
        }
    }
}

/// P7, with a lease of a minute: members beat as they are told to, and one of them falls silent, which nobody reports.
async fn nobody_who_is_gone_is_present_for_longer_than_two_leases(seed: u64, room: &str) {
    let lease = 60;
    let (world, mut random) = (World::with_lease(lease), Rng::with_seed(seed));
    let environments = environments(&world, lease);
    let connections: Vec<_> = (0..4).map(|number| format!("user{number}-{number}=")).collect();
    let (mut publisher, mut beats) = (Publisher::default(), BTreeMap::new());
    for connection in &connections {
        world.clock.advance(Duration::from_millis(random.u64(0..20_000)));
        let joined = environments[random.usize(0..3)].enter(connection, room, Value::Null).await;
        beats.insert(connection, world.clock.unix_millis() + joined.reply["syncAfterMs"].as_u64().unwrap());
        publisher.work(&world, &connections);
    }
    let (start, dies_after) = (world.clock.unix_millis(), random.u64(10_000..100_000));
    let mut died_at = None;
    while world.clock.unix_millis() < start + 400_000 {
        world.clock.advance(Duration::from_secs(1));
        let now = world.clock.unix_millis();
        if now > start + dies_after && died_at.is_none() {
            beats.remove(&connections[0]);
            died_at = Some(now);
        }
        for (connection, at) in &mut beats {
            if *at <= now {
                let synced = environments[random.usize(0..3)].ask(connection, sync_of(&[room])).await.reply;
                assert_eq!(synced["renewed"], json!([]), "seed {seed}");
                *at = now + synced["syncAfterMs"].as_u64().unwrap();
            }
        }
        publisher.work(&world, &connections);
        let members = publisher.published.get(room).cloned().unwrap_or_default();
        let is_long_gone = died_at.is_some_and(|died_at| now > died_at + 2 * lease * 1_000);
        assert!(
            !is_long_gone || !members.contains(&connections[0]),
            "seed {seed}: gone for {} ms",
            now - died_at.unwrap()
        );
        if now > start + 5_000 {
            assert!(connections[1..].iter().all(|living| members.contains(living)), "seed {seed}: {members:?}");
        }
    }
}

#[test]
fn who_is_gone_is_gone_within_two_leases_and_who_is_there_stays() {
    for room in ["chat:1", "shop:1"] {
        for_each_seed("leases", 4, |seed| nobody_who_is_gone_is_present_for_longer_than_two_leases(seed, room));
    }
}

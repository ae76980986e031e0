//! The posts that publications may cost, counted in simulated time.

use std::collections::HashMap;
use std::rc::Rc;

use fastrand::Rng;
use serde_json::json;
use testkit::seeds::for_each_seed;

use super::environments::{Environments, Spent};
use super::world::{Faults, LEASE, World};

/// The most by which two clocks differ, in milliseconds.
const SKEW: u64 = 400;

/// Asserts that no two frames of a room were nearer than its pace.
fn assert_paced(world: &World, posts_per_second: u64) {
    let mut last: HashMap<String, (u64, u64)> = HashMap::new();
    for row in world.lagging.published() {
        let pace = (5_000 * row.connections / posts_per_second).clamp(1_000, 900_000);
        if let Some((at, pace)) = last.insert(row.room.clone(), (row.at, pace)) {
            assert!(row.at + SKEW >= at + pace, "{row:?} after {} ms, the pace is {pace}", row.at - at);
        }
    }
}

#[test]
fn an_hour_of_rooms_posts_no_more_than_the_rate_and_a_room() {
    for_each_seed("an hour", 1, |seed| async move {
        const RATE: u64 = 10;
        let world = Rc::new(World::new(500, RATE, Rng::with_seed(seed)));
        world.faults.set(Faults { ticks_lost: 0.02, ends_unreported: 0.1, frames: 0.05, ..Faults::default() });
        let environments = Environments::new(&world);
        let start = world.now();
        while world.now() < start + 3_600_000 {
            // Ten minutes with too many changes for the rate, and ten with few, come by turns.
            let is_rush = ((world.now() - start) / 600_000).is_multiple_of(2);
            if is_rush || world.below(20) == 0 {
                let room = format!("p{}", world.below(12));
                let connections = world.connections(&room);
                if connections.len() < 4 + connections.len() % 12 && world.below(2) == 0 {
                    world.join(&room, &format!("subject-{}", world.below(40)), &json!(world.now()));
                } else if let Some(connection) = connections.first() {
                    world.end(connection);
                }
            }
            environments.moment(500).await;
            let Spent { posts, largest, .. } = environments.spent.get();
            let earned = RATE * (world.now() - start) / 1_000;
            assert!(posts <= earned + largest, "{posts} posts in {} ms", world.now() - start);
        }
        assert_paced(&world, RATE);
        for _ in 0..2 * LEASE / 500 + 120 {
            environments.moment(500).await;
        }
        let posts = environments.spent.get().posts;
        assert!(posts > 8_000, "{posts} posts are no load");
        // Nobody is left to notice that the last member of a room ended unreported.
        world.sweep().await;
        for _ in 0..90 {
            environments.moment(500).await;
        }
        for room in 0..12 {
            world.assert_exact(&format!("p{room}"), "after an hour");
        }
    });
}

#[test]
fn a_thousand_rooms_that_reconnect_at_once_are_published_at_the_rate() {
    for_each_seed("a thousand rooms", 1, |seed| async move {
        const RATE: u64 = 500;
        const ROOMS: u64 = 1_000;
        const MEMBERS: u64 = 100;
        let world = Rc::new(World::new(500, RATE, Rng::with_seed(seed)));
        let environments = Environments::new(&world);
        let start = world.now();
        for second in 0..10 {
            for room in (0..ROOMS).filter(|room| room % 10 == second) {
                for member in 0..MEMBERS {
                    world.put_row(
                        &format!("c{room}-{member}="),
                        &format!("p{room}"),
                        &format!("subject-{member}"),
                        3_600_000,
                    );
                }
                world.tick(&format!("p{room}"));
            }
            environments.moment(1_000).await;
        }
        let reconnected = world.now();
        while !environments.are_idle() && world.now() < reconnected + 1_000_000 {
            environments.moment(250).await;
            let Spent { posts, largest, .. } = environments.spent.get();
            assert!(posts <= RATE * (world.now() - start) / 1_000 + largest, "{posts} in {}", world.now() - start);
        }
        let took = world.now() - reconnected;
        assert_eq!(environments.spent.get().posts, ROOMS * MEMBERS, "each is published once");
        assert!(took < 220_000, "{took} ms");
        let receives = world.ticks.received();
        assert!(receives < 10 * ROOMS, "{receives} receives");
    });
}

#[test]
fn ten_thousand_members_who_come_and_go_are_counted_at_the_pace() {
    for_each_seed("ten thousand members", 1, |seed| async move {
        const RATE: u64 = 500;
        const MEMBERS: u64 = 10_000;
        const CHURN: u64 = 100;
        let world = Rc::new(World::new(500, RATE, Rng::with_seed(seed)));
        let environments = Environments::new(&world);
        let join = |number: u64| world.put_row(&format!("c{number}="), "p", &format!("subject-{number}"), 3_600_000);
        for number in 0..MEMBERS {
            join(number);
        }
        world.tick("p");
        let start = world.now();
        for second in 0..310 {
            for n in 0..CHURN {
                join(MEMBERS + second * CHURN + n);
                world.delete_row(&format!("c{}=", second * CHURN + n), "p");
            }
            world.tick("p");
            environments.moment(1_000).await;
            let Spent { posts, largest, .. } = environments.spent.get();
            assert!(posts <= RATE * (world.now() - start) / 1_000 + largest, "{posts} after {second} s");
        }
        assert_paced(&world, RATE);
        let published = world.lagging.published();
        assert!((3..=5).contains(&published.len()), "{}", published.len());
        let row = world.row("p").unwrap();
        assert!(row.members.is_none() && (9_700..10_300).contains(&row.count), "{row:?}");
        // There are 310 ticks, one a second; hardly any is received more than once.
        assert!(world.ticks.received() < 400, "{}", world.ticks.received());
    });
}

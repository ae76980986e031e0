//! Outages of the bus and of the rooms' queue, to which publications are told.

use std::rc::Rc;

use fastrand::Rng;
use serde_json::json;
use testkit::seeds::for_each_seed;

use super::environments::Environments;
use super::world::{Faults, World};

/// Posts a second that all publications may cause.
const RATE: u64 = 2;

/// Rooms with events whose last publication waits, and the connections of each. To try all of them every half a minute
/// would take 100 posts in 30 s, more than the rate.
const ROOMS: u64 = 10;
const CONNECTIONS: u64 = 10;

const OUTAGE: u64 = 600_000;

async fn pass(environments: &Environments, millis: u64) {
    for _ in 0..millis / 500 {
        environments.moment(500).await;
    }
}

async fn rooms_wait_for_themselves_alone(seed: u64, outage: Faults) {
    let world = Rc::new(World::new(500, RATE, Rng::with_seed(seed)));
    let environments = Environments::new(&world);
    let put = |room: &str| {
        for member in 0..CONNECTIONS {
            world.put_row(&format!("{room}-{member}="), room, &format!("subject-{member}"), 2 * OUTAGE);
        }
        world.tick(room);
    };
    let rooms: Vec<String> = (0..ROOMS).map(|room| format!("b{room}")).collect();
    world.faults.set(outage);
    for room in &rooms {
        put(room);
    }
    pass(&environments, OUTAGE).await;
    // The rooms' queue is up for the room that joins now; the bus stays down, if it was.
    world.faults.set(Faults { queue: 0.0, ..outage });
    world.join("p", "ann", &json!(1));
    pass(&environments, 10_000).await;
    assert_eq!(world.row("p").map(|row| row.count), Some(1), "{outage:?}");
    world.faults.set(Faults::default());
    pass(&environments, 120_000).await;
    for room in &rooms {
        let (row, events) = (world.row(room).unwrap(), world.bus.room(room));
        assert_eq!((row.count, events.members.len() as u64), (CONNECTIONS, CONNECTIONS), "{outage:?}: {room}");
        assert!(environments.told.borrow().contains(&(room.clone(), row.rev)), "{outage:?}: {room}");
    }
}

#[test]
fn while_the_bus_refuses_the_rooms_with_events_wait_and_no_others() {
    for_each_seed("no bus", 2, |seed| rooms_wait_for_themselves_alone(seed, Faults { bus: 1.0, ..Faults::default() }));
}

#[test]
fn when_the_rooms_queue_has_refused_for_a_while_nothing_is_owed_for_it() {
    for_each_seed("no queue", 2, |seed| {
        rooms_wait_for_themselves_alone(seed, Faults { queue: 1.0, ..Faults::default() })
    });
}

#[test]
fn an_event_that_the_bus_refuses_for_most_of_a_day_is_put_in_the_end() {
    for_each_seed("a day without a bus", 1, |seed| async move {
        let world = Rc::new(World::new(500, 500, Rng::with_seed(seed)));
        let environments = Environments::new(&world);
        let connection = world.join("b", "ann", &json!(1));
        pass(&environments, 10_000).await;
        assert!(world.bus.room("b").is_occupied);
        world.faults.set(Faults { bus: 1.0, ..Faults::default() });
        world.leave(&connection);
        for _ in 0..23 * 120 {
            environments.moment(30_000).await;
            world.expire("b");
        }
        assert!(world.bus.room("b").is_occupied);
        world.faults.set(Faults::default());
        pass(&environments, 60_000).await;
        assert!(!world.bus.room("b").is_occupied, "nobody is there, and nobody comes");
    });
}

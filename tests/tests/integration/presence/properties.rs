//! The promises of presence, whatever goes wrong: lists and events are exact in the end, and nobody stays listed beyond
//! two leases.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fastrand::Rng;
use serde_json::json;
use testkit::seeds::for_each_seed;

use super::environments::Environments;
use super::world::{DELAY, Faults, LEASE, VISIBILITY, World};

const ROOMS: [&str; 4] = ["p1", "p2", "b1", "e1"];

/// Simulated time between two moments, in milliseconds.
const MOMENT: u64 = 100;

/// The time in which a change that the server knows of is published, besides the room's pace: delay, deduplication, and
/// a moment or two.
const SOON: u64 = 5_000;

/// The shortest pace: that of all small rooms.
const PACE: u64 = 1_000;

const FAULTY: Faults = Faults {
    ticks_lost: 0.1,
    ends_unreported: 0.2,
    frames: 0.3,
    rows_deleted: 0.02,
    kills: 0.3,
    bus: 0.1,
    queue: 0.05,
};

async fn pass(environments: &Environments, millis: u64) {
    for _ in 0..millis / MOMENT {
        environments.moment(MOMENT).await;
    }
}

/// A client joins, leaves, returns, changes its data, or opens a second tab.
fn happen(world: &World) {
    let room = ROOMS[usize::try_from(world.below(4)).unwrap()];
    let connections = world.connections(room);
    let data = json!({ "n": world.below(1_000) });
    let any = |bound: usize| usize::try_from(world.below(bound as u64)).unwrap();
    match world.below(4) {
        0 | 1 => drop(world.join(room, &format!("subject-{}", world.below(8)), &data)),
        2 if !connections.is_empty() => world.end(&connections[any(connections.len())]),
        // All clients' networks change.
        3 if world.below(10) == 0 => {
            for connection in connections {
                let subject = world.members.borrow()[&connection].subject.clone();
                world.end(&connection);
                world.join(room, &subject, &data);
            }
        }
        _ => {}
    }
}

async fn run(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let list_max = if random.bool() { 500 } else { random.usize(3..6) };
    let world = Rc::new(World::new(list_max, 500, random.fork()));
    world.faults.set(FAULTY);
    let environments = Environments::new(&world);
    for _ in 0..random.u64(60..180) {
        for _ in 0..world.below(3) {
            happen(&world);
        }
        pass(&environments, 1_000).await;
    }
    // All clients leave some rooms, and most ticks of that are lost: in most of these no row is left that would show
    // it.
    pass(&environments, 15_000).await;
    world.sweep().await;
    world.faults.set(Faults { ticks_lost: 0.8, ends_unreported: 0.0, ..FAULTY });
    for room in ROOMS.into_iter().filter(|_| world.below(2) == 0) {
        for connection in world.connections(room) {
            world.end(&connection);
            pass(&environments, 1_000).await;
        }
    }
    world.faults.set(Faults::default());
    // The time in which unreported members end, and in which ticks are visible again that were hidden when environments
    // were killed.
    pass(&environments, 2 * LEASE + 2 * VISIBILITY + 30_000).await;
    // In a room with a member that time was enough; the sweep looks after the other rooms.
    world.sweep().await;
    assert_quiet(&world, &environments, list_max, "after a sweep").await;

    // There is a last change in every room, and then quiet.
    for room in ROOMS {
        match world.connections(room).first() {
            Some(connection) if world.below(2) == 0 => world.leave(connection),
            _ => drop(world.join(room, "the last one", &json!([1]))),
        }
    }
    pass(&environments, SOON + PACE).await;
    for room in ROOMS {
        world.assert_exact(room, "soon after the last change");
    }
    assert_quiet(&world, &environments, list_max, "in the end").await;
}

/// Asserts that all clients and the bus know the members, once lost frames are made up for.
async fn assert_quiet(world: &World, environments: &Environments, list_max: usize, what: &str) {
    pass(environments, 45_000).await;
    assert_told(world, environments);
    for room in ROOMS {
        world.assert_exact(room, what);
        if !room.starts_with('e') {
            world.assert_seen(room, what);
        }
        if !room.starts_with('p') {
            let (events, present) = (world.bus.room(room), world.present(room));
            assert_eq!(events.is_occupied, !present.is_empty(), "{what}: {room}: {events:?}");
            if list_max == 500 {
                assert_eq!(events.members, present.into_keys().collect::<BTreeSet<_>>(), "{what}: {room}");
                assert_eq!(events.members.len() as u64, events.count, "{what}: {room}");
            }
        }
    }
}

/// Asserts that versions rose, and that all publications were sent, whichever environment was killed before.
fn assert_told(world: &World, environments: &Environments) {
    let mut revs: BTreeMap<String, u64> = BTreeMap::new();
    for row in world.lagging.published() {
        let before = revs.insert(row.room.clone(), row.rev).unwrap_or_default();
        assert!(row.rev > before && row.last["after"] == before, "{row:?} follows on {before}");
        let is_told = environments.told.borrow().contains(&(row.room.clone(), row.rev));
        assert_eq!(is_told, row.last["told"] != "nothing", "{row:?}");
        if row.last["entered"].is_array() || row.last["exited"].is_array() {
            assert!(world.bus.room(&row.room).revs.contains(&row.rev), "no event of {row:?}");
        }
    }
}

#[test]
fn lists_and_events_are_exact_in_the_end_whatever_went_wrong() {
    for_each_seed("presence", 12, run);
}

#[test]
fn a_kill_between_any_two_calls_loses_neither_a_version_nor_an_event() {
    for_each_seed("kills", 1, |seed| async move {
        for steps in 0.. {
            let world = Rc::new(World::new(500, 500, Rng::with_seed(seed + steps)));
            let environments = Environments::new(&world);
            world.join("b1", "ann", &json!(1));
            pass(&environments, SOON + PACE).await;
            world.join("b1", "bob", &json!(2));
            environments.kill_next_after(steps);
            pass(&environments, VISIBILITY + SOON + PACE + 5_000).await;
            assert_told(&world, &environments);
            world.assert_exact("b1", "after a kill");
            world.assert_seen("b1", "after a kill");
            let events = world.bus.room("b1");
            assert_eq!((events.members.len(), events.count), (2, 2), "killed after {steps} steps");
            // The invocation has no more steps, and was killed before each of them in turn.
            if environments.kills.get() == 0 {
                assert!(steps >= 10, "an invocation of {steps} steps");
                break;
            }
        }
    });
}

#[test]
fn who_is_heard_of_no_more_is_gone_within_two_leases() {
    for_each_seed("leases", 6, |seed| async move {
        let world = Rc::new(World::new(500, 500, Rng::with_seed(seed)));
        let environments = Environments::new(&world);
        world.join("b1", "ann", &json!(1));
        let ghost = world.join("b1", "bob", &json!(2));
        pass(&environments, 20_000 + world.below(60) * 1_000).await;
        assert_eq!(world.row("b1").unwrap().count, 2, "who beats stays");
        world.faults.set(Faults { ends_unreported: 1.0, ..Faults::default() });
        world.end(&ghost);
        pass(&environments, 2 * LEASE + SOON + PACE).await;
        world.assert_exact("b1", "after two leases");
        world.assert_seen("b1", "after two leases");
        pass(&environments, 3 * LEASE).await;
        world.assert_exact("b1", "who beats stays");
        assert_eq!(world.lagging.published().len(), 2, "and nothing else is published");
    });
}

#[test]
fn a_hand_over_a_second_tab_and_a_return_within_the_delay_are_no_change() {
    for_each_seed("hand-over", 3, |seed| async move {
        let world = Rc::new(World::new(500, 500, Rng::with_seed(seed)));
        let environments = Environments::new(&world);
        let first = world.join("b1", "ann", &json!(1));
        world.join("b1", "bob", &json!(1));
        pass(&environments, 10_000).await;
        let before =
            (world.lagging.published().len(), environments.spent.get().frames, world.bus.room("b1").of_members);
        // The next connection is open before the first one ends.
        let second = world.join("b1", "ann", &json!(1));
        pass(&environments, world.below(3) * 1_000).await;
        world.leave(&first);
        pass(&environments, 10_000).await;
        // A drop, and a return before anybody looks.
        world.leave(&second);
        pass(&environments, world.below(DELAY - 2_000)).await;
        let third = world.join("b1", "ann", &json!(1));
        pass(&environments, 10_000).await;
        // Another look at the list.
        world.members.borrow_mut().get_mut(&third).unwrap().view.read();
        pass(&environments, 10_000).await;
        let after = (world.lagging.published().len(), environments.spent.get().frames, world.bus.room("b1").of_members);
        assert_eq!(after, before);
        // Other data is told, and is neither a join nor a leave.
        world.join("b1", "ann", &json!(2));
        pass(&environments, 10_000).await;
        assert_eq!(world.bus.room("b1").of_members, before.2);
        world.assert_exact("b1", "other data");
        world.assert_seen("b1", "other data");
    });
}

#[test]
fn a_list_becomes_a_count_and_a_list_again() {
    for_each_seed("list or count", 3, |seed| async move {
        let world = Rc::new(World::new(10, 500, Rng::with_seed(seed)));
        let environments = Environments::new(&world);
        let mut connections: Vec<_> = (0..10).map(|n| world.join("p1", &format!("subject-{n}"), &json!(n))).collect();
        for (change, is_list) in [(0, true), (1, false), (-2, false), (-1, true), (2, true), (1, false)] {
            match change {
                0.. => connections
                    .extend((0..change).map(|n| world.join("p1", &format!("{n} of {}", world.now()), &json!(n)))),
                _ => {
                    for _ in change..0 {
                        world.leave(&connections.pop().unwrap());
                    }
                }
            }
            pass(&environments, 20_000).await;
            world.assert_exact("p1", &format!("with {}", connections.len()));
            world.assert_seen("p1", &format!("with {}", connections.len()));
            assert_eq!(world.row("p1").unwrap().members.is_some(), is_list, "with {}", connections.len());
        }
    });
}

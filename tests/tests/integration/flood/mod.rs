//! Floods: what one room's senders may do to other rooms, and to their own.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a simulation counts and measures, and says what it found"
)]

mod senders;
mod world;

use senders::{Tally, bystanders, flooder, is_flooder, is_member, is_other, sender};
use world::{ALL, Defence, World};

const MINUTE: u64 = 60_000;

/// The room that is flooded.
const FLOODED: usize = 0;

/// Prints the tallies of a run, and asserts that nothing was lost.
fn report(name: &str, world: &World) -> (Tally, Tally, Tally) {
    let (flooders, members, others) = (world.tally(is_flooder), world.tally(is_member), world.tally(is_other));
    println!("{name}: deepest {}, cuts {}, calls {}", world.deepest(), world.cuts_written, world.table_calls);
    for (who, tally) in [("flooders", flooders), ("members", members), ("others", others)] {
        let Tally { accepted, refused, longest, longest_queued, late, total, broadcast } = tally;
        let mean = total / broadcast.max(1);
        println!(
            "  {who}: accepted {accepted}, refused {refused}, ms: mean {mean}, longest {longest}, queued {longest_queued}, late {late}"
        );
        assert_eq!(accepted, broadcast, "{who}: what was accepted is lost");
    }
    (flooders, members, others)
}

#[tokio::test]
async fn one_sender_who_floods_a_large_room_for_half_an_hour_delays_no_other_room() {
    let end = 30 * MINUTE;
    let mut senders = bystanders(end);
    senders.push(flooder(0, FLOODED, 300.0, 0..end));
    let mut world = World::new(ALL, 8, senders, 1).room_of(FLOODED, 10_000);
    world.run_until(end).await;
    world.drain(20 * MINUTE).await;
    let (flooder, members, others) = report("one sender at 300/s, 8 environments", &world);
    assert!(others.longest < 2_000 && others.refused == 0);
    assert!(flooder.refused > 500_000 && flooder.accepted > 5_000);
    assert!(world.deepest() < 3_000);
    assert_eq!(members.accepted, 1_800, "who tries again gets through");
    assert!(members.longest_queued < 5 * MINUTE);
}

#[tokio::test]
async fn with_two_hundred_environments_shares_mean_nothing_and_cuts_do() {
    let end = 5 * MINUTE;
    let mut senders = bystanders(end);
    senders.push(flooder(0, FLOODED, 300.0, 0..end));
    let mut world = World::new(ALL, 200, senders, 1).room_of(FLOODED, 10_000);
    world.run_until(end).await;
    world.drain(20 * MINUTE).await;
    let (_, _, others) = report("one sender at 300/s, 200 environments", &world);
    assert!(others.longest < 2_000 && others.refused == 0);
    assert!(world.deepest() < 5_000);
}

#[tokio::test]
async fn shares_alone_do_not_keep_rooms_apart() {
    let end = 8 * MINUTE;
    let mut senders = bystanders(end);
    senders.push(flooder(0, FLOODED, 300.0, 0..end));
    let shares_only = Defence { shares: true, cuts: false, depth: false };
    let mut world = World::new(shares_only, 60, senders, 1).room_of(FLOODED, 10_000);
    world.run_until(end).await;
    let others = world.tally(is_other);
    println!(
        "one sender at 300/s, 60 environments, shares alone: deepest {}, others late {}",
        world.deepest(),
        others.late
    );
    assert!(world.deepest() > 120_000, "the window is full");
    assert!(others.broadcast + 500 < others.accepted, "other rooms wait behind it: {others:?}");
}

#[tokio::test]
async fn fifty_rooms_flooded_at_once_delay_no_other_room() {
    let end = MINUTE;
    let mut senders = bystanders(end);
    senders.retain(|sender| !is_member(sender));
    // Together they send 2,000 messages a second, as many as the stage takes.
    senders.extend((0..50).map(|room| flooder(room, room, 40.0, 0..end)));
    let mut world = World::new(ALL, 200, senders, 1);
    for room in 0..50 {
        world = world.room_of(room, 1_000);
    }
    world.run_until(end).await;
    world.drain(20 * MINUTE).await;
    let (flooders, _, others) = report("fifty rooms of 1,000 at 40/s", &world);
    assert!(others.longest < 2_000 && others.refused == 0);
    assert!(flooders.refused > 80_000 && world.deepest() < 60_000);
}

#[tokio::test]
async fn a_flood_by_fifty_subjects_is_cut_as_one_by_one_is() {
    for (environments, deepest) in [(8, 3_000), (200, 5_000)] {
        let end = 5 * MINUTE;
        let mut senders = bystanders(end);
        senders.extend((0..50).map(|name| flooder(name, FLOODED, 6.0, 0..end)));
        let mut world = World::new(ALL, environments, senders, 1).room_of(FLOODED, 10_000);
        world.run_until(end).await;
        world.drain(20 * MINUTE).await;
        let (flooders, _, others) = report(&format!("fifty senders at 6/s, {environments} environments"), &world);
        assert!(others.longest < 2_000 && others.refused == 0);
        assert!(flooders.refused > 50_000 && world.deepest() < deepest);
    }
}

#[tokio::test]
async fn a_room_is_open_again_soon_after_its_flood() {
    let mut senders = bystanders(10 * MINUTE);
    senders.push(flooder(0, FLOODED, 300.0, 0..3 * MINUTE));
    let mut world = World::new(ALL, 8, senders, 1).room_of(FLOODED, 10_000);
    world.run_until(3 * MINUTE).await;
    assert!(world.fraction(FLOODED) < 0.1);
    while world.fraction(FLOODED) < 1.0 {
        world.run_until(world.now() + 1_000).await;
    }
    let open_after = (world.now() - 3 * MINUTE) / 1_000;
    let refused = world.tally(is_member).refused;
    world.run_until(10 * MINUTE).await;
    report(&format!("open {open_after} s after a flood of three minutes"), &world);
    assert!(open_after < 6 * 60);
    assert_eq!(world.tally(is_member).refused, refused, "and stays open");
}

#[tokio::test]
async fn a_burst_sheds_nobody() {
    let end = 3 * MINUTE;
    let mut senders = bystanders(end);
    senders.extend((0..100).map(|name| flooder(name, FLOODED, 5.0, 10_000..11_000)));
    let mut world = World::new(ALL, 8, senders, 1).room_of(FLOODED, 10_000);
    world.run_until(end).await;
    world.drain(MINUTE).await;
    let (burst, members, others) = report("500 messages within a second", &world);
    assert_eq!((burst.refused, members.refused, others.refused, world.cuts_written), (0, 0, 0, 0));
    assert!(others.longest < 2_000);
}

#[tokio::test]
async fn an_outage_of_ten_minutes_sheds_nobody() {
    for fanout in [true, false] {
        let end = 15 * MINUTE;
        let mut senders = bystanders(end);
        senders.extend((20..30).map(|name| sender(format!("member-{name}"), FLOODED, 0.2, end)));
        let mut world = World::new(ALL, 8, senders, 1).room_of(FLOODED, 10_000);
        let outage = MINUTE..11 * MINUTE;
        if fanout {
            world.fanout_down = outage;
        } else {
            world.posts_down = outage;
        }
        world.run_until(end).await;
        world.drain(10 * MINUTE).await;
        let (_, members, others) = report(if fanout { "fan-out down" } else { "@connections down" }, &world);
        assert_eq!((members.refused, others.refused, world.cuts_written), (0, 0, 0));
    }
}

#[tokio::test]
async fn the_window_is_never_full_even_when_nobody_drains_it() {
    let end = 85_000;
    let mut senders = bystanders(end);
    senders.extend((0..50).map(|room| flooder(room, room, 40.0, 0..end)));
    let mut world = World::new(ALL, 200, senders, 1);
    for room in 0..50 {
        world = world.room_of(room, 1_000);
    }
    world.fanout_down = 0..65_000;
    world.run_until(64_000).await;
    let (others, depth) = (world.tally(is_other), world.depth());
    println!("nobody drains: depth {depth}, flooders {:?}", world.tally(is_flooder));
    assert!((100_000..120_000).contains(&depth), "{depth}");
    assert!(others.refused > 0, "the last resort makes no difference between rooms");
    // Fan-out is back, and the queue is still deep: other rooms are served all the same.
    world.run_until(end).await;
    let served = world.tally(is_other);
    assert!(world.depth() > 90_000 && served.broadcast >= others.accepted, "{served:?}");
}

//! Floods: what one room's senders may do to other rooms, and to their own.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a simulation counts and measures"
)]

mod world;

use world::{ALL, Defence, Sender, Tally, World};

const MINUTE: u64 = 60_000;

/// The room that is flooded.
const FLOODED: usize = 0;

fn sender(subject: String, room: usize, per_second: f64, until: u64) -> Sender {
    Sender { subject, room, per_second, active: 0..until, is_patient: true }
}

/// Somebody who sends as fast as they like.
fn flooder(name: usize, room: usize, per_second: f64, active: std::ops::Range<u64>) -> Sender {
    Sender { subject: format!("flooder-{name}"), room, per_second, active, is_patient: false }
}

/// Twenty other rooms in which something is said each second, and twenty people in the flooded room who say something three
/// times a minute.
fn bystanders(until: u64) -> Vec<Sender> {
    let others = (1_000..1_020).map(|room| sender(format!("other-{room}"), room, 1.0, until));
    let members = (0..20).map(|member| sender(format!("member-{member}"), FLOODED, 0.05, until));
    others.chain(members).collect()
}

fn is_flooder(sender: &Sender) -> bool {
    sender.subject.starts_with("flooder")
}

fn is_member(sender: &Sender) -> bool {
    sender.subject.starts_with("member")
}

fn is_other(sender: &Sender) -> bool {
    sender.subject.starts_with("other")
}

/// Prints what came of it, and asserts that nothing was lost.
fn report(name: &str, world: &World) -> (Tally, Tally, Tally) {
    let (flooders, members, others) = (world.tally(is_flooder), world.tally(is_member), world.tally(is_other));
    println!("{name}: deepest {}, cuts {}, calls {}", world.deepest(), world.cuts_written, world.table_calls);
    println!("  flooders {flooders:?}\n  members {members:?}\n  others {others:?}");
    (flooders, members, others)
}

#[tokio::test]
async fn one_sender_who_floods_a_large_room_for_half_an_hour_delays_no_other_room() {
    let end = 30 * MINUTE;
    let mut senders = bystanders(end);
    senders.push(flooder(0, FLOODED, 300.0, 0..end));
    let mut world = World::new(ALL, 8, senders, 1).room_of(FLOODED, 10_000);
    for minute in 1..=30 {
        world.run_until(minute * MINUTE).await;
        println!("{minute} depth {} fraction {:.4}", world.depth(), world.fraction(FLOODED));
    }
    world.drain(60 * MINUTE).await;
    report("flood", &world);
}

//! Posts, and what becomes of them.

use super::{
    consumer::settle,
    hold::end_of_hold,
    scenario::{Rule, Scenario, spend},
    set::Set,
    world::{Delivery, Phase, Place, World},
};

/// The next frame of a delivery gets to its connection, if that is there.
pub(crate) fn post(scenario: &Scenario, world: &mut World, consumer: usize, delivery: usize) {
    let Phase::Post(step) = &mut world.consumers[consumer].phase else { return };
    let delivery = &mut step.open[delivery];
    let slot = delivery.slot;
    if world.connections[usize::from(slot)].place == Place::Cut {
        // The connection is found gone, and its row is deleted.
        delivery.left = Set::NONE;
        let client = &mut world.connections[usize::from(slot)];
        (client.has_row, client.is_listed) = (false, false);
    } else {
        let frame = frame(scenario, *delivery);
        delivery.left = delivery.left.without(frame);
        if scenario.count_repeats {
            delivery.posted += frame.len();
            world.consumers[consumer].unsaved += frame.len();
        }
        deliver(scenario, world, slot, frame);
    }
    ended(scenario, world, consumer);
}

fn frame(scenario: &Scenario, delivery: Delivery) -> Set {
    if scenario.packed { delivery.left } else { delivery.left.first().into_iter().collect() }
}

/// A frame fails for good; the connection gets nothing more of the step.
pub(crate) fn miss(scenario: &Scenario, world: &mut World, consumer: usize, delivery: usize) {
    spend(&mut world.faults.misses);
    let Phase::Post(step) = &mut world.consumers[consumer].phase else { return };
    let delivery = &mut step.open[delivery];
    let missed = if scenario.has(Rule::SkipAfterMiss) { delivery.left } else { frame(scenario, *delivery) };
    delivery.left = delivery.left.without(missed);
    let client = &mut world.connections[usize::from(delivery.slot)];
    client.excused = client.excused.with(missed);
    ended(scenario, world, consumer);
}

/// A living connection is found gone: its row is deleted, and it is closed, so that its client comes back.
pub(crate) fn false_gone(scenario: &Scenario, world: &mut World, consumer: usize, delivery: usize) {
    spend(&mut world.faults.false_gone);
    let Phase::Post(step) = &mut world.consumers[consumer].phase else { return };
    let delivery = &mut step.open[delivery];
    delivery.left = Set::NONE;
    let client = &mut world.connections[usize::from(delivery.slot)];
    (client.has_row, client.is_listed) = (false, false);
    client.place = match client.place {
        Place::Joining { first: true } => Place::Out,
        Place::In | Place::Joining { .. } => Place::Cut,
        place => place,
    };
    ended(scenario, world, consumer);
}

/// A post is given up that may still arrive (only without the assumption).
pub(crate) fn post_late(scenario: &Scenario, world: &mut World, consumer: usize, delivery: usize) {
    spend(&mut world.faults.late_posts);
    let Phase::Post(step) = &mut world.consumers[consumer].phase else { return };
    let delivery = &mut step.open[delivery];
    let (slot, frame) = (delivery.slot, delivery.left);
    delivery.left = Set::NONE;
    let client = &mut world.connections[usize::from(slot)];
    client.excused = client.excused.with(frame);
    world.late_posts.push((slot, frame));
    ended(scenario, world, consumer);
}

/// A connection gets a frame.
pub(crate) fn deliver(scenario: &Scenario, world: &mut World, slot: u8, frame: Set) {
    let client = &mut world.connections[usize::from(slot)];
    if matches!(client.place, Place::Out | Place::Cut | Place::Left) {
        return;
    }
    for number in frame.iter() {
        if client.seen.has(number) {
            if scenario.count_repeats {
                world.credit = (world.credit - 1).max(-1);
            }
        } else {
            world.disorder |= !client.knows(number) && number < client.top();
        }
        client.seen = client.seen.with(Set::one(number));
    }
}

/// Ends the deliveries that have nothing left to be posted.
fn ended(scenario: &Scenario, world: &mut World, consumer: usize) {
    let mut at_work = world.consumers[consumer].clone();
    let Phase::Post(step) = &mut at_work.phase else { return };
    let is_over = |delivery: &Delivery| delivery.left.is_empty();
    step.got_further |= (scenario.tries_the_end || scenario.checkpoints) && step.open.iter().any(is_over);
    if scenario.count_repeats {
        let over = step.open.iter().filter(|delivery| is_over(delivery));
        step.posted.extend(over.map(|delivery| (delivery.slot, delivery.posted)));
    }
    step.open.retain(|delivery| !is_over(delivery));
    settle(scenario, world, &mut at_work);
    world.consumers[consumer] = at_work;
    end_of_hold(scenario, world, consumer);
}

//! The queues: their records, and what becomes of them.

use super::{
    scenario::{Scenario, spend},
    set::Set,
    world::{Age, Content, ROOMS, Record, World},
};

/// A job comes into a shard's group.
pub(crate) fn enqueue(scenario: &Scenario, world: &mut World, shard: u8, numbers: Set, of: u8) {
    let taken = &mut world.taken[usize::from(shard)];
    if scenario.deduplicates && !taken.contains(&(of, numbers)) {
        taken.push((of, numbers));
        taken.sort_unstable();
    }
    let record = Record { content: Content::Job { numbers, of }, age: Age::Fresh };
    world.queues[usize::from(shard) + 1].push(record);
}

/// The first record of a group, which was received before, is moved to the dead-letter queue.
pub(crate) fn dead_letter(scenario: &Scenario, world: &mut World, queue: usize) {
    spend(&mut world.faults.dead_letters);
    let record = world.queues[queue].remove(0);
    for consumer in world.consumers.iter_mut().filter(|consumer| consumer.queue == queue && consumer.held > 0) {
        consumer.start -= 1;
    }
    match record.content {
        Content::Message(message) => world.given_up = world.given_up.with(Set::one(message)),
        Content::Job { numbers, of } => {
            let (first, end) = scenario.slots(queue, of);
            for client in &mut world.connections[usize::from(first)..usize::from(end)] {
                client.excused = client.excused.with(numbers);
            }
        }
    }
    world.dead_letters.push((queue, record.content));
}

/// Removes a consumer: the records that it still holds become visible.
pub(crate) fn release(scenario: &Scenario, world: &mut World, consumer: usize) {
    make_visible(scenario, world, consumer, world.consumers[consumer].held);
    world.consumers.remove(consumer);
}

/// The first of the records that a consumer holds become visible.
pub(crate) fn make_visible(scenario: &Scenario, world: &mut World, consumer: usize, records: usize) {
    let at_work = &world.consumers[consumer];
    // Whether a job was delivered before matters for the dead-letter queue only.
    if at_work.queue == ROOMS || scenario.faults.dead_letters > 0 {
        let visible = at_work.start..at_work.start + records;
        world.queues[at_work.queue][visible].iter_mut().for_each(|record| record.age = Age::Again);
    }
}

/// Deletes the first of the records that a consumer holds.
pub(crate) fn remove_records(world: &mut World, consumer: usize, records: usize) {
    let at_work = &mut world.consumers[consumer];
    let (queue, start) = (at_work.queue, at_work.start);
    at_work.held -= records;
    world.queues[queue].drain(start..start + records);
    let others =
        world.consumers.iter_mut().filter(|other| other.queue == queue && other.held > 0 && other.start > start);
    others.for_each(|other| other.start -= records);
}

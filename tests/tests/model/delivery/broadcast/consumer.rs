//! The decisions of a consumer: they depend only on what it has read, except for the members of the room.

use super::{
    scenario::{Rule, Scenario},
    set::Set,
    world::{Consumer, Content, Delivery, Entry, Layout, Phase, Place, Progress, ROOMS, Record, Step, Then, World},
};

/// Whether the shards have posted everything of a log: only then another layout may follow.
pub(crate) fn is_drained(log: &[Entry], rows: &[Progress]) -> bool {
    let shards = log.last().map_or(0, |last| usize::from(last.layout.shards()));
    rows[1..=shards].iter().all(|row| usize::from(row.done) >= log.len())
}

/// A batch as it stands in the log.
pub(crate) struct Numbered {
    /// The entries that must be appended.
    pub(crate) new: Vec<Entry>,
    /// The numbers that have to go out.
    pub(crate) hand: Set,
    pub(crate) floor: u8,
}

/// Numbers a batch of messages after a log, as it was read.
pub(crate) fn number(scenario: &Scenario, log: &[Entry], batch: &[Record], layout: Layout) -> Numbered {
    let last_floor = log.last().map_or(0, |last| last.floor);
    let mut new: Vec<Entry> = Vec::new();
    let mut places = Set::NONE;
    for record in batch {
        let Content::Message(message) = record.content else { continue };
        let mut known = log.iter().chain(&new);
        let known = known.position(|entry| entry.message == message).filter(|_| scenario.has(Rule::FindKnown));
        let position = known.unwrap_or_else(|| {
            new.push(Entry { message, layout, floor: 0 });
            log.len() + new.len() - 1
        });
        places = places.with(number_at(position));
    }
    let floor = if scenario.has(Rule::Floor) { last_floor } else { 0 };
    let hand: Set = places.iter().filter(|number| *number >= floor).collect();
    let floor = if new.is_empty() { last_floor } else { hand.first().unwrap_or(last_floor) };
    for entry in &mut new {
        entry.floor = floor;
    }
    Numbered { new, hand, floor }
}

fn number_at(position: usize) -> Set {
    u8::try_from(position + 1).into_iter().collect()
}

/// The numbers of a batch of jobs.
pub(crate) fn numbers_of_jobs(batch: &[Record]) -> Set {
    batch.iter().fold(Set::NONE, |numbers, record| numbers.with(job(*record).map_or(Set::NONE, |(numbers, _)| numbers)))
}

fn job(record: Record) -> Option<(Set, u8)> {
    match record.content {
        Content::Job { numbers, of } => Some((numbers, of)),
        Content::Message(_) => None,
    }
}

/// The next phase of a consumer with the numbers in hand.
pub(crate) fn next(scenario: &Scenario, world: &mut World, consumer: &mut Consumer) {
    let is_of_room = consumer.queue == ROOMS;
    if is_of_room || scenario.has(Rule::ShardDone) {
        consumer.hand = consumer.hand.without(Set::up_to(consumer.progress.done));
    }
    let Some(first) = consumer.hand.first() else {
        consumer.phase = Phase::Return { beyond: 0 };
        return;
    };
    // Records leave a group only when they are finished with: so is everything before the first in hand.
    consumer.progress = consumer.progress.finished(first - 1);
    let rule = if is_of_room { Rule::FloorFirst } else { Rule::ShardFloorFirst };
    if first > consumer.floor && scenario.has(rule) {
        consumer.phase = Phase::Save { row: consumer.progress, then: Then::GoOn };
        return;
    }
    let way = way_of(world, consumer, first);
    let run: Set = consumer.hand.iter().take_while(|number| way_of(world, consumer, *number) == way).collect();
    if is_of_room && way > 0 {
        consumer.phase = send(scenario, run, way);
    } else {
        consumer.phase = Phase::Post(step(scenario, world, consumer, run, way));
        settle(scenario, world, consumer);
    }
}

/// The number of shards that a number goes out in, 0 for a direct post, as the entry or the job says.
fn way_of(world: &World, consumer: &Consumer, number: u8) -> u8 {
    if consumer.queue != ROOMS {
        let of = consumer.batch.iter().copied().filter_map(job).find(|(numbers, _)| numbers.has(number));
        return of.map_or(1, |(_, of)| of);
    }
    consumer.own_layout.unwrap_or(world.entry(number).layout).shards()
}

/// The jobs of the first frames of a run, for each shard. Without the rule `SendInOrder`, the jobs of all frames.
fn send(scenario: &Scenario, run: Set, shards: u8) -> Phase {
    let each = |numbers: Set| (0..shards).map(move |shard| (shard, numbers));
    let numbers = first_frames(scenario, run);
    if scenario.has(Rule::SendInOrder) || scenario.packed {
        return Phase::Send { numbers, jobs: each(numbers).collect(), failed: false };
    }
    let jobs = run.iter().flat_map(|number| each(Set::one(number))).collect();
    Phase::Send { numbers: run, jobs, failed: false }
}

/// The numbers of as many frames as a step or a job takes.
fn first_frames(scenario: &Scenario, numbers: Set) -> Set {
    if scenario.packed { numbers } else { numbers.iter().take(scenario.frames).collect() }
}

/// The next numbers to be posted, and the members that lack them.
fn step(scenario: &Scenario, world: &mut World, consumer: &Consumer, run: Set, way: u8) -> Step {
    let (first_slot, end) = scenario.slots(consumer.queue, way);
    let Progress { up_to, slot, missing, .. } = consumer.progress;
    let interrupted = run.and(Set::up_to(up_to));
    let is_whole =
        consumer.queue == ROOMS || interrupted.last().is_some_and(|last| ends_frame(scenario, consumer, last));
    let (numbers, from, missing) = if interrupted.is_empty() || !is_whole {
        (run, first_slot, Set::NONE)
    } else if scenario.has(Rule::CutAtNumber) {
        (interrupted, slot, missing)
    } else {
        (run, slot, missing)
    };
    if !interrupted.is_empty() && !is_whole {
        // Nothing tells who lacks a part of the frame, so everybody gets it.
        give_credit(scenario, world, interrupted.len() * slot.saturating_sub(first_slot));
    }
    let numbers = first_frames(scenario, numbers);
    let from = from.max(first_slot);
    for connection in &mut world.connections {
        // Its row came into the index, or onto the page that was read beside the append, too late.
        if connection.place == Place::In && connection.has_row && !connection.is_listed {
            let unknown = numbers.iter().filter(|number| !connection.knows(*number)).collect();
            connection.excused = connection.excused.with(unknown);
        }
    }
    let is_member = |slot: &u8| world.connections[usize::from(*slot)].is_listed;
    let delivery = |had_its_chance| move |slot| Delivery { slot, left: numbers, had_its_chance, posted: 0 };
    let members: Vec<_> = (from..end).filter(is_member).collect();
    let behind_all = members.last().map_or(from, |last| last + 1);
    let left_open = missing.iter().filter(is_member).map(delivery(true));
    let open = left_open.chain(members.into_iter().map(delivery(false))).collect();
    Step { numbers, open, from, behind_all, got_further: false, posted: Vec::new() }
}

/// Whether a frame of the batch ends with a number.
fn ends_frame(scenario: &Scenario, consumer: &Consumer, number: u8) -> bool {
    let mut jobs = consumer.batch.iter().copied().filter_map(job);
    jobs.any(|(numbers, _)| if scenario.packed { numbers.last() == Some(number) } else { numbers.has(number) })
}

/// Goes on to the next phase if all deliveries of a step have ended: its numbers are out.
pub(crate) fn settle(scenario: &Scenario, world: &mut World, consumer: &mut Consumer) {
    let Phase::Post(step) = &consumer.phase else { return };
    if step.open.is_empty() {
        let numbers = step.numbers;
        brought_out(consumer, numbers);
        if consumer.queue == ROOMS {
            next(scenario, world, consumer);
        } else {
            consumer.phase = Phase::Save { row: consumer.progress, then: Then::GoOn };
        }
    }
}

/// Notes that numbers are out: posted, or with the shards.
pub(crate) fn brought_out(consumer: &mut Consumer, numbers: Set) {
    consumer.hand = consumer.hand.without(numbers);
    consumer.progress = consumer.progress.finished(numbers.last().unwrap_or_default());
}

/// The progress of a step, as it is written down.
pub(crate) fn interrupted(scenario: &Scenario, consumer: &Consumer, step: &Step) -> Progress {
    let waiting = step.open.get(scenario.window);
    let slot = match waiting {
        Some(waiting) if !waiting.had_its_chance => waiting.slot,
        Some(_) => step.from,
        // All members have had their turn.
        None => step.behind_all,
    };
    let has_come = |(place, delivery): &(usize, &Delivery)| *place <= scenario.window || delivery.had_its_chance;
    let open = step.open.iter().enumerate().filter(has_come).map(|(_, delivery)| delivery.slot);
    let missing = open.filter(|open| *open < slot && scenario.has(Rule::NameMissing)).collect();
    Progress { done: consumer.progress.done, up_to: step.numbers.last().unwrap_or_default(), slot, missing }
}

/// The posts of a step that are made again when another consumer goes on from a row.
pub(crate) fn posted_beyond(step: &Step, row: Progress) -> u8 {
    let open = step.open.iter().map(|delivery| delivery.posted);
    let ended = step.posted.iter().filter(|(slot, _)| *slot >= row.slot).map(|(_, posted)| *posted);
    open.chain(ended).sum()
}

/// The number of finished records at the head of a batch.
pub(crate) fn finished_records(world: &World, consumer: &Consumer) -> usize {
    let is_finished = |record: &&Record| match record.content {
        Content::Message(message) => world.number_of(message).is_some_and(|number| !consumer.hand.has(number)),
        Content::Job { numbers, .. } => numbers.last().is_some_and(|last| !consumer.hand.has(last)),
    };
    consumer.batch.iter().take_while(is_finished).count()
}

/// The most posts that may be repeated, as far as they are counted.
const MOST_CREDIT: i8 = 20;

/// Allows so many posts to be made again.
pub(crate) fn give_credit(scenario: &Scenario, world: &mut World, posts: u8) {
    if scenario.count_repeats {
        world.credit = world.credit.saturating_add_unsigned(posts).min(MOST_CREDIT);
    }
}

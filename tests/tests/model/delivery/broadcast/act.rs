//! The effect of each step.

use super::{
    consumer::{brought_out, finished_records, give_credit, interrupted, next, number, numbers_of_jobs, posted_beyond},
    hold::end_of_hold,
    posts,
    queues::{dead_letter, enqueue, make_visible, release, remove_records},
    scenario::{Rule, Scenario, spend},
    set::Set,
    steps::Action,
    world::{Age, Consumer, Content, Layout, Phase, Place, Progress, ROOMS, Record, Then, World},
};

/// Takes a step.
pub(crate) fn act(scenario: &Scenario, world: &mut World, action: Action) {
    match action {
        Action::Receive { queue, from, records } => receive(scenario, world, queue, from..from + records),
        Action::Read { consumer, head } => read(scenario, world, consumer, head),
        Action::Append { consumer, layout } => append(scenario, world, consumer, layout),
        Action::Post { consumer, delivery } => posts::post(scenario, world, consumer, delivery),
        Action::Miss { consumer, delivery } => posts::miss(scenario, world, consumer, delivery),
        Action::FalseGone { consumer, delivery } => posts::false_gone(scenario, world, consumer, delivery),
        Action::PostLate { consumer, delivery } => posts::post_late(scenario, world, consumer, delivery),
        Action::LatePost { post } => {
            let (slot, frame) = world.late_posts.remove(post);
            posts::deliver(scenario, world, slot, frame);
        }
        Action::TimeIsUp { consumer } => time_is_up(scenario, world, consumer),
        Action::Checkpoint { consumer } => {
            let at_work = &mut world.consumers[consumer];
            let Phase::Post(step) = &at_work.phase else { return };
            let row = interrupted(scenario, at_work, step);
            at_work.unsaved = posted_beyond(step, row);
            let queue = at_work.queue;
            write_row(scenario, world, queue, row);
        }
        Action::Save { consumer } => save(scenario, world, consumer),
        Action::Return { consumer } => answer(scenario, world, consumer),
        Action::Crash { consumer } => {
            spend(&mut world.faults.crashes);
            give_credit(scenario, world, world.consumers[consumer].unsaved);
            release(scenario, world, consumer);
        }
        Action::Expire { consumer, records } => expire(scenario, world, consumer, records),
        Action::Send { consumer, job } => {
            send(scenario, world, consumer, job, Fate::Taken);
        }
        Action::SendDropped { consumer, job } => send(scenario, world, consumer, job, Fate::Dropped),
        Action::SendRefused { consumer, job } => {
            spend(&mut world.faults.refused_sends);
            send(scenario, world, consumer, job, Fate::Refused);
        }
        Action::SendUnanswered { consumer, job } => {
            spend(&mut world.faults.unanswered_sends);
            send(scenario, world, consumer, job, Fate::Unanswered);
        }
        Action::SendLate { consumer, job } => {
            spend(&mut world.faults.late_sends);
            send(scenario, world, consumer, job, Fate::Late);
        }
        Action::LateArrival { send } => {
            let (of, shard, numbers) = world.in_the_air.remove(send);
            enqueue(scenario, world, shard, numbers, of);
        }
        Action::DeadLetter { queue } => dead_letter(scenario, world, queue),
        Action::Redrive { letter } => {
            let (queue, content) = world.dead_letters.remove(letter);
            world.queues[queue].push(Record { content, age: Age::Old });
        }
        Action::Resend { message } => {
            spend(&mut world.faults.resends);
            world.queues[ROOMS].push(Record { content: Content::Message(message), age: Age::Old });
            give_credit(scenario, world, u8::try_from(world.connections.len()).unwrap_or(u8::MAX));
        }
        Action::Join { .. }
        | Action::Joined { .. }
        | Action::List { .. }
        | Action::Leave { .. }
        | Action::Cut { .. }
        | Action::Sync { .. } => client(scenario, world, action),
    }
}

fn client(scenario: &Scenario, world: &mut World, action: Action) {
    let head = world.head();
    match action {
        Action::Join { connection } => {
            let client = &mut world.connections[connection];
            let first = client.place == Place::Out;
            if scenario.has(Rule::RowBeforeHead) {
                (client.has_row, client.is_listed) = (true, !scenario.index_lags);
                client.place = Place::Joining { first };
            } else {
                client.place = Place::Told { head, first };
            }
        }
        Action::Joined { connection } => {
            let client = &mut world.connections[connection];
            let (head, first) = match client.place {
                Place::Told { head, first } => {
                    (client.has_row, client.is_listed) = (true, !scenario.index_lags);
                    (head, first)
                }
                Place::Joining { first } => (head, first),
                _ => return,
            };
            client.place = Place::In;
            if first {
                client.since = head;
            } else if scenario.has(Rule::ResumeAfter) {
                client.seen = client.seen.with(client.lacks(head));
            }
        }
        Action::List { connection } => world.connections[connection].is_listed = true,
        Action::Leave { connection } => {
            spend(&mut world.faults.leaves);
            let client = &mut world.connections[connection];
            (client.place, client.has_row, client.is_listed) = (Place::Left, false, false);
        }
        Action::Cut { connection } => {
            spend(&mut world.faults.cuts);
            world.connections[connection].place = Place::Cut;
        }
        Action::Sync { connection } => {
            spend(&mut world.faults.syncs);
            let saved_head = world.saved_head();
            let client = &mut world.connections[connection];
            client.seen = client.seen.with(client.lacks(saved_head));
        }
        _ => {}
    }
}

fn receive(scenario: &Scenario, world: &mut World, queue: usize, records: std::ops::Range<usize>) {
    let (start, held) = (records.start, records.len());
    let consumer = Consumer {
        queue,
        batch: world.queues[queue][records].to_vec(),
        start,
        held,
        lost: false,
        hand: Set::NONE,
        own_layout: None,
        progress: Progress::default(),
        floor: 0,
        unsaved: 0,
        phase: Phase::Read,
    };
    world.consumers.push(consumer);
    // Only consumers whose hold has ended can change what is read now, and those write nothing that is read.
    if scenario.has(Rule::HeldSaves) && scenario.has(Rule::ReadAgain) && !scenario.memory {
        let (last, end) = (world.consumers.len() - 1, world.head());
        read(scenario, world, last, end);
    }
}

/// A consumer reads the end of the log, and its row of progress.
fn read(scenario: &Scenario, world: &mut World, consumer: usize, head: u8) {
    let mut at_work = world.consumers[consumer].clone();
    let row = world.rows[at_work.queue];
    if at_work.queue == ROOMS {
        // The row says something only of messages that were received before or are in the log.
        let is_known = |record: &Record| match record.content {
            Content::Message(message) => record.age == Age::Again || world.number_of(message).is_some(),
            Content::Job { .. } => false,
        };
        let reads_row = at_work.batch.iter().any(is_known) && scenario.has(Rule::ReadProgress);
        at_work.progress = if reads_row { row } else { Progress::default() };
        at_work.phase = Phase::Append { head };
    } else {
        at_work.progress = row;
        at_work.floor = row.done + 1;
        let numbers = numbers_of_jobs(&at_work.batch);
        let done = if scenario.has(Rule::ShardDone) { Set::up_to(row.done) } else { Set::NONE };
        at_work.hand = numbers.without(done);
        next(scenario, world, &mut at_work);
    }
    world.consumers[consumer] = at_work;
    end_of_hold(scenario, world, consumer);
}

/// Appends the messages without numbers, with the layout that they go out in, if the log ends where it ended when it
/// was read.
fn append(scenario: &Scenario, world: &mut World, consumer: usize, layout: Layout) {
    let mut at_work = world.consumers[consumer].clone();
    let Phase::Append { head } = at_work.phase else { return };
    let known = &world.log[..usize::from(head)];
    let numbered = number(scenario, known, &at_work.batch, layout);
    if !numbered.new.is_empty() {
        if world.head() > head && scenario.has(Rule::ConditionalAppend) {
            // The consumer reads the entries that others have appended.
            let head = world.head();
            world.consumers[consumer].phase = Phase::Append { head };
            return;
        }
        for (position, entry) in (usize::from(head)..).zip(numbered.new) {
            let twice = world.log.iter().any(|there| there.message == entry.message);
            if position < world.log.len() {
                world.forked |= world.log[position].message != entry.message;
                world.log[position] = entry;
            } else {
                world.forked |= twice;
                world.log.push(entry);
            }
        }
    }
    at_work.hand = numbered.hand;
    at_work.floor = numbered.floor.max(at_work.progress.done + 1);
    at_work.own_layout = (!scenario.has(Rule::LayoutInEntry)).then_some(layout);
    next(scenario, world, &mut at_work);
    world.consumers[consumer] = at_work;
    end_of_hold(scenario, world, consumer);
}

/// Stops posting. Deliveries that had their chance before are given up, and the step's progress is written down next.
fn time_is_up(scenario: &Scenario, world: &mut World, consumer: usize) {
    let mut at_work = world.consumers[consumer].clone();
    let Phase::Post(step) = &mut at_work.phase else { return };
    let mut place = 0;
    let window = scenario.window;
    let mut given_up = Vec::new();
    // The row names the slot at which the step stood before anything is given up.
    let stands = interrupted(scenario, &world.consumers[consumer], step);
    step.open.retain(|delivery| {
        let is_over = place < window && delivery.had_its_chance;
        place += 1;
        given_up.extend(is_over.then_some(*delivery));
        !is_over
    });
    let gone: Set = given_up.iter().map(|delivery| delivery.slot).collect();
    let row = Progress { missing: stands.missing.without(gone), ..stands };
    for delivery in given_up {
        let client = &mut world.connections[usize::from(delivery.slot)];
        client.excused = client.excused.with(delivery.left);
    }
    let beyond = posted_beyond(step, row);
    at_work.phase = Phase::Save { row, then: Then::Return { beyond } };
    world.consumers[consumer] = at_work;
    end_of_hold(scenario, world, consumer);
}

fn save(scenario: &Scenario, world: &mut World, consumer: usize) {
    let mut at_work = world.consumers[consumer].clone();
    let Phase::Save { row, then } = at_work.phase else { return };
    write_row(scenario, world, at_work.queue, row);
    match then {
        Then::GoOn => {
            at_work.unsaved = 0;
            at_work.floor = at_work.floor.max(row.done + 1);
            next(scenario, world, &mut at_work);
        }
        Then::Return { beyond } => {
            at_work.unsaved = beyond;
            at_work.phase = Phase::Return { beyond };
        }
    }
    world.consumers[consumer] = at_work;
    end_of_hold(scenario, world, consumer);
}

/// The function answers: the finished records are deleted, the others are visible at once.
fn answer(scenario: &Scenario, world: &mut World, consumer: usize) {
    let at_work = &world.consumers[consumer];
    let Phase::Return { beyond } = at_work.phase else { return };
    if !at_work.lost {
        let finished =
            if scenario.has(Rule::AcknowledgeHead) { finished_records(world, at_work) } else { at_work.batch.len() };
        give_credit(scenario, world, beyond);
        remove_records(world, consumer, finished);
    }
    release(scenario, world, consumer);
}

fn write_row(scenario: &Scenario, world: &mut World, queue: usize, row: Progress) {
    let standing = world.rows[queue];
    if row.done < standing.done && scenario.has(Rule::RowForward) {
        return;
    }
    world.rows[queue] = row;
    // A smaller batch than before ran out of time again: the slots below have more than the row says.
    if row.done < standing.up_to && row.up_to < standing.up_to {
        let numbers = standing.up_to - row.up_to.max(row.done);
        give_credit(scenario, world, numbers * standing.slot);
    }
}

/// Makes some of a consumer's records visible again.
fn expire(scenario: &Scenario, world: &mut World, consumer: usize, records: usize) {
    if !world.consumers[consumer].lost {
        spend(&mut world.faults.expiries);
        give_credit(scenario, world, world.consumers[consumer].unsaved);
    }
    make_visible(scenario, world, consumer, records);
    let at_work = &mut world.consumers[consumer];
    at_work.held -= records;
    at_work.start = if at_work.held > 0 { at_work.start + records } else { 0 };
    at_work.lost = true;
    end_of_hold(scenario, world, consumer);
}

/// The fate of a job that was sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Taken,
    Dropped,
    Refused,
    Unanswered,
    Late,
}

fn send(scenario: &Scenario, world: &mut World, consumer: usize, job: usize, fate: Fate) {
    let mut at_work = world.consumers[consumer].clone();
    let Phase::Send { numbers: step, jobs, failed } = &mut at_work.phase else { return };
    let (shard, numbers) = jobs.remove(job);
    *failed |= !matches!(fate, Fate::Taken | Fate::Dropped) && scenario.has(Rule::ConfirmSends);
    let (is_over, failed, step) = (jobs.is_empty(), *failed, *step);
    // The number of shards was decided with the entry.
    let first = numbers.first().unwrap_or_default();
    let of = at_work.own_layout.unwrap_or(world.entry(first).layout).shards();
    match fate {
        Fate::Taken | Fate::Unanswered => enqueue(scenario, world, shard, numbers, of),
        Fate::Late => world.in_the_air.push((of, shard, numbers)),
        Fate::Dropped | Fate::Refused => {}
    }
    if is_over && failed {
        at_work.phase = Phase::Return { beyond: 0 };
    } else if is_over {
        brought_out(&mut at_work, step);
        next(scenario, world, &mut at_work);
    }
    world.consumers[consumer] = at_work;
    end_of_hold(scenario, world, consumer);
}

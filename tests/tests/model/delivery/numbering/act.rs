//! The effect of each step of producers, writers and time.

use super::world::{Age, Entry, Life, Phase, Plan, Record, Tail, World, Writer};
use super::{Action, Numbering, Rule, reader};

/// Entries that are read of an unknown log, or remembered of one that was not searched: as many as a batch has, so that
/// a consumer finds its records when another one has logged them meanwhile.
const READ: usize = 2;

pub(super) fn act(model: &Numbering, world: &mut World, action: Action) {
    match action {
        Action::Send { message } => send(model, world, message),
        Action::Forget { message } => {
            world.messages[usize::from(message)].is_known = false;
            let its = world.queue.iter_mut().filter(|record| record.message == message);
            its.for_each(|record| record.age = Age::Old);
        }
        Action::Receive { writer, records } => {
            let batch = world.queue[..records].to_vec();
            world.queue[..records].iter_mut().for_each(|record| record.age = Age::Old);
            world.writers[writer].batch = batch;
            world.writers[writer].phase = Phase::Look;
        }
        Action::Look { writer } => look(model, world, writer),
        Action::ReadFence { writer } => {
            world.writers[writer].phase = Phase::LookAgain { fence: world.fence, saved: world.saved_head };
        }
        Action::Write { writer } => write(model, world, writer),
        Action::Show { entry } => world.entries[entry].is_shown = true,
        Action::ShowFence => world.fence = world.next_fence.take(),
        Action::Hear { writer } => world.writers[writer].phase = Phase::Finish,
        Action::Finish { writer } => {
            let batch = std::mem::take(&mut world.writers[writer].batch);
            world.writers[writer].phase = Phase::Idle;
            let number_of = |record: &Record| {
                let its = world.entries.iter().filter(|entry| entry.message == record.message);
                its.map(|entry| entry.number).max()
            };
            let newest = batch.iter().filter_map(number_of).max();
            world.saved_head = world.saved_head.max(newest.unwrap_or_default());
            let is_done =
                |record: &Record| batch.iter().any(|done| (done.message, done.copy) == (record.message, record.copy));
            world.queue.retain(|record| !is_done(record));
            for other in world.writers.iter_mut().filter(|other| other.batch.iter().any(is_done)) {
                match other.phase {
                    Phase::Write(_) => other.is_over = true,
                    _ => *other = Writer::default(),
                }
            }
        }
        Action::Crash { writer } => world.writers[writer] = Writer::default(),
        Action::Redrive => {
            world.redrives -= 1;
            world.queue.rotate_left(1);
        }
        Action::TakeOldest => take(world, world.oldest()),
        Action::TakeNewest => take(world, world.newest()),
        Action::ComeNearer => {
            world.ends -= u8::from(world.life() == Some(Life::Ending));
            let nearer = |life| if life == Life::Lasting { Life::Ending } else { Life::Last };
            world.entries.iter_mut().for_each(|entry| entry.life = nearer(entry.life));
        }
        Action::End => {
            world.entries.iter_mut().for_each(|entry| entry.is_there = false);
        }
        Action::TakeFence => world.fence = None,
        Action::Post { .. } | Action::Ask | Action::Answer => reader::act(model, world, action),
    }
}

fn take(world: &mut World, entry: Option<usize>) {
    world.takes -= 1;
    if let Some(entry) = entry {
        world.entries[entry].is_there = false;
    }
}

fn send(model: &Numbering, world: &mut World, message: u8) {
    let of = &mut world.messages[usize::from(message)];
    of.sends -= 1;
    if of.is_known && model.has(Rule::Deduplicate) {
        return;
    }
    // Within the five minutes it is one message, however often it is taken.
    of.taken += u8::from(!of.is_known);
    let copy = u8::try_from(world.queue.iter().filter(|record| record.message == message).count()).unwrap_or_default();
    let copy = copy + of.taken * 4;
    of.is_known = true;
    world.queue.push(Record { message, copy, age: Age::Fresh });
}

/// Reads the end of the log, or remembers it, and decides on the write.
fn look(model: &Numbering, world: &mut World, writer: usize) {
    let at_work = &world.writers[writer];
    let may_be_logged = at_work.batch.iter().any(|record| record.age == Age::Old) && model.has(Rule::Search);
    let read = match at_work.phase {
        Phase::LookAgain { fence, saved } => Some(FenceRead { fence, saved }),
        _ => None,
    };
    let again = read.is_some();
    let tail = match at_work.memory {
        Some(tail) if again && !model.has(Rule::LookAgain) => tail,
        Some(tail) if !again && !may_be_logged => tail,
        _ => read_tail(world, may_be_logged),
    };
    decide(model, world, writer, tail, read);
}

fn read_tail(world: &World, may_be_logged: bool) -> Tail {
    let (Some(oldest), Some(newest)) = (world.oldest(), world.newest()) else {
        return Tail { from: world.entries.len(), to: world.entries.len(), unseen: 0 };
    };
    let to = newest + 1;
    let from = if may_be_logged { oldest } else { to.saturating_sub(READ).max(oldest) };
    Tail { from, to, unseen: hidden(world, from, to) }
}

/// The entries of a range that are not in sight, one bit each.
fn hidden(world: &World, from: usize, to: usize) -> u16 {
    (from..to).filter(|entry| !world.entries[*entry].is_shown).fold(0, |hidden, entry| hidden | 1 << entry)
}

/// The start that the fence named when it was read, and the head that was saved by then.
#[derive(Clone, Copy)]
struct FenceRead {
    fence: Option<u8>,
    saved: u8,
}

/// Decides on the write after a tail. `read` is given if the fence was read before the tail.
fn decide(model: &Numbering, world: &mut World, writer: usize, tail: Tail, read: Option<FenceRead>) {
    world.writers[writer].memory = Some(tail);
    let batch = &world.writers[writer].batch;
    let phase = if new_messages(world, tail, batch).is_empty() {
        Phase::Finish
    } else if let Some(next) = next_of_a_lasting_log(model, world, tail) {
        Phase::Write(Plan { next, fenced: None })
    } else {
        match read {
            None => Phase::ReadFence,
            // The entries that the fence stands for may come into sight yet.
            Some(FenceRead { fence, .. })
                if world.has_hidden()
                    && fence > head(world, tail).map(|head| head.number)
                    && model.has(Rule::AwaitStart) =>
            {
                Phase::ReadFence
            }
            Some(FenceRead { fence, saved }) => {
                let head = head(world, tail);
                let previous = match head {
                    Some(head) if model.has(Rule::SavedHead) => head.number.max(saved),
                    Some(head) => head.number,
                    None => saved,
                };
                let next = first_number(model, world, head, previous);
                Phase::Write(Plan { next, fenced: Some((fence, previous)) })
            }
        }
    };
    world.writers[writer].phase = phase;
}

/// The newest entry that a writer knows of, if it has not expired.
fn head(world: &World, tail: Tail) -> Option<Entry> {
    let newest = tail.to.checked_sub(1).filter(|newest| *newest >= tail.from)?;
    world.entries.get(newest).copied().filter(|entry| entry.is_there)
}

/// The messages of a batch that a writer does not know to be in the log, each once.
fn new_messages(world: &World, tail: Tail, batch: &[Record]) -> Vec<u8> {
    let mut new = Vec::new();
    for record in batch {
        let is_seen = |place: &usize| tail.unseen & (1 << place) == 0;
        let mut seen = (tail.from..tail.to).filter(is_seen);
        let is_known = seen.any(|place| world.entries[place].message == record.message);
        if !is_known && !new.contains(&record.message) {
            new.push(record.message);
        }
    }
    new
}

/// The next number of a log that does not end soon, as far as a writer knows.
fn next_of_a_lasting_log(model: &Numbering, world: &World, tail: Tail) -> Option<u8> {
    let head = head(world, tail)?;
    let lasts = head.life == Life::Lasting || (head.life == Life::Ending && !model.has(Rule::Margin));
    lasts.then_some(head.number + 1)
}

/// The number under which a log near its end goes on after `previous`, or a new one starts.
fn first_number(model: &Numbering, world: &World, head: Option<Entry>, previous: u8) -> u8 {
    match head {
        Some(head) if head.life == Life::Ending || !model.has(Rule::StartAnew) => previous + 1,
        Some(_) => world.time(),
        None if model.has(Rule::StartAtTime) => world.time(),
        None => 1,
    }
}

/// Appends the planned entries, if their numbers are free and the fence stands where it stood.
fn write(model: &Numbering, world: &mut World, writer: usize) {
    let at_work = world.writers[writer].clone();
    let (Phase::Write(plan), Some(tail)) = (at_work.phase, at_work.memory) else { return };
    let new = new_messages(world, tail, &at_work.batch);
    let last = plan.next + u8::try_from(new.len()).unwrap_or_default() - 1;
    let is_taken = |entry: &Entry| entry.is_there && (plan.next..=last).contains(&entry.number);
    let is_free = !world.entries.iter().any(is_taken) || !model.has(Rule::Condition);
    let stands = match (plan.fenced, world.fence, world.next_fence) {
        // Another transaction is writing the row.
        (Some(_), _, Some(_)) => !model.has(Rule::Fence),
        (Some((expected, _)), Some(fence), None) => expected == Some(fence) || !model.has(Rule::Fence),
        _ => true,
    };
    if at_work.is_over {
        world.writers[writer] = Writer::default();
    }
    if !is_free || !stands {
        if at_work.is_over {
            return;
        }
        if !model.has(Rule::ReadOn) {
            world.writers[writer].phase = Phase::Finish;
            return;
        }
        // The writer reads on from the entries that it knows, or reads the log anew if it knows none.
        let may_be_logged = at_work.batch.iter().any(|record| record.age == Age::Old) && model.has(Rule::Search);
        let tail = match head(world, tail) {
            // A read that would show an append in part is made later, with another attempt.
            _ if model.shows_part(world) => return,
            Some(_) => {
                let to = world.newest().map_or(tail.to, |newest| newest + 1).max(tail.to);
                Tail { to, unseen: tail.unseen | hidden(world, tail.to, to), ..tail }
            }
            None => read_tail(world, may_be_logged),
        };
        decide(model, world, writer, tail, None);
        return;
    }
    let highest = world.highest();
    let is_at_its_end = world.life().is_none_or(|life| life == Life::Last);
    world.went_back |= plan.next <= highest;
    world.gap |= plan.next > highest + 1 && !is_at_its_end;
    if plan.next > highest + 1 {
        // The rest of the log before has expired by now, or will within seconds.
        world.entries.iter_mut().for_each(|entry| entry.is_there = false);
    }
    let own = world.entries.len();
    // One row is there as a whole.
    let is_shown = !model.in_part || (new.len() == 1 && plan.fenced.is_none());
    let entry = |(number, message): (u8, &u8)| {
        let previous = plan.fenced.filter(|_| number == plan.next).map_or(number - 1, |(_, previous)| previous);
        let append_start = plan.next;
        Entry { number, message: *message, previous, append_start, is_there: true, is_shown, life: Life::Lasting }
    };
    world.entries.extend((plan.next..).zip(&new).map(entry));
    if plan.fenced.is_some() {
        let fence = if model.in_part { &mut world.next_fence } else { &mut world.fence };
        *fence = Some(plan.next);
    }
    if at_work.is_over {
        return;
    }
    let to = world.entries.len();
    // The writer remembers the entries that it has searched.
    let from = if tail.to.saturating_sub(tail.from) > READ {
        tail.from
    } else {
        own.min(to.saturating_sub(READ)).max(tail.from)
    };
    world.writers[writer].memory = Some(Tail { from, to, unseen: tail.unseen });
    world.writers[writer].phase = if is_shown { Phase::Finish } else { Phase::Written };
}

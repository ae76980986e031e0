//! A client, and what a `sync` or a join with `after` tells it.

use super::{
    Action, Numbering, Rule,
    world::{Entry, Reply, World},
};

/// Entries that the first query of a read gets at the most: the client's own and another one.
const FIRST_PAGE: u32 = 2;

pub(super) fn act(model: &Numbering, world: &mut World, action: Action) {
    let reader = &mut world.reader;
    match action {
        Action::Post { arrives } => {
            let entry = world.entries[reader.posted];
            reader.posted += 1;
            // Messages after a gap are asked for.
            if arrives && entry.number == reader.position + 1 {
                reader.seen |= 1 << (reader.posted - 1);
                reader.position = entry.number;
            }
        }
        Action::Ask => {
            reader.asked = reader.position;
            reader.reply = Reply::Asked;
        }
        Action::Answer => answer(model, world),
        _ => {}
    }
}

fn answer(model: &Numbering, world: &mut World) {
    let after = world.reader.asked;
    match world.reader.reply {
        Reply::None => {}
        Reply::Asked => {
            // The entry at the client's own position is read too: as long as that exists, nothing after it is gone.
            let read = read_from(world, after, FIRST_PAGE);
            world.reader.reply = match read.count_ones() {
                0 => Reply::Nothing,
                FIRST_PAGE => Reply::Begun { read },
                _ => Reply::Found { read, to: world.entries.len() },
            };
        }
        Reply::Begun { read } => {
            let last = world.entries[read.ilog2() as usize].number;
            let read = read | read_from(world, last + 1, u32::MAX);
            world.reader.reply = Reply::Found { read, to: world.entries.len() };
        }
        Reply::Found { read, to } => {
            let read: Vec<usize> = (0..to).filter(|entry| read & (1 << entry) != 0).collect();
            let Some(last) = read.last().copied() else { return };
            let truncated = has_hole(model, world, after, &read) && model.has(Rule::TellGone);
            let messages: Vec<_> = read.into_iter().filter(|entry| world.entries[*entry].number > after).collect();
            let head = world.entries[last].number;
            tell(world, &messages, truncated, head, to);
        }
        Reply::Nothing if world.saved_head == after => {
            let to = world.entries.len();
            tell(world, &[], false, after, to);
        }
        Reply::Nothing => world.reader.reply = Reply::Elsewhere { saved: world.saved_head },
        Reply::Elsewhere { saved } => {
            let newest = world.newest().map_or(0, |newest| world.entries[newest].number);
            if newest > after {
                // There is more by now: it asks again.
                world.reader.reply = Reply::Asked;
            } else {
                let to = world.entries.len();
                tell(world, &[], model.has(Rule::TellGone), saved.max(newest), to);
            }
        }
    }
}

/// The entries that are there from a number on, one bit each, and no more than `limit` of them.
fn read_from(world: &World, number: u8, limit: u32) -> u16 {
    let is_there = |entry: &usize| world.entries[*entry].is_there && world.entries[*entry].number >= number;
    let there = (0..world.entries.len()).filter(is_there).take(limit as usize);
    there.fold(0, |read, entry| read | 1 << entry)
}

/// Whether numbers jump elsewhere than at the last start of the log, the only one that the fence names.
fn has_hole(model: &Numbering, world: &World, after: u8, read: &[usize]) -> bool {
    let numbers: Vec<u8> =
        std::iter::once(after).chain(read.iter().map(|entry| world.entries[*entry].number)).collect();
    let looked_at = if model.has(Rule::TellHoles) { numbers.len() } else { 2 };
    let mut jumps = numbers[..looked_at].windows(2).filter(|two| two[1] > two[0] + 1);
    let Some(jump) = jumps.next() else { return false };
    let is_start = world.fence.is_some_and(|fence| fence.start == jump[1] && fence.previous == jump[0]);
    jumps.next().is_some() || !is_start
}

/// Tells the client these entries up to a head, and whether something is gone, which was where numbers jump.
fn tell(world: &mut World, entries: &[usize], truncated: bool, head: u8, to: usize) {
    let (after, position) = (world.reader.asked, world.reader.position);
    let end = entries.last().map_or(u8::MAX, |last| world.entries[*last].number);
    if truncated {
        for (place, entry) in world.entries.iter().enumerate() {
            if !entries.contains(&place) && entry.number > after && entry.number < end {
                world.reader.given_up |= 1 << place;
            }
        }
    }
    for place in entries {
        world.reader.seen |= 1 << place;
    }
    world.reader.position = entries.last().map_or(head, |last| world.entries[*last].number).max(position);
    world.reader.reply = Reply::None;
    // All messages that were logged when the log was read are accounted for, but for those above the head that the
    // client was told of which the table has deleted: once it is told of a later head, they are too. A message that is
    // not acknowledged yet, or has another number since, is counted under that.
    let known = world.reader.seen | world.reader.given_up;
    let is_missing = |place: usize| {
        let Entry { number, message, is_there, .. } = world.entries[place];
        let comes_again = world.entries[place + 1..].iter().any(|entry| entry.message == message)
            || world.queue.iter().any(|record| record.message == message);
        known & (1 << place) == 0 && !comes_again && (is_there || number <= head)
    };
    world.reader.misses |= (0..to).any(is_missing);
}

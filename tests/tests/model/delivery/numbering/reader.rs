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
                _ => Reply::Found { read, to: shown(world) },
            };
        }
        Reply::Begun { read } => {
            let last = world.entries[read.ilog2() as usize].number;
            let read = read | read_from(world, last + 1, u32::MAX);
            world.reader.reply = Reply::Found { read, to: shown(world) };
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
            let to = shown(world);
            tell(world, &[], false, after, to);
        }
        Reply::Nothing => world.reader.reply = Reply::Elsewhere { saved: world.saved_head },
        Reply::Elsewhere { saved } => {
            let newest = world.newest().map_or(0, |newest| world.entries[newest].number);
            if newest > after {
                // There is more by now: it asks again.
                world.reader.reply = Reply::Asked;
            } else {
                let to = shown(world);
                tell(world, &[], model.has(Rule::TellGone), saved.max(newest), to);
            }
        }
    }
}

/// The number of entries up to the last one that is in sight, or was.
fn shown(world: &World) -> usize {
    world.entries.iter().rposition(|entry| entry.is_shown).map_or(0, |last| last + 1)
}

/// The entries that are in sight from a number on, one bit each, and no more than `limit` of them.
fn read_from(world: &World, number: u8, limit: u32) -> u16 {
    let is_found = |place: &usize| {
        let entry = world.entries[*place];
        entry.is_there && entry.is_shown && entry.number >= number
    };
    let there = (0..world.entries.len()).filter(is_found).take(limit as usize);
    there.fold(0, |read, entry| read | 1 << entry)
}

/// Whether numbers jump elsewhere than where the log was started anew, which the entry there says.
fn has_hole(model: &Numbering, world: &World, after: u8, read: &[usize]) -> bool {
    let entries: Vec<Entry> = read.iter().map(|entry| world.entries[*entry]).collect();
    let looked_at = if model.has(Rule::TellHoles) { entries.len() } else { 1 };
    let before = std::iter::once(after).chain(entries.iter().map(|entry| entry.number));
    let mut two = before.zip(&entries).take(looked_at);
    two.any(|(before, entry)| entry.number > before + 1 && entry.previous != before)
}

/// Tells the client these entries up to a head, and whether something is gone, which was where numbers jump.
fn tell(world: &mut World, entries: &[usize], truncated: bool, head: u8, to: usize) {
    let (after, position) = (world.reader.asked, world.reader.position);
    let end = entries.last().map_or(u8::MAX, |last| world.entries[*last].number);
    if truncated {
        for (place, entry) in world.entries.iter().enumerate().take(to) {
            if !entries.contains(&place) && entry.number > after && entry.number < end {
                world.reader.given_up |= 1 << place;
                world.reader.is_misled |= entry.is_there;
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

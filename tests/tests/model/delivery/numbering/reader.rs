//! A client, and what a `sync` or a join with `after` tells it.

use super::{
    Action, Numbering, Rule,
    world::{Reply, World},
};

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
            let mut there = world.entries.iter();
            let first = there.position(|entry| entry.is_there && entry.number >= after);
            let to = world.entries.len();
            world.reader.reply = first.map_or(Reply::Nothing, |first| Reply::Found { first, to });
        }
        Reply::Found { first, to } => {
            let number = world.entries[first].number;
            let follows = world.fence.is_some_and(|fence| fence.start == number && fence.previous == after);
            let has_gap = number > after + 1 && !follows && model.has(Rule::TellGone);
            let messages = (first..to).filter(|entry| world.entries[*entry].number > after);
            let had: Vec<usize> = messages.collect();
            tell(world, &had, has_gap, world.entries[to - 1].number, to);
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

/// Tells the client these entries up to a head, and whether something is gone.
fn tell(world: &mut World, entries: &[usize], truncated: bool, head: u8, to: usize) {
    let (after, position) = (world.reader.asked, world.reader.position);
    let before = entries.first().map_or(u8::MAX, |first| world.entries[*first].number);
    if truncated {
        for (place, entry) in world.entries.iter().enumerate() {
            if !entry.is_there && entry.number > after && entry.number < before {
                world.reader.given_up |= 1 << place;
            }
        }
    }
    for place in entries {
        world.reader.seen |= 1 << place;
    }
    world.reader.position = entries.last().map_or(head, |last| world.entries[*last].number).max(position);
    world.reader.reply = Reply::None;
    // Every message that was logged when the log was read must be seen or given up. A message that is still in the queue,
    // or has a later number too, comes again and need not be.
    let known = world.reader.seen | world.reader.given_up;
    let is_missing = |place: usize| {
        let message = world.entries[place].message;
        let comes_again = world.entries[place + 1..].iter().any(|entry| entry.message == message)
            || world.queue.iter().any(|record| record.message == message);
        known & (1 << place) == 0 && !comes_again
    };
    world.reader.misses |= (0..to).any(is_missing);
}

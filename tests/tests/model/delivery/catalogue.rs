//! The scenarios of a room's broadcast that are looked at.

use super::broadcast::{ANY, Faults, Layout, Rule, Scenario};

const NONE: Faults = Faults::NONE;
const DIRECT: Layout = Layout::Direct;
const ONE: Layout = Layout::Shards(1);
const TWO: Layout = Layout::Shards(2);

/// Two messages to two connections, posted directly or by one shard; time is up anywhere. Appends and jobs of a
/// consumer that has lost its hold may still arrive.
fn basis(name: &'static str) -> Scenario {
    Scenario { layouts: vec![DIRECT, ONE], ..Scenario::posted_directly(name, vec![true; 2], 2, NONE) }
}

/// Crash, redelivery, and loss of the hold at any step, any number of times.
pub(crate) fn direct() -> Scenario {
    let faults = Faults { crashes: ANY, expiries: ANY, ..NONE };
    Scenario { messages: 3, layouts: vec![DIRECT], faults, ..basis("direct") }
}

/// Two messages, posted directly; one crash, one loss of the hold.
pub(crate) fn pair() -> Scenario {
    Scenario { layouts: vec![DIRECT], faults: Faults { crashes: 1, expiries: 1, ..NONE }, ..basis("pair") }
}

/// The scenario `pair` with a miss, and frames of one number each.
pub(crate) fn frames() -> Scenario {
    let faults = Faults { crashes: 1, expiries: 1, misses: 1, ..NONE };
    Scenario { layouts: vec![DIRECT], packed: false, frames: 2, faults, ..basis("frames") }
}

/// Direct or one shard, chosen for each batch; one crash, one loss of the hold, one miss.
pub(crate) fn trouble() -> Scenario {
    Scenario { faults: Faults { crashes: 1, expiries: 1, misses: 1, ..NONE }, ..basis("trouble") }
}

/// Direct, one shard or two, chosen for each batch; one crash, one loss of the hold.
pub(crate) fn shards() -> Scenario {
    let layouts = vec![DIRECT, ONE, TWO];
    Scenario { layouts, faults: Faults { crashes: 1, expiries: 1, ..NONE }, ..basis("shards") }
}

/// Three messages to three connections, directly or by two shards, with no fault except that time is up.
pub(crate) fn calm() -> Scenario {
    Scenario { messages: 3, connections: vec![true; 3], layouts: vec![DIRECT, TWO], ..basis("calm") }
}

/// Jobs to two shards, one job refused.
pub(crate) fn jobs() -> Scenario {
    let faults = Faults { refused_sends: 1, ..NONE };
    Scenario { layouts: vec![TWO], packed: false, frames: 1, time_is_up: false, faults, ..basis("jobs") }
}

/// Jobs to two shards that are refused, that are taken without an answer, or that arrive late.
pub(crate) fn sends() -> Scenario {
    let faults = Faults { crashes: 1, refused_sends: 1, unanswered_sends: 1, late_sends: 1, ..NONE };
    let layouts = vec![TWO];
    Scenario { layouts, packed: false, frames: 1, deduplicates: true, faults, ..basis("sends") }
}

/// Jobs to one shard that arrive late, while consumers crash or lose their holds and posts fail.
pub(crate) fn late_sends() -> Scenario {
    let faults = Faults { crashes: 1, expiries: 1, misses: 1, late_sends: 1, ..NONE };
    Scenario { deduplicates: true, faults, ..basis("late sends") }
}

/// A dead letter, and its redrive.
pub(crate) fn letters() -> Scenario {
    let faults = Faults { crashes: 1, expiries: 1, dead_letters: 1, ..NONE };
    Scenario { faults, without: vec![Rule::HeldSends], ..basis("letters") }
}

/// Dead letters of jobs that arrived late.
pub(crate) fn late_letters() -> Scenario {
    let faults = Faults { crashes: 2, dead_letters: 2, late_sends: 1, ..NONE };
    Scenario { faults, ..basis("late letters") }
}

/// A producer sends a message again when the queue has forgotten it.
pub(crate) fn resends() -> Scenario {
    Scenario { faults: Faults { crashes: 1, expiries: 1, resends: 1, ..NONE }, ..basis("resends") }
}

/// Fresh messages are numbered after a log as it is remembered.
pub(crate) fn memory() -> Scenario {
    let faults = Faults { crashes: 1, expiries: 1, ..NONE };
    Scenario { messages: 3, memory: true, time_is_up: false, faults, ..basis("memory") }
}

/// Clients join, are cut off, found gone, leave, come back, sync; the index of rooms lags.
pub(crate) fn members() -> Scenario {
    let faults = Faults { crashes: 1, false_gone: 1, leaves: 1, cuts: 1, syncs: 1, misses: 1, ..NONE };
    Scenario { connections: vec![true, false], index_lags: true, faults, ..basis("members") }
}

/// From every state it is tried whether everything comes to its end.
pub(crate) fn ends() -> Scenario {
    let faults = Faults { crashes: 1, expiries: 1, ..NONE };
    Scenario { layouts: vec![DIRECT, TWO], faults, tries_the_end: true, ..basis("ends") }
}

/// Posts that are made again are counted.
pub(crate) fn repeats() -> Scenario {
    let faults = Faults { crashes: 1, ..NONE };
    let connections = vec![true; 3];
    Scenario { connections, window: 2, checkpoints: true, faults, count_repeats: true, ..basis("repeats") }
}

/// A post that was given up may arrive later.
pub(crate) fn late_posts() -> Scenario {
    Scenario { faults: Faults { late_posts: 1, ..NONE }, ..basis("late posts") }
}

/// A row that was given up may be saved after the hold has ended.
pub(crate) fn late_saves() -> Scenario {
    let pair = pair();
    Scenario { name: "late saves", without: [pair.without.as_slice(), &[Rule::HeldSaves]].concat(), ..pair }
}

/// The scenarios about layouts and jobs.
pub(crate) fn in_shards() -> Vec<Scenario> {
    vec![trouble(), shards(), calm(), memory(), sends(), late_sends(), late_posts()]
}

/// The scenarios about dead letters, producers and members.
pub(crate) fn letters_and_members() -> Vec<Scenario> {
    vec![letters(), late_letters(), resends(), members()]
}

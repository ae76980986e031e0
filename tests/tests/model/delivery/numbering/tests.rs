//! The properties that hold, and those that are violated without each rule.

use super::{CONSECUTIVE, CONVERGES, NOTHING_LOST, NUMBERED_ONCE, Numbering, ONE_NUMBER, Rule, TRUTHFUL};
use crate::{holds, is_violated};

/// Two writers that crash anywhere, and a log that ends once.
fn lives() -> Numbering {
    Numbering {
        messages: 2,
        sends: 1,
        writers: 2,
        crashes: true,
        ends: 1,
        takes: 2,
        redrives: 0,
        in_part: true,
        reader: false,
        without: None,
    }
}

/// Producers that send again, within the five minutes and after; a dead letter that is redriven.
fn producers() -> Numbering {
    Numbering { messages: 3, sends: 2, writers: 1, ends: 0, takes: 0, redrives: 1, in_part: false, ..lives() }
}

/// A client that misses posts and syncs at any time, while a writer crashes and the log ends.
fn client() -> Numbering {
    Numbering { writers: 1, reader: true, ..lives() }
}

#[test]
fn two_writers_over_the_lives_of_a_log() {
    holds("numbering, two writers", Numbering { crashes: false, ..lives() });
}

#[test]
fn a_writer_that_crashes_over_the_lives_of_a_log() {
    holds("numbering, crashes", Numbering { writers: 1, ..lives() });
}

#[test]
fn producers_that_send_again() {
    holds("numbering, producers", producers());
}

#[test]
fn a_client_that_reads_a_log_which_ends() {
    holds("numbering, client", Numbering { messages: 1, ..client() });
}

#[test]
#[ignore = "minutes: see docs/model.md"]
fn two_writers_that_crash() {
    holds("numbering, two writers that crash", lives());
}

#[test]
#[ignore = "minutes: see docs/model.md"]
fn a_client_and_two_messages() {
    holds("numbering, client and two messages", client());
}

#[test]
fn each_rule_is_missed() {
    let missed = [
        (Rule::Deduplicate, ONE_NUMBER, producers()),
        (Rule::Search, ONE_NUMBER, producers()),
        (Rule::Condition, NUMBERED_ONCE, lives()),
        (Rule::ReadOn, NOTHING_LOST, lives()),
        (Rule::Fence, CONSECUTIVE, lives()),
        (Rule::LookAgain, CONSECUTIVE, lives()),
        (Rule::Margin, NUMBERED_ONCE, lives()),
        (Rule::StartAnew, NUMBERED_ONCE, lives()),
        (Rule::StartAtTime, NUMBERED_ONCE, lives()),
        (Rule::SavedHead, CONVERGES, client()),
        (Rule::ReadWhole, TRUTHFUL, client()),
        (Rule::ReadWhole, ONE_NUMBER, lives()),
        (Rule::AwaitStart, ONE_NUMBER, lives()),
        (Rule::TellGone, CONVERGES, client()),
        (Rule::TellHoles, CONVERGES, client()),
    ];
    for (rule, property, model) in missed {
        is_violated(&format!("numbering without {rule:?}"), property, Numbering { without: Some(rule), ..model });
    }
}

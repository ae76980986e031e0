//! The properties that hold, and those that are violated without each rule.

use super::world::Kind;
use super::{CAUGHT_UP, EXACT, LOGGED, Message, NEVER_BACK, Rule, Scenario, TRUE_HEAD};
use crate::{holds, is_violated};

const PLAIN: Message = Message { kind: Kind::Plain, version: 0 };
const SET: Message = Message { kind: Kind::Set, version: 0 };
const REMOVE: Message = Message { kind: Kind::Remove, version: 0 };
const SET_3: Message = Message { kind: Kind::Set, version: 3 };
const SET_5: Message = Message { kind: Kind::Set, version: 5 };
const REMOVE_5: Message = Message { kind: Kind::Remove, version: 5 };

/// Every sequence of three of these messages.
fn mixes(of: &[Message]) -> Vec<Vec<Message>> {
    (0..3).fold(vec![Vec::new()], |mixes, _| {
        let longer = |mix: Vec<Message>| of.iter().map(move |message| [mix.as_slice(), &[*message]].concat());
        mixes.into_iter().flat_map(longer).collect()
    })
}

/// Two writers that crash anywhere, and no reader: to them a removal is a value like any other.
fn writers() -> Scenario {
    let mut mixes = mixes(&[PLAIN, SET, SET_5]);
    mixes.push(vec![SET_5, SET, SET_3]);
    Scenario { mixes, writers: 2, crashes: true, client: false, pages: 1, without: None }
}

/// A client that joins again and again, one writer that does not crash.
fn reader(pages: u8) -> Scenario {
    let mixes = mixes(if pages == 1 { &[SET, REMOVE, SET_3, REMOVE_5] } else { &[SET, REMOVE] });
    Scenario { mixes, writers: 1, crashes: false, client: true, pages, without: None }
}

/// Two writers that crash anywhere, and a client.
fn both() -> Scenario {
    Scenario { mixes: vec![vec![SET, REMOVE]], writers: 2, crashes: true, client: true, pages: 1, without: None }
}

#[test]
fn two_writers_that_crash_anywhere() {
    holds("state, writers", writers());
}

#[test]
fn a_client_that_reads_one_page() {
    holds("state, one page", reader(1));
}

#[test]
fn a_client_that_reads_two_pages() {
    holds("state, two pages", reader(2));
}

#[test]
fn two_writers_and_a_client() {
    holds("state, both", both());
}

#[test]
fn each_rule_is_missed() {
    let missed = [
        (Rule::TotalOrder, CAUGHT_UP, writers()),
        (Rule::Condition, CAUGHT_UP, writers()),
        (Rule::AfterAppend, LOGGED, writers()),
        (Rule::StateAt, TRUE_HEAD, writers()),
        (Rule::StateAt, EXACT, both()),
        (Rule::ApplyAgain, TRUE_HEAD, writers()),
        (Rule::PlainStateAt, TRUE_HEAD, writers()),
        (Rule::Merge, EXACT, reader(1)),
        (Rule::HeadFirst, EXACT, reader(1)),
        (Rule::KeptAfterFirst, EXACT, reader(2)),
        (Rule::Removed, EXACT, reader(2)),
        (Rule::Removed, NEVER_BACK, reader(1)),
        (Rule::FirstHead, EXACT, reader(1)),
        (Rule::Dropped, EXACT, reader(1)),
        (Rule::OwnJoin, EXACT, reader(2)),
    ];
    for (rule, property, scenario) in missed {
        is_violated(&format!("state without {rule:?}"), property, Scenario { without: Some(rule), ..scenario });
    }
}

//! The properties that hold, and those that are violated without each rule.

use super::{Groups, IN_ORDER, NO_HOPE, NOT_HELD_UP, NOTHING_LOST, Rule};
use crate::{holds, is_violated};

/// Messages of two rooms, and two records that can never be broadcast.
const RECORDS: &[(usize, bool)] = &[(0, true), (1, true), (1, false), (0, false), (1, true), (0, true)];

fn groups() -> Groups {
    Groups { records: RECORDS, without: None }
}

#[test]
fn a_room_that_is_stuck_holds_up_nobody() {
    holds("groups", groups());
}

#[test]
fn each_rule_is_missed() {
    let missed = [
        (Rule::OwnRecords, NOT_HELD_UP),
        (Rule::FromTheFirst, NOTHING_LOST),
        (Rule::ConfirmLetters, NOTHING_LOST),
        (Rule::LetterId, NO_HOPE),
        (Rule::InFlightBlocks, IN_ORDER),
    ];
    for (rule, property) in missed {
        is_violated(&format!("groups without {rule:?}"), property, Groups { without: Some(rule), ..groups() });
    }
}

//! The properties that hold, and those that are violated without each rule.

use super::client::{self, Following, LISTED, NEVER_BACK};
use super::publisher::{self, CAUGHT_UP, EVENTS, FRAMES, IN_ORDER, ONE_LIST, Publishing, STAYS};
use crate::{holds, is_kept, is_violated};

fn publishing() -> Publishing {
    Publishing { changes: 3, losses: 1, without: &[] }
}

fn following() -> Following {
    Following { revs: 4, without: None }
}

#[test]
fn consumers_that_crash_anywhere_publish() {
    holds("presence, publishing", publishing());
}

#[test]
fn a_client_follows_frames_that_are_lost_doubled_reordered() {
    holds("presence, following", following());
}

#[test]
fn each_rule_of_publishing_is_missed() {
    use publisher::Rule::{By, Check, Condition, Delay, DoneLast, Hold, Renew, TickAfterWrite};
    let missed: [(&'static [publisher::Rule], _); 11] = [
        (&[TickAfterWrite], CAUGHT_UP),
        (&[Delay], CAUGHT_UP),
        (&[Check], CAUGHT_UP),
        (&[Renew], STAYS),
        (&[By], EVENTS),
        (&[By], FRAMES),
        (&[By], IN_ORDER),
        (&[DoneLast], EVENTS),
        (&[Hold], CAUGHT_UP),
        (&[Hold], EVENTS),
        (&[Condition, Hold], ONE_LIST),
    ];
    for (without, property) in missed {
        let model = Publishing { changes: 2, without, ..publishing() };
        is_violated(&format!("presence without {without:?}"), property, model);
    }
}

/// Two consumers of one tick overlook changes and lose events, which is why an invocation must end before its ticks
/// are visible again. Even so no rev ever has two lists.
#[test]
fn ticks_that_are_held_twice_never_give_a_rev_two_lists() {
    let held_twice = Publishing { changes: 2, losses: 0, without: &[publisher::Rule::Hold] };
    is_kept("presence, ticks held twice", ONE_LIST, held_twice);
}

#[test]
fn each_rule_of_following_is_missed() {
    use client::Rule::{After, IgnoreOld, MergeFollowing, OverPages};
    let missed =
        [(After, LISTED), (IgnoreOld, LISTED), (IgnoreOld, NEVER_BACK), (MergeFollowing, LISTED), (OverPages, LISTED)];
    for (rule, property) in missed {
        let without = Some(rule);
        is_violated(&format!("presence without {rule:?}"), property, Following { without, ..following() });
    }
}

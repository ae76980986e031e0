//! What holds, and what is missed without each rule.

use super::client::{self, Following, LISTED};
use super::publisher::{self, CAUGHT_UP, EVENTS, IN_ORDER, ONE_LIST, Publishing};
use crate::{holds, is_violated};

fn publishing() -> Publishing {
    Publishing { changes: 2, losses: 1, without: &[] }
}

fn following() -> Following {
    Following { revs: 4, without: None }
}

#[test]
fn consumers_that_crash_anywhere_publish() {
    holds("presence, publishing", publishing());
}

#[test]
fn consumers_that_hold_the_same_ticks_publish() {
    holds("presence, publishing, held twice", Publishing { without: &[publisher::Rule::Hold], ..publishing() });
}

#[test]
fn a_client_follows_frames_that_are_lost_doubled_reordered() {
    holds("presence, following", following());
}

#[test]
fn each_rule_of_publishing_is_missed() {
    use publisher::Rule::{By, Check, Condition, Delay, DoneLast, Hold, ReadAt, TickAfterWrite};
    let missed: [(&'static [publisher::Rule], _); 7] = [
        (&[TickAfterWrite], CAUGHT_UP),
        (&[Delay], CAUGHT_UP),
        (&[Check], CAUGHT_UP),
        (&[Condition, Hold], ONE_LIST),
        (&[By], EVENTS),
        (&[DoneLast], EVENTS),
        (&[ReadAt, Hold], IN_ORDER),
    ];
    for (without, property) in missed {
        is_violated(&format!("presence without {without:?}"), property, Publishing { without, ..publishing() });
    }
}

#[test]
fn each_rule_of_following_is_missed() {
    use client::Rule::{After, IgnoreOld, MergeFollowing, OverPages};
    for rule in [After, IgnoreOld, MergeFollowing, OverPages] {
        let without = Some(rule);
        is_violated(&format!("presence without {rule:?}"), LISTED, Following { without, ..following() });
    }
}

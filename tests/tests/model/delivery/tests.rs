//! The properties of a room's broadcast, and those that are violated without each rule.

use super::broadcast::{COMPLETE, ENDS, IN_ORDER, NOTHING_LOST, NUMBERED_ONCE, ONLY_IN_FLIGHT, Rule, Scenario};
use super::catalogue;
use crate::{holds, holds_in_depth, is_violated};

fn search(scenario: Scenario) {
    holds(&format!("broadcast, {}", scenario.name), scenario);
}

fn search_in_depth(scenario: Scenario) {
    holds_in_depth(&format!("broadcast, {}", scenario.name), scenario);
}

#[test]
fn two_messages_posted_directly() {
    search(catalogue::pair());
}

#[test]
fn progress_that_is_saved_late() {
    search(catalogue::late_saves());
}

#[test]
fn posts_that_are_made_again() {
    search(catalogue::repeats());
}

#[test]
fn jobs_that_are_refused() {
    search(catalogue::jobs());
}

#[test]
fn frames_of_one_number_each() {
    search(catalogue::frames());
}

#[test]
#[ignore = "minutes: see docs/model.md"]
fn three_messages_posted_directly() {
    search_in_depth(catalogue::direct());
}

#[test]
#[ignore = "minutes: see docs/model.md"]
fn direct_or_in_shards() {
    catalogue::in_shards().into_iter().for_each(search_in_depth);
}

#[test]
#[ignore = "minutes: see docs/model.md"]
fn letters_and_members() {
    catalogue::letters_and_members().into_iter().for_each(search_in_depth);
}

#[test]
#[ignore = "minutes: see docs/model.md"]
fn all_ends_from_every_state() {
    search_in_depth(catalogue::ends());
}

/// Each rule that is taken away, the scenario in which that is noticed, and the property that breaks.
#[test]
fn each_rule_is_missed() {
    use catalogue::{
        calm, ends, frames, jobs, late_letters, late_posts, late_saves, late_sends, letters, members, pair, repeats,
        trouble,
    };
    let missed: [(&[Rule], Scenario, &'static str); 26] = [
        (&[Rule::ConditionalAppend, Rule::HeldAppends], letters(), NUMBERED_ONCE),
        (&[Rule::ConditionalAppend, Rule::HeldAppends], letters(), NOTHING_LOST),
        (&[Rule::FindKnown], pair(), NUMBERED_ONCE),
        (&[Rule::ReadAgain], letters(), IN_ORDER),
        (&[Rule::Floor], letters(), IN_ORDER),
        (&[Rule::FloorFirst], trouble(), IN_ORDER),
        (&[Rule::ShardFloorFirst], late_letters(), IN_ORDER),
        (&[Rule::LayoutInEntry], trouble(), IN_ORDER),
        (&[Rule::Drained], calm(), IN_ORDER),
        (&[Rule::HeldAppends], letters(), COMPLETE),
        (&[Rule::HeldPosts], pair(), IN_ORDER),
        (&[Rule::HeldSaves], trouble(), IN_ORDER),
        (&[Rule::RowForward], late_saves(), IN_ORDER),
        (&[Rule::ReadProgress], ends(), ENDS),
        (&[Rule::ReadProgress], repeats(), ONLY_IN_FLIGHT),
        (&[Rule::CutAtNumber], trouble(), COMPLETE),
        (&[Rule::NameMissing], pair(), COMPLETE),
        (&[Rule::SkipAfterMiss], frames(), IN_ORDER),
        (&[Rule::ShardDone], late_sends(), IN_ORDER),
        (&[Rule::ConfirmSends], jobs(), COMPLETE),
        (&[Rule::SendInOrder], jobs(), COMPLETE),
        (&[Rule::AcknowledgeHead], pair(), COMPLETE),
        (&[Rule::RowBeforeHead], members(), COMPLETE),
        (&[Rule::ResumeAfter], members(), COMPLETE),
        (&[Rule::InFlightBlocks], pair(), IN_ORDER),
        (&[Rule::PostsArriveInTime], late_posts(), IN_ORDER),
    ];
    for (rules, scenario, property) in missed {
        let name = format!("broadcast, {} without {rules:?}", scenario.name);
        let without = scenario.without.iter().chain(rules).copied().collect();
        is_violated(&name, property, Scenario { without, ..scenario });
    }
}

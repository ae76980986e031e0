//! The end of a broadcast, from any state on, when nothing goes wrong any more except that time is short.

use stateright::Model;

use super::{
    scenario::Scenario,
    steps::Action,
    world::{Layout, Phase, World},
};

/// Steps within which a room of the model's size is quiet. A run takes about a hundred.
const STEPS: usize = 400;

/// The pace of consumers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Full batches, and time for all of it.
    Quick,
    /// Full batches; time is up as soon as one delivery has ended.
    Short,
    /// One record at a time; time is up as soon as one delivery has ended.
    ShortAndSingle,
}

/// Whether everything comes to its end from a state, however short the invocations are.
pub(crate) fn ends(scenario: &Scenario, world: &World) -> bool {
    let paces: &[Pace] =
        if scenario.time_is_up { &[Pace::Quick, Pace::Short, Pace::ShortAndSingle] } else { &[Pace::Quick] };
    let each = |layout: &Layout| paces.iter().all(|pace| runs_out(scenario, world.clone(), *pace, *layout));
    scenario.layouts.iter().all(each)
}

fn runs_out(scenario: &Scenario, mut world: World, pace: Pace, preferred: Layout) -> bool {
    let mut actions = Vec::new();
    for _ in 0..STEPS {
        if world.is_quiet() {
            return world.is_complete();
        }
        actions.clear();
        scenario.actions(&world, &mut actions);
        let urgency = |action: &Action| urgency(&world, action, pace, preferred);
        let Some(action) = actions.drain(..).filter(|action| urgency(action) > 0).max_by_key(urgency) else {
            return false;
        };
        if let Some(next) = scenario.next_state(&world, action) {
            world = next;
        }
    }
    false
}

/// The urgency of a step: greater ones are taken first, a step of 0 is never taken.
fn urgency(world: &World, action: &Action, pace: Pace, preferred: Layout) -> usize {
    let got_further = |consumer: usize| match &world.consumers[consumer].phase {
        Phase::Post(step) => step.got_further,
        _ => false,
    };
    match action {
        Action::TimeIsUp { consumer } if pace != Pace::Quick && got_further(*consumer) => 100,
        Action::Append { layout, .. } if *layout == preferred => 51,
        Action::Receive { records, .. } if pace == Pace::ShortAndSingle => 10 - records,
        Action::Receive { records, .. } => 10 + records,
        Action::Read { .. }
        | Action::Append { .. }
        | Action::Post { .. }
        | Action::Send { .. }
        | Action::Save { .. }
        | Action::Return { .. } => 50,
        Action::Joined { .. } | Action::LateArrival { .. } | Action::List { .. } => 40,
        _ => 0,
    }
}

//! The hold on a batch: how long its records are invisible for the sake of a consumer.

use super::{
    queues::release,
    scenario::{Rule, Scenario},
    world::{Phase, ROOMS, World},
};

/// Stops a consumer whose hold has ended before a step that it must not take.
pub(crate) fn end_of_hold(scenario: &Scenario, world: &mut World, consumer: usize) {
    let at_work = &world.consumers[consumer];
    let stops = match at_work.phase {
        Phase::Read | Phase::Append { .. } if at_work.queue == ROOMS => scenario.has(Rule::HeldAppends),
        Phase::Read | Phase::Append { .. } => false,
        Phase::Post(_) => scenario.has(Rule::HeldPosts),
        Phase::Send { .. } => scenario.has(Rule::HeldSends),
        Phase::Save { .. } => scenario.has(Rule::HeldSaves),
        Phase::Return { .. } => at_work.held == 0,
    };
    if stops && at_work.lost {
        release(scenario, world, consumer);
    }
}

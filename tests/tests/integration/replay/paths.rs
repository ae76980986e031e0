//! Paths of the model that are replayed: the shortest to states of interest, and random walks.

use std::collections::{HashMap, VecDeque};

use fastrand::Rng;
use stateright::Model;

use super::broadcast::world::{Consumer, Content, Phase, Place, ROOMS, Then, World};
use super::broadcast::{Action, Faults, Scenario};

/// Steps of a walk before faults end.
const STEPS: usize = 40;

/// Steps within which a walk without faults is at its end.
const END: usize = 200;

/// Whether the replayer can take a step in a state of the world. Time passes for all environments at once, so one whose
/// time is up must be alone. A join is one call. While a connection that was answered 410 waits for its second attempt,
/// the next one is posted to, so only the last connection is found gone.
fn is_replayable(world: &World, action: &Action) -> bool {
    let is_joining = world.connections.iter().any(|client| matches!(client.place, Place::Joining { .. }));
    let is_last = |connection: usize| world.connections[connection + 1..].iter().all(|client| !client.is_listed);
    let is_alone = world.consumers.len() == 1;
    match *action {
        Action::Joined { .. } => true,
        _ if is_joining => false,
        Action::Join { .. } | Action::Leave { .. } => world.consumers.is_empty(),
        Action::Cut { connection } => world.consumers.is_empty() && is_last(connection),
        Action::TimeIsUp { .. } => is_alone,
        // For messages that are not acknowledged, the head may or may not be saved.
        Action::Sync { .. } => world.saved_head() == world.head(),
        Action::FalseGone { consumer, .. } => match &world.consumers[consumer].phase {
            Phase::Post(step) => is_alone && step.open.len() == 1,
            _ => false,
        },
        _ => true,
    }
}

fn actions(scenario: &Scenario, world: &World) -> Vec<Action> {
    let mut actions = Vec::new();
    scenario.actions(world, &mut actions);
    actions.retain(|action| is_replayable(world, action));
    actions
}

/// A way from a state to where all is quiet, without another fault.
fn to_the_end(scenario: &Scenario, mut world: World) -> Vec<Action> {
    let mut path = Vec::new();
    while path.len() < END {
        let is_fault = |action: &Action| {
            !matches!(
                action,
                Action::Receive { .. }
                    | Action::Append { .. }
                    | Action::Post { .. }
                    | Action::Save { .. }
                    | Action::Return { .. }
                    | Action::Join { .. }
                    | Action::Joined { .. }
                    | Action::Redrive { .. }
                    | Action::Read { .. }
            )
        };
        let quiet = world.is_quiet() && world.dead_letters.is_empty();
        let Some(action) = actions(scenario, &world).into_iter().rev().find(|action| !is_fault(action)) else { break };
        if quiet && !matches!(action, Action::Join { .. }) {
            break;
        }
        world = scenario.next_state(&world, action).unwrap();
        path.push(action);
    }
    assert!(world.is_quiet(), "no end: {world:?}");
    path
}

/// A walk at random, and on to where all is quiet.
pub(super) fn walk(scenario: &Scenario, random: &mut Rng) -> Vec<Action> {
    let mut world = scenario.init_states().remove(0);
    let mut path = Vec::new();
    for _ in 0..STEPS {
        let actions = actions(scenario, &world);
        let Some(action) = (!actions.is_empty()).then(|| actions[random.usize(..actions.len())]) else { break };
        world = scenario.next_state(&world, action).unwrap();
        path.push(action);
    }
    path.extend(to_the_end(scenario, world));
    path
}

/// The shortest path to a state of interest, and on to where all is quiet.
pub(super) fn shortest(scenario: &Scenario, is_there: impl Fn(&World) -> bool) -> Vec<Action> {
    let start = scenario.init_states().remove(0);
    let mut came: HashMap<World, Option<(World, Action)>> = HashMap::from([(start.clone(), None)]);
    let mut next = VecDeque::from([start]);
    while let Some(world) = next.pop_front() {
        if is_there(&world) {
            let mut path = Vec::new();
            let mut at = &world;
            while let Some(Some((before, action))) = came.get(at) {
                path.push(*action);
                at = before;
            }
            path.reverse();
            path.extend(to_the_end(scenario, world));
            return path;
        }
        for action in actions(scenario, &world) {
            let after = scenario.next_state(&world, action).unwrap();
            if !came.contains_key(&after) {
                came.insert(after.clone(), Some((world.clone(), action)));
                next.push_back(after);
            }
        }
    }
    panic!("nothing leads there");
}

/// Three messages for two members and a client that joins; each fault happens once or twice.
pub(super) fn scenario() -> Scenario {
    let faults = Faults {
        crashes: 2,
        expiries: 1,
        misses: 1,
        dead_letters: 1,
        false_gone: 1,
        cuts: 1,
        leaves: 1,
        syncs: 2,
        ..Faults::NONE
    };
    Scenario::posted_directly("replay", vec![false, true, true], 3, faults)
}

/// A state of interest, and the scenario in which the shortest path to it is sought.
pub(super) struct Interest {
    pub(super) name: &'static str,
    pub(super) scenario: Scenario,
    pub(super) is_there: fn(&World) -> bool,
}

/// All states of interest.
pub(super) fn interests() -> Vec<Interest> {
    let of = |name, messages, faults, is_there| {
        let scenario = Scenario::posted_directly(name, vec![true; 3], messages, faults);
        Interest { name, scenario, is_there }
    };
    let none = Faults::NONE;
    let crash = Faults { crashes: 1, ..none };
    let expiry = Faults { expiries: 1, ..none };
    let letter = Faults { crashes: 1, dead_letters: 1, ..none };
    vec![
        of("a crash after the append, before any post", 2, crash, |world| {
            world.log.len() == 2
                && world.consumers.is_empty()
                && world.connections.iter().all(|client| client.seen.is_empty())
        }),
        of("a crash in the middle of posting", 1, crash, |world| {
            world.consumers.is_empty() && !world.queues[ROOMS].is_empty() && !world.connections[1].seen.is_empty()
        }),
        of("time is up in the middle", 2, none, |world| {
            world.consumers.is_empty() && world.rows[ROOMS].up_to == 2 && world.rows[ROOMS].slot == 2
        }),
        of("a slot is left open, and given up when time is up again", 1, none, |world| {
            world.consumers.is_empty() && !world.connections[0].excused.is_empty()
        }),
        of("a batch comes back smaller than it went", 2, none, |world| {
            world.rows[ROOMS].up_to == 2
                && world.consumers.iter().any(|consumer| consumer.batch.len() == 1 && is_posting(consumer))
        }),
        of("what is below a number is put on record first", 3, none, |world| {
            world.consumers.iter().any(|consumer| matches!(consumer.phase, Phase::Save { then: Then::GoOn, .. }))
        }),
        of("a consumer that has lost its hold appends after another one", 2, expiry, |world| {
            world.log.len() == 1 && world.consumers.iter().any(|consumer| consumer.lost && consumer.batch.len() == 2)
        }),
        of("a consumer that has lost its hold appends first", 2, expiry, |world| {
            let is_behind = |consumer: &Consumer| !consumer.lost && consumer.phase == Phase::Append { head: 0 };
            world.log.len() == 1 && world.consumers.iter().any(is_behind)
        }),
        of("a dead letter that was not logged is redriven behind the others", 2, letter, |world| {
            world.is_quiet() && world.dead_letters.is_empty() && world.log.len() == 2 && world.log[0].message == 1
        }),
        of("a dead letter that was logged is redriven below the floor", 2, letter, |world| {
            let is_redriven = world.queues[ROOMS].first().is_some_and(|record| record.content == Content::Message(0));
            is_redriven
                && world.log.len() == 2
                && world.log[1].floor == 2
                && world.given_up.has(0)
                && world.consumers.is_empty()
        }),
        of("a post fails, and the client syncs", 2, Faults { misses: 1, syncs: 1, ..none }, |world| {
            world.is_quiet() && world.faults.misses == 0 && world.faults.syncs == 0
        }),
        of("a living connection is found gone, and comes back", 2, Faults { false_gone: 1, ..none }, |world| {
            world.faults.false_gone == 0 && world.connections[2].place == Place::In && world.log.len() == 1
        }),
        of("a client is cut off, misses a message, and resumes", 2, Faults { cuts: 1, ..none }, |world| {
            let client = &world.connections[2];
            world.faults.cuts == 0 && client.place == Place::In && client.seen.len() == 2 && world.log.len() == 2
        }),
    ]
}

fn is_posting(consumer: &Consumer) -> bool {
    matches!(consumer.phase, Phase::Post(_))
}

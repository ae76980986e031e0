//! The broadcast of one room: from a message in the queue to every connection in the room.
//!
//! Consumers of the room's group number messages in the log and post them, or hand them to shards in jobs; consumers
//! of the shards' groups post those. Each may be killed between any two steps, run out of time while it posts, or lose
//! the hold on its records to another one. Clients join, are cut off, and come back.

mod act;
mod consumer;
mod end;
mod hold;
mod posts;
mod queues;
mod scenario;
mod set;
mod steps;
pub(crate) mod world;

use stateright::{Model, Property};

pub(crate) use scenario::{ANY, Faults, Rule, Scenario};
pub(crate) use set::Set;
pub(crate) use steps::Action;
pub(crate) use world::{Age, Content, Layout, ROOMS, Record, World};

pub(crate) const NUMBERED_ONCE: &str = "no number is given to two messages, and no message has two numbers";
pub(crate) const NOTHING_LOST: &str = "what was accepted is in the queue, in the log, or a dead letter";
pub(crate) const IN_ORDER: &str = "no connection gets a new number below one that it has";
pub(crate) const COMPLETE: &str = "when all is quiet, nobody lacks a number without a reason";
pub(crate) const ENDS: &str = "from every state all ends, however short the invocations";
pub(crate) const ONLY_IN_FLIGHT: &str = "only what a crash or the end of time left open is posted again";

/// Two consumers of one group are at work: one of them has lost its hold.
pub(crate) const TWO_CONSUMERS: &str = "two consumers of one group at work";
/// A room goes to shards and back.
pub(crate) const TO_AND_FRO: &str = "direct, in shards, direct again";

impl Scenario {
    /// Takes a step; the consumers keep their places.
    pub(crate) fn act(&self, world: &mut World, action: Action) {
        act::act(self, world, action);
    }
}

impl Model for Scenario {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let record = |message| Record { content: Content::Message(message), age: Age::Fresh };
        vec![World {
            log: Vec::new(),
            rows: Default::default(),
            queues: [(0..self.messages).map(record).collect(), Vec::new(), Vec::new()],
            consumers: Vec::new(),
            connections: self.connections.iter().map(|is_in| world::Connection::new(*is_in)).collect(),
            faults: self.faults,
            taken: Default::default(),
            in_the_air: Vec::new(),
            late_posts: Vec::new(),
            dead_letters: Vec::new(),
            given_up: Set::NONE,
            forked: false,
            disorder: false,
            credit: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        steps::actions(self, world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut world = world.clone();
        self.act(&mut world, action);
        // The order of consumers makes no difference.
        world.consumers.sort();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(NUMBERED_ONCE, |_: &Self, world: &World| !world.forked),
            Property::always(NOTHING_LOST, |model: &Self, world: &World| {
                let waits = |message: u8| {
                    let mut records = world.queues[ROOMS].iter();
                    records.any(|record| record.content == Content::Message(message))
                };
                let is_safe =
                    |message| world.number_of(message).is_some() || world.given_up.has(message) || waits(message);
                (0..model.messages).all(is_safe)
            }),
            Property::always(IN_ORDER, |_: &Self, world: &World| !world.disorder),
            Property::always(COMPLETE, |_: &Self, world: &World| !world.is_quiet() || world.is_complete()),
        ];
        if self.tries_the_end {
            properties.push(Property::always(ENDS, end::ends));
        }
        if self.count_repeats {
            properties.push(Property::always(ONLY_IN_FLIGHT, |_: &Self, world: &World| world.credit >= 0));
        }
        if self.faults.expiries > 0 {
            properties.push(Property::sometimes(TWO_CONSUMERS, |_: &Self, world: &World| {
                let of_one = |one: &world::Consumer, other: &world::Consumer| {
                    one.lost && !other.lost && one.queue == other.queue
                };
                world.consumers.iter().any(|one| world.consumers.iter().any(|other| of_one(one, other)))
            }));
        }
        if self.layouts.len() > 1 && self.messages > 2 {
            properties.push(Property::sometimes(TO_AND_FRO, |_: &Self, world: &World| {
                let layouts: Vec<_> = world.log.iter().map(|entry| entry.layout).collect();
                layouts
                    .windows(3)
                    .any(|three| three[0] == three[2] && three[0] == Layout::Direct && three[1] != Layout::Direct)
            }));
        }
        properties
    }
}

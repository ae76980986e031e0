//! Every step that a queue, a consumer, a client or a fault can take next.

use super::{
    consumer::interrupted,
    scenario::{Rule, Scenario},
    world::{Age, Consumer, Layout, Phase, Place, QUEUES, ROOMS, World},
};

/// The most consumers of one group: one that holds its records, and one whose hold has ended.
const CONSUMERS: usize = 2;

/// A step. Consumers, connections and deliveries are named by their position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    // Steps of consumers.
    Receive {
        queue: usize,
        from: usize,
        records: usize,
    },
    /// The log is read, or remembered, up to `head`.
    Read {
        consumer: usize,
        head: u8,
    },
    Append {
        consumer: usize,
        layout: Layout,
    },
    Post {
        consumer: usize,
        delivery: usize,
    },
    Send {
        consumer: usize,
        job: usize,
    },
    Save {
        consumer: usize,
    },
    Return {
        consumer: usize,
    },
    TimeIsUp {
        consumer: usize,
    },
    Checkpoint {
        consumer: usize,
    },
    // Steps of clients.
    Join {
        connection: usize,
    },
    Joined {
        connection: usize,
    },
    /// The index of rooms learns of a row.
    List {
        connection: usize,
    },
    Leave {
        connection: usize,
    },
    Cut {
        connection: usize,
    },
    Sync {
        connection: usize,
    },
    // Faults.
    Crash {
        consumer: usize,
    },
    Expire {
        consumer: usize,
        records: usize,
    },
    Miss {
        consumer: usize,
        delivery: usize,
    },
    FalseGone {
        consumer: usize,
        delivery: usize,
    },
    PostLate {
        consumer: usize,
        delivery: usize,
    },
    LatePost {
        post: usize,
    },
    SendRefused {
        consumer: usize,
        job: usize,
    },
    SendUnanswered {
        consumer: usize,
        job: usize,
    },
    SendLate {
        consumer: usize,
        job: usize,
    },
    SendDropped {
        consumer: usize,
        job: usize,
    },
    LateArrival {
        send: usize,
    },
    DeadLetter {
        queue: usize,
    },
    Redrive {
        letter: usize,
    },
    Resend {
        message: u8,
    },
}

/// All steps that may come next.
pub(crate) fn actions(scenario: &Scenario, world: &World, actions: &mut Vec<Action>) {
    for queue in ROOMS..QUEUES {
        let receivable = receivable(world, queue);
        actions.extend((1..=receivable.min(scenario.batch)).map(|records| Action::Receive { queue, from: 0, records }));
        if !scenario.has(Rule::InFlightBlocks) {
            receive_behind(world, queue, actions);
        }
        if world.faults.dead_letters > 0 && receivable > 0 && world.queues[queue][0].age == Age::Again {
            actions.push(Action::DeadLetter { queue });
        }
    }
    for (consumer, at_work) in world.consumers.iter().enumerate() {
        consumer_actions(scenario, world, (consumer, at_work), actions);
        fault_actions(world, (consumer, at_work), actions);
    }
    client_actions(world, actions);
    actions.extend((0..world.late_posts.len()).map(|post| Action::LatePost { post }));
    actions.extend((0..world.in_the_air.len()).map(|send| Action::LateArrival { send }));
    actions.extend((0..world.dead_letters.len()).map(|letter| Action::Redrive { letter }));
    if world.faults.resends > 0 {
        actions.extend((0..scenario.messages).map(|message| Action::Resend { message }));
    }
}

/// The number of records at the head of a group that can be received.
fn receivable(world: &World, queue: usize) -> usize {
    let consumers = || world.consumers.iter().filter(|consumer| consumer.queue == queue);
    if consumers().count() >= CONSUMERS {
        return 0;
    }
    // A record in flight holds back those after it, not those before it.
    let in_flight = consumers().filter(|consumer| consumer.held > 0).map(|consumer| consumer.start).min();
    in_flight.unwrap_or(world.queues[queue].len())
}

/// Records behind those that are in flight (only without the rule).
fn receive_behind(world: &World, queue: usize, actions: &mut Vec<Action>) {
    let mut in_flight = world.consumers.iter().filter(|consumer| consumer.queue == queue);
    if let (Some(only), None) = (in_flight.next(), in_flight.next())
        && only.held > 0
    {
        let from = only.start + only.held;
        let behind = world.queues[queue].len() - from;
        actions.extend((1..=behind).map(|records| Action::Receive { queue, from, records }));
    }
}

fn consumer_actions(
    scenario: &Scenario,
    world: &World,
    (consumer, at_work): (usize, &Consumer),
    actions: &mut Vec<Action>,
) {
    match &at_work.phase {
        Phase::Read => {
            let from = if remembers(scenario, at_work) { 0 } else { world.head() };
            actions.extend((from..=world.head()).map(|head| Action::Read { consumer, head }));
        }
        Phase::Append { head } => {
            let log = &world.log[..usize::from(*head)];
            let last = log.last().map(|entry| entry.layout);
            let is_free = super::consumer::is_drained(log, &world.rows) || !scenario.has(Rule::Drained);
            let may_follow = |layout: &&Layout| is_free || last == Some(**layout);
            let layouts = scenario.layouts.iter().filter(may_follow);
            actions.extend(layouts.map(|layout| Action::Append { consumer, layout: *layout }));
        }
        Phase::Post(step) => {
            for delivery in 0..step.open.len().min(scenario.window) {
                actions.push(Action::Post { consumer, delivery });
                if world.faults.misses > 0 {
                    actions.push(Action::Miss { consumer, delivery });
                }
                if world.faults.late_posts > 0 && !scenario.has(Rule::PostsArriveInTime) {
                    actions.push(Action::PostLate { consumer, delivery });
                }
                if world.faults.false_gone > 0 {
                    actions.push(Action::FalseGone { consumer, delivery });
                }
            }
            if scenario.time_is_up {
                actions.push(Action::TimeIsUp { consumer });
            }
            let standing = world.rows[at_work.queue];
            if scenario.checkpoints && step.got_further && standing != interrupted(scenario, at_work, step) {
                actions.push(Action::Checkpoint { consumer });
            }
        }
        Phase::Send { jobs, .. } => {
            for (job, (shard, numbers)) in jobs.iter().enumerate() {
                actions.push(Action::Send { consumer, job });
                let taken = &world.taken[usize::from(*shard)];
                if taken.iter().any(|(_, known)| known == numbers) {
                    actions.push(Action::SendDropped { consumer, job });
                }
                let faults = &world.faults;
                let may_fail = [
                    (faults.refused_sends, Action::SendRefused { consumer, job }),
                    (faults.unanswered_sends, Action::SendUnanswered { consumer, job }),
                    (faults.late_sends, Action::SendLate { consumer, job }),
                ];
                actions.extend(may_fail.into_iter().filter(|(left, _)| *left > 0).map(|(_, action)| action));
            }
        }
        Phase::Save { .. } => actions.push(Action::Save { consumer }),
        Phase::Return { .. } => actions.push(Action::Return { consumer }),
    }
}

/// Whether a consumer may number its batch after the log as it remembers it. Without the rule `ReadAgain`, it may for
/// any batch.
fn remembers(scenario: &Scenario, consumer: &Consumer) -> bool {
    let is_fresh = || consumer.batch.iter().all(|record| record.age == Age::Fresh);
    consumer.queue == ROOMS && (!scenario.has(Rule::ReadAgain) || (scenario.memory && is_fresh()))
}

fn fault_actions(world: &World, (consumer, at_work): (usize, &Consumer), actions: &mut Vec<Action>) {
    if world.faults.crashes > 0 {
        actions.push(Action::Crash { consumer });
    }
    if at_work.held > 0 && (at_work.lost || world.faults.expiries > 0) {
        actions.push(Action::Expire { consumer, records: at_work.held });
        if at_work.held > 1 && !at_work.lost {
            actions.push(Action::Expire { consumer, records: 1 });
        }
    }
}

fn client_actions(world: &World, actions: &mut Vec<Action>) {
    for (connection, client) in world.connections.iter().enumerate() {
        match client.place {
            Place::Out | Place::Cut => actions.push(Action::Join { connection }),
            Place::Joining { .. } | Place::Told { .. } => actions.push(Action::Joined { connection }),
            Place::In => {
                if world.faults.leaves > 0 {
                    actions.push(Action::Leave { connection });
                }
                if world.faults.cuts > 0 {
                    actions.push(Action::Cut { connection });
                }
                if world.faults.syncs > 0 && !client.lacks(world.saved_head()).is_empty() {
                    actions.push(Action::Sync { connection });
                }
            }
            Place::Left => {}
        }
        if client.has_row && !client.is_listed {
            actions.push(Action::List { connection });
        }
    }
}

//! The model of a workload's usage and price: pure functions of a workload and a price list. docs/cost.md explains it,
//! and the integration tests compare it with counted calls.
//!
//! ```text
//! workload -> flow: how messages gather -> traffic: calls, units -> bill
//! ```

pub mod beats;
pub mod bill;
pub mod calls;
pub mod capacity;
pub mod ephemeral;
pub mod fields;
pub mod flow;
pub mod loads;
pub mod packing;
pub mod peers;
pub mod presence;
pub mod prices;
pub mod report;
pub mod sessions;
pub mod sizes;
pub mod state;
pub mod traffic;
pub mod usage;
pub mod workload;

use flow::{Demand, demand};
use prices::Prices;
use usage::{Count, Part, Usage};
use workload::Workload;

/// Polls of an empty queue a month: five of Lambda's pollers, each asking for 20 seconds.
const EMPTY_POLLS: f64 = 5.0 * 3.0 * 60.0 * 24.0 * 30.0;

/// The numbers of FIFO queues and of other queues that are polled.
const QUEUES: (f64, f64) = (2.0, 2.0);

/// Metrics of a stack in which all is well: docs/metrics.md.
const METRICS: f64 = 30.0;

/// Metrics that a stack's alarms look at, each of which is billed as an alarm, besides those of presence (3) and of
/// ephemeral messages (1).
const ALARMS: f64 = 48.0;

/// Connections that the sweeper looks at in a second: `SWEEP_PER_SECOND`.
const SWEPT_A_SECOND: f64 = 50.0;

/// The most connections that it gets through in one call.
const MOST_SWEPT: f64 = 300.0 * SWEPT_A_SECOND;

/// The estimate for a workload: its usage in a month.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// Its rates.
    pub demand: Demand,
    /// Its calls and units.
    pub usage: Usage,
}

impl Estimate {
    /// The estimate for a workload.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        let demand = demand(workload);
        let mut usage = Usage::default();
        for (group, flow) in workload.rooms.iter().zip(&demand.flows) {
            usage.add_times(1.0, &traffic::of_group(group, flow, workload));
        }
        if workload.setting.fixed {
            usage.add_times(1.0, &fixed());
            let has =
                |is_used: fn(&workload::RoomGroup) -> bool| if workload.rooms.iter().any(is_used) { 1.0 } else { 0.0 };
            let presence = has(|group| group.presence.listed > 0.0);
            let ephemeral = has(|group| group.ephemeral.per_second > 0.0);
            usage.add_some(Part::Fixed, Count::FifoRequests, presence * EMPTY_POLLS);
            usage.add_some(Part::Fixed, Count::StandardRequests, ephemeral * EMPTY_POLLS);
            usage.add_some(Part::Fixed, Count::Alarms, 3.0 * presence + ephemeral);
        }
        sweeps(workload, &mut usage);
        Self { demand, usage }
    }

    /// USD a month.
    #[must_use]
    pub fn usd(&self, prices: &Prices) -> f64 {
        bill::Bill::of(&self.usage, prices).total()
    }
}

/// The usage of a stack that nobody uses.
fn fixed() -> Usage {
    let mut usage = Usage::default();
    usage.add(Part::Fixed, Count::FifoRequests, QUEUES.0 * EMPTY_POLLS);
    usage.add(Part::Fixed, Count::StandardRequests, QUEUES.1 * EMPTY_POLLS);
    usage.add(Part::Fixed, Count::Metrics, METRICS);
    usage.add(Part::Fixed, Count::Alarms, ALARMS);
    usage
}

/// Adds the sweeper's calls: each time that it is called it looks at every connection, or at as many as an invocation's
/// time allows.
fn sweeps(workload: &Workload, usage: &mut Usage) {
    let open = |group: &workload::RoomGroup| group.connections() * group.hours_per_day / 24.0;
    let connections: f64 = workload.rooms.iter().map(open).sum();
    let (sweeps, looks) = (workload.days * workload.setting.sweeps_per_day, connections.min(MOST_SWEPT));
    usage.add(Part::Sweeps, Count::Sweeper, sweeps);
    usage.add(Part::Sweeps, Count::Looks, sweeps * looks);
    usage.add(Part::Sweeps, Count::GbSeconds, sweeps * looks / SWEPT_A_SECOND * workload.setting.ingest_gb);
    usage.add(Part::Sweeps, Count::ReadUnits, sweeps * sizes::read_units(looks * sizes::member(&workload.setting)));
}

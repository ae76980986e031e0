//! The savings by packing: a post with several messages costs as much as a post with one.

use serde::Serialize;

use super::{Estimate, prices::Prices, workload::Workload};

/// The price of a workload with different degrees of packing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Packing {
    /// USD a month if each message were posted by itself.
    pub unpacked_usd: f64,
    /// USD a month with the packing that comes by itself.
    pub as_it_is_usd: f64,
    /// USD a month if each message waited for as long as it may, where that packs more.
    pub tolerated_usd: f64,
}

impl Packing {
    /// The prices for a workload.
    #[must_use]
    pub fn of(workload: &Workload, prices: &Prices) -> Self {
        let as_it_is = Estimate::of(workload);
        let with = |messages_per_post: &dyn Fn(usize) -> f64| {
            let mut packed = workload.clone();
            for (index, group) in packed.rooms.iter_mut().enumerate() {
                let messages = messages_per_post(index).clamp(1.0, 100.0);
                group.messages_per_post = Some(messages);
                group.burst = group.burst.min(messages.floor());
            }
            // The account may not have this rate; the price is computed all the same.
            packed.quota = f64::INFINITY;
            Estimate::of(&packed).usd(prices)
        };
        let gathered = |index: usize| {
            let group = &workload.rooms[index];
            let now = as_it_is.demand.flows[index].messages_per_post();
            now.max(group.messages_per_second * group.tolerated_delay_seconds)
        };
        let is_patient = workload.rooms.iter().any(|group| group.tolerated_delay_seconds > 0.0);
        let as_it_is_usd = as_it_is.usd(prices);
        Self {
            unpacked_usd: with(&|_| 1.0),
            as_it_is_usd,
            tolerated_usd: if is_patient { with(&gathered).min(as_it_is_usd) } else { as_it_is_usd },
        }
    }
}

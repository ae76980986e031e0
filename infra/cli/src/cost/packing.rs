//! What packing saves: a post that carries several messages costs as much as one that carries one.

use serde::Serialize;

use super::{Estimate, prices::Prices, workload::Workload};

/// A workload's cost by how much travels in a post.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Packing {
    /// USD a month if each message were posted by itself.
    pub unpacked_usd: f64,
    /// As it packs itself.
    pub as_it_is_usd: f64,
    /// As if each message waited for as long as it may, where that is more.
    pub tolerated_usd: f64,
}

impl Packing {
    /// Of a workload.
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
            // A rate that the account does not have: what it would cost all the same.
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

//! The configuration of each function but `presence`, which has its own. Each is read in one pass that names all bad
//! variables.

use std::ops::RangeInclusive;

use shared::config::Settings;

use crate::presence::rooms::PresenceRooms;

mod authorizer;
mod message;
mod relay;
mod session;
mod sweeper;

pub use authorizer::AuthorizerConfig;
pub use message::{MessageConfig, SinkConfig};
pub use relay::RelayConfig;
pub use session::{SessionConfig, SessionLimits, StateConfig};
pub use sweeper::SweeperConfig;

/// The range of a share of messages or requests, per second; 0 is no limit.
const PER_SECOND: RangeInclusive<u64> = 0..=1_000_000;

fn queue_depth_limit<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> u64 {
    settings.integer("QUEUE_DEPTH_LIMIT", 0..=120_000, 100_000)
}

/// The rooms that have presence, and the queue of ticks, if there are any.
fn presence<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> (PresenceRooms, Option<String>) {
    let rooms = PresenceRooms::read(settings);
    let queue_url = (!rooms.are_none()).then(|| settings.url("PRESENCE_QUEUE_URL"));
    (rooms, queue_url)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings from a list of variables.
    pub(crate) fn settings(variables: &[(&str, &str)]) -> Settings<impl Fn(&str) -> Option<String>> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Settings::new(move |name| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
    }
}

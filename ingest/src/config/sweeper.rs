//! The `sweeper` function's configuration.

use std::num::NonZeroU32;

use shared::config::{ConfigError, Settings};

use super::presence;
use crate::sweep::{CONFIRM_AFTER, SweepSettings};

/// The `sweeper` function's configuration.
#[derive(Clone, Debug)]
pub struct SweeperConfig {
    /// `CONNECTIONS_TABLE`.
    pub connections_table: String,
    /// `CONGESTION_TABLE`: where it keeps its position.
    pub congestion_table: String,
    /// `CONNECTIONS_ENDPOINT`: the API that says whether connections are there.
    pub connections_endpoint: String,
    /// `SWEEP_PER_SECOND`, `GONE_GRACE_MS` and `PRESENCE_LEASE_SECONDS`.
    pub settings: SweepSettings,
    /// `PRESENCE_QUEUE_URL`: where ticks are sent; `None` when no room has presence or lifecycle events.
    pub presence_queue_url: Option<String>,
}

impl SweeperConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let per_second = settings.integer("SWEEP_PER_SECOND", 1..=1_000, 50);
        let (rooms, presence_queue_url) = presence(&mut settings);
        let config = Self {
            connections_table: settings.required("CONNECTIONS_TABLE"),
            congestion_table: settings.required("CONGESTION_TABLE"),
            connections_endpoint: settings.url("CONNECTIONS_ENDPOINT"),
            settings: SweepSettings {
                per_second: u32::try_from(per_second).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN),
                gone_grace: settings.gone_grace(),
                confirm_after: CONFIRM_AFTER,
                lease_seconds: rooms.lease_seconds,
                is_dry: false,
            },
            presence_queue_url,
        };
        settings.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::settings, *};

    #[test]
    fn the_queue_of_ticks_is_needed_where_rooms_have_presence() {
        let needed =
            [("CONNECTIONS_TABLE", "c"), ("CONGESTION_TABLE", "g"), ("CONNECTIONS_ENDPOINT", "https://api/live")];
        let read = |variables: &[(&str, &str)]| {
            let config = SweeperConfig::read(settings(&[&needed, variables].concat()));
            config.map(|config| config.presence_queue_url)
        };
        let queue = ("PRESENCE_QUEUE_URL", "http://q/1/p.fifo");
        assert_eq!(read(&[queue]), Ok(None));
        for rooms in ["PRESENCE_ROOMS", "LIFECYCLE_ROOMS"] {
            assert_eq!(read(&[(rooms, "chat:*"), queue]), Ok(Some("http://q/1/p.fifo".to_owned())));
            let error = read(&[(rooms, "chat:*")]).unwrap_err().to_string();
            assert!(error.contains("PRESENCE_QUEUE_URL is missing"), "{error}");
        }
    }
}

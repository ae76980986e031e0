//! The `relay` function's configuration.

use shared::config::{ConfigError, Settings};

use super::queue_depth_limit;

/// The `relay` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `DLQ_URL`.
    pub dlq_url: String,
    /// `CONGESTION_TABLE`: where fan-out says which rooms are behind.
    pub congestion_table: String,
    /// `QUEUE_DEPTH_LIMIT`: the number of messages in the queue from which on no event is sent on; 0 is no limit.
    pub queue_depth_limit: u64,
}

impl RelayConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let config = Self {
            queue_url: settings.url("QUEUE_URL"),
            dlq_url: settings.url("DLQ_URL"),
            congestion_table: settings.required("CONGESTION_TABLE"),
            queue_depth_limit: queue_depth_limit(&mut settings),
        };
        settings.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::settings, *};

    #[test]
    fn every_bad_variable_is_named() {
        let error = RelayConfig::read(settings(&[("DLQ_URL", "sqs")])).unwrap_err().to_string();
        assert!(["QUEUE_URL is missing", "DLQ_URL must be"].iter().all(|part| error.contains(part)), "{error}");
    }
}

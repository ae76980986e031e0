//! The configuration of the `ephemeral` function.

use std::time::Duration;

use shared::{
    config::{ConfigError, Settings},
    store::connections::ROOM_INDEX,
};

use crate::config::{HttpVersion, concurrency, deadline_reserve, http_version, post_timeout};

/// The `ephemeral` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EphemeralConfig {
    /// `CONNECTIONS_TABLE`.
    pub connections_table: String,
    /// `ROOM_INDEX`: the index of the connection table by room.
    pub room_index: String,
    /// `CONNECTIONS_ENDPOINT`: `https://{api}.execute-api.{region}.amazonaws.com/{stage}`.
    pub connections_endpoint: String,
    /// `AWS_REGION`: what requests are signed for. Lambda sets it.
    pub region: String,
    /// `EPHEMERAL_POSTS_PER_SECOND`: posts of ephemeral messages in a second at most, by the whole stack.
    pub posts_per_second: u32,
    /// `EPHEMERAL_MAX_MEMBERS`: rooms with more connections get no ephemeral messages.
    pub most_members: u64,
    /// `FANOUT_CONCURRENCY`: posts in flight at most.
    pub concurrency: usize,
    /// `FANOUT_POST_TIMEOUT_MS`: time for a post.
    pub post_timeout: Duration,
    /// `FANOUT_HTTP_VERSION`.
    pub http_version: HttpVersion,
    /// `FANOUT_DEADLINE_RESERVE_MS`: time kept before the invocation's deadline.
    pub deadline_reserve: Duration,
}

impl EphemeralConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let posts_per_second = settings.integer("EPHEMERAL_POSTS_PER_SECOND", 1..=1_000_000, 1_000);
        let config = Self {
            connections_table: settings.required("CONNECTIONS_TABLE"),
            room_index: settings.or("ROOM_INDEX", ROOM_INDEX),
            connections_endpoint: settings.url("CONNECTIONS_ENDPOINT"),
            region: settings.required("AWS_REGION"),
            posts_per_second: u32::try_from(posts_per_second).unwrap_or(u32::MAX),
            // The members of a room are held in memory while it is posted to.
            most_members: settings.integer("EPHEMERAL_MAX_MEMBERS", 0..=10_000, 1_000),
            concurrency: concurrency(&mut settings),
            post_timeout: post_timeout(&mut settings),
            http_version: http_version(&mut settings),
            deadline_reserve: deadline_reserve(&mut settings),
        };
        settings.finish(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 3] =
        [("AWS_REGION", "eu-west-1"), ("CONNECTIONS_TABLE", "c"), ("CONNECTIONS_ENDPOINT", "https://api/live")];

    fn read(extra: &[(&'static str, &'static str)]) -> Result<EphemeralConfig, ConfigError> {
        let all: Vec<_> = extra.iter().chain(&GOOD).copied().collect();
        EphemeralConfig::read(Settings::new(move |name| {
            all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        }))
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = read(&[]).unwrap();
        assert_eq!((config.posts_per_second, config.most_members, config.concurrency), (1_000, 1_000, 64));
        assert_eq!((config.post_timeout, config.http_version), (Duration::from_secs(3), HttpVersion::Auto));
        assert_eq!((config.room_index.as_str(), config.deadline_reserve), ("roomId-index", Duration::from_secs(2)));
    }

    #[test]
    fn every_bad_variable_is_named() {
        let bad = [
            ("CONNECTIONS_TABLE", ""),
            ("CONNECTIONS_ENDPOINT", "x"),
            ("EPHEMERAL_POSTS_PER_SECOND", "0"),
            ("EPHEMERAL_MAX_MEMBERS", "10001"),
            ("FANOUT_CONCURRENCY", "0"),
            ("FANOUT_POST_TIMEOUT_MS", "1s"),
            ("FANOUT_HTTP_VERSION", "3"),
            ("FANOUT_DEADLINE_RESERVE_MS", "1"),
        ];
        let error = read(&bad).unwrap_err().to_string();
        assert!(error.starts_with("bad configuration, 8 variables:"), "{error}");
        assert!(bad.iter().all(|(name, _)| error.contains(name)), "{error}");
    }
}

//! The configuration of the `fanout` function.

use std::{num::NonZeroU16, time::Duration};

use shared::{
    config::{ConfigError, Settings},
    room_pattern::RoomPatterns,
    store::connections::ROOM_INDEX,
};

use crate::layout::FULL_BATCH;

/// The values of `FANOUT_SHARDS`: powers of two, so that every shard has the same number of slots.
const SHARDS: [&str; 8] = ["2", "4", "8", "16", "32", "64", "128", "256"];

/// The `fanout` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanoutConfig {
    /// `CONNECTIONS_TABLE`.
    pub connections_table: String,
    /// `ROOM_INDEX`: the index of the connection table by room.
    pub room_index: String,
    /// `MESSAGES_TABLE`.
    pub messages_table: String,
    /// `CONGESTION_TABLE`.
    pub congestion_table: String,
    /// `QUEUE_URL`: the queue that feeds the function.
    pub queue_url: String,
    /// `BATCH_SIZE`: records of a full batch of that queue.
    pub batch_size: usize,
    /// `SHARD_QUEUE_URL`: where shard jobs go.
    pub shard_queue_url: String,
    /// `DLQ_URL`: where records go that can never succeed.
    pub dlq_url: String,
    /// `CONNECTIONS_ENDPOINT`: `https://{api}.execute-api.{region}.amazonaws.com/{stage}`.
    pub connections_endpoint: String,
    /// `AWS_REGION`: what requests are signed for. Lambda sets it.
    pub region: String,
    /// `RETENTION_SECONDS`: how long the log keeps a message.
    pub retention: Duration,
    /// `STATE_ROOMS` with `STATE_TABLE` and `STATE_RETENTION_SECONDS`: the rooms whose state is kept.
    pub state: Option<StateConfig>,
    /// `FANOUT_SHARD_SIZE`: connections above which a room is broadcast in shards; 0 is never.
    pub shard_size: u64,
    /// `FANOUT_SHARDS`: shards that a large room is cut into.
    pub shards: NonZeroU16,
    /// `FANOUT_HTTP_VERSION`.
    pub http_version: HttpVersion,
    /// The settings of posts.
    pub posts: PostConfig,
}

/// The rooms whose state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// `STATE_TABLE`.
    pub table: String,
    /// `STATE_ROOMS`.
    pub rooms: RoomPatterns,
    /// `STATE_RETENTION_SECONDS`: how long a value lasts where its message does not say, in seconds; `None` is for
    /// ever.
    pub ttl_seconds: Option<u64>,
}

impl StateConfig {
    fn read<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> Option<Self> {
        let (rooms, ttl_seconds) = (settings.rooms("STATE_ROOMS"), settings.state_retention_seconds());
        (!rooms.is_empty()).then(|| Self { table: settings.required("STATE_TABLE"), rooms, ttl_seconds })
    }
}

/// The version of HTTP that posts are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// Over TLS what the endpoint prefers, HTTP/2 where it speaks both; without TLS HTTP/1.1.
    Auto,
    /// HTTP/1.1: a connection for each post in flight.
    Http1,
    /// HTTP/2: a connection for a hundred posts in flight. An endpoint that refuses it over TLS gets HTTP/1.1.
    Http2,
}

/// The settings of posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PostConfig {
    /// `FANOUT_CONCURRENCY`: posts in flight at most, 900 or fewer: over HTTP/1.1 each takes a file descriptor, and an
    /// environment has 1,024 for everything ("Lambda quotas").
    pub concurrency: usize,
    /// `FANOUT_MAX_POSTS_PER_SECOND`: posts started in a second at most; 0 is no cap.
    pub max_per_second: u64,
    /// `FANOUT_POST_TIMEOUT_MS`: time for one attempt.
    pub timeout: Duration,
    /// `FANOUT_MAX_ATTEMPTS`: attempts for one frame and connection, the first included.
    pub max_attempts: u32,
    /// `FANOUT_DEADLINE_RESERVE_MS`: time kept before the invocation's deadline for finishing up.
    pub deadline_reserve: Duration,
    /// `GONE_GRACE_MS`: rows younger than this are not deleted on 410, since a handshake still under way answers 410
    /// too.
    pub gone_grace: Duration,
}

impl FanoutConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let config = Self {
            connections_table: settings.required("CONNECTIONS_TABLE"),
            room_index: settings.or("ROOM_INDEX", ROOM_INDEX),
            messages_table: settings.required("MESSAGES_TABLE"),
            congestion_table: settings.required("CONGESTION_TABLE"),
            queue_url: settings.url("QUEUE_URL"),
            batch_size: usize::try_from(settings.integer("BATCH_SIZE", 1..=10, 10)).unwrap_or(FULL_BATCH),
            shard_queue_url: settings.url("SHARD_QUEUE_URL"),
            dlq_url: settings.url("DLQ_URL"),
            connections_endpoint: settings.url("CONNECTIONS_ENDPOINT"),
            region: settings.required("AWS_REGION"),
            // A minute at least, so that clients can recover what they miss; more than ten years is a mistake.
            retention: Duration::from_secs(settings.retention_seconds()),
            state: StateConfig::read(&mut settings),
            shard_size: settings.integer("FANOUT_SHARD_SIZE", 0..=1_000_000, 10_000),
            shards: settings.one_of("FANOUT_SHARDS", &SHARDS, "16").parse().unwrap_or(NonZeroU16::MIN),
            http_version: http_version(&mut settings),
            posts: PostConfig {
                concurrency: concurrency(&mut settings),
                max_per_second: settings.integer("FANOUT_MAX_POSTS_PER_SECOND", 0..=1_000_000, 0),
                timeout: post_timeout(&mut settings),
                max_attempts: u32::try_from(settings.integer("FANOUT_MAX_ATTEMPTS", 1..=10, 4)).unwrap_or(4),
                deadline_reserve: deadline_reserve(&mut settings),
                gone_grace: settings.gone_grace(),
            },
        };
        settings.finish(config)
    }
}

/// `FANOUT_HTTP_VERSION`.
pub(crate) fn http_version<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> HttpVersion {
    match settings.one_of("FANOUT_HTTP_VERSION", &["auto", "1.1", "2"], "auto") {
        "1.1" => HttpVersion::Http1,
        "2" => HttpVersion::Http2,
        _ => HttpVersion::Auto,
    }
}

/// `FANOUT_CONCURRENCY`.
pub(crate) fn concurrency<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> usize {
    usize::try_from(settings.integer("FANOUT_CONCURRENCY", 1..=900, 64)).unwrap_or(64)
}

/// `FANOUT_POST_TIMEOUT_MS`.
pub(crate) fn post_timeout<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> Duration {
    settings.millis("FANOUT_POST_TIMEOUT_MS", 50..=29_000, 3_000)
}

/// `FANOUT_DEADLINE_RESERVE_MS`.
pub(crate) fn deadline_reserve<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> Duration {
    settings.millis("FANOUT_DEADLINE_RESERVE_MS", 500..=60_000, 2_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 8] = [
        ("AWS_REGION", "eu-west-1"),
        ("CONNECTIONS_TABLE", "c"),
        ("MESSAGES_TABLE", "m"),
        ("CONGESTION_TABLE", "g"),
        ("QUEUE_URL", "https://sqs/1/q.fifo"),
        ("SHARD_QUEUE_URL", "https://sqs/1/s.fifo"),
        ("DLQ_URL", "https://sqs/1/d.fifo"),
        ("CONNECTIONS_ENDPOINT", "https://a.execute-api.eu-west-1.amazonaws.com/live/"),
    ];

    fn read(extra: &[(&'static str, &'static str)]) -> Result<FanoutConfig, ConfigError> {
        let all: Vec<_> = extra.iter().chain(&GOOD).copied().collect();
        FanoutConfig::read(Settings::new(move |name| {
            all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        }))
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = read(&[]).unwrap();
        assert_eq!(config.room_index, "roomId-index");
        assert_eq!(config.connections_endpoint, "https://a.execute-api.eu-west-1.amazonaws.com/live");
        assert_eq!(config.retention, Duration::from_secs(86_400));
        assert_eq!((config.shard_size, config.shards.get()), (10_000, 16));
        assert_eq!(config.state, None);
        assert_eq!(config.http_version, HttpVersion::Auto);
        let expected = PostConfig {
            concurrency: 64,
            max_per_second: 0,
            timeout: Duration::from_secs(3),
            max_attempts: 4,
            deadline_reserve: Duration::from_secs(2),
            gone_grace: Duration::from_secs(10),
        };
        assert_eq!(config.posts, expected);
    }

    #[test]
    fn the_version_of_http_is_chosen_by_name() {
        let versions = [("auto", HttpVersion::Auto), ("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];
        for (name, version) in versions {
            assert_eq!(read(&[("FANOUT_HTTP_VERSION", name)]).unwrap().http_version, version);
        }
    }

    #[test]
    fn state_needs_a_table() {
        let state = [("STATE_ROOMS", "fx:*,prices"), ("STATE_TABLE", "s"), ("STATE_RETENTION_SECONDS", "60")];
        let state = read(&state).unwrap().state.unwrap();
        assert_eq!((state.table.as_str(), state.ttl_seconds), ("s", Some(60)));
        assert_eq!(state.rooms, RoomPatterns::parse("fx:*,prices").unwrap());
        let error = read(&[("STATE_ROOMS", "*")]).unwrap_err().to_string();
        assert!(error.contains("STATE_TABLE is missing"), "{error}");
        assert!(read(&[("STATE_ROOMS", "a*b"), ("STATE_TABLE", "s")]).is_err());
    }

    #[test]
    fn posts_in_flight_leave_descriptors_for_the_rest() {
        assert_eq!(read(&[("FANOUT_CONCURRENCY", "900")]).unwrap().posts.concurrency, 900);
        assert!(read(&[("FANOUT_CONCURRENCY", "901")]).is_err());
    }

    #[test]
    fn every_bad_variable_is_named() {
        let bad = [
            ("CONNECTIONS_TABLE", ""),
            ("QUEUE_URL", "queue"),
            ("SHARD_QUEUE_URL", ""),
            ("FANOUT_SHARDS", "12"),
            ("FANOUT_CONCURRENCY", "0"),
            ("FANOUT_MAX_POSTS_PER_SECOND", "-1"),
            ("FANOUT_POST_TIMEOUT_MS", "1s"),
            ("FANOUT_MAX_ATTEMPTS", "11"),
            ("FANOUT_DEADLINE_RESERVE_MS", "1"),
            ("GONE_GRACE_MS", "x"),
            ("FANOUT_HTTP_VERSION", "3"),
            ("RETENTION_SECONDS", "59"),
            ("LOG_LEVEL", "loud"),
        ];
        let error = read(&bad).unwrap_err().to_string();
        assert!(error.starts_with("bad configuration, 13 variables:"), "{error}");
        assert!(bad.iter().all(|(name, _)| error.contains(name)), "{error}");
    }
}

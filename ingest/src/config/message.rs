//! The `message` function's configuration.

use std::ops::RangeInclusive;

use shared::{
    config::{ConfigError, Settings},
    room_pattern::RoomPatterns,
};

use super::{PER_SECOND, queue_depth_limit};
use crate::shares::MessageRates;

/// The range of a share of bytes, per second; 0 is no limit.
const BYTES_PER_SECOND: RangeInclusive<u64> = 0..=1_000_000_000;

/// The place where the message route puts messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkConfig {
    /// The FIFO queue.
    Sqs {
        /// Its URL.
        queue_url: String,
    },
    /// The event bus.
    EventBridge {
        /// Its name.
        bus: String,
    },
}

/// The `message` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageConfig {
    /// `INGEST_SINK` with `QUEUE_URL` or `EVENT_BUS_NAME`.
    pub sink: SinkConfig,
    /// `QUEUE_URL`: the queue whose depth counts, wherever messages are put.
    pub queue_url: String,
    /// `CONGESTION_TABLE`.
    pub congestion_table: String,
    /// `QUEUE_DEPTH_LIMIT`: the number of messages in the queue from which on none is admitted; 0 is no limit.
    pub queue_depth_limit: u64,
    /// `SUBJECT_MESSAGES_PER_SECOND` and its like.
    pub rates: MessageRates,
    /// `STATE_ROOMS`: rooms that keep state.
    pub state_rooms: RoomPatterns,
    /// `EPHEMERAL_QUEUE_URL`: where ephemeral messages go; without, there are none.
    pub ephemeral_queue_url: Option<String>,
    /// `CONNECTIONS_ENDPOINT`: where connections are closed.
    pub connections_endpoint: String,
}

impl MessageConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let queue_url = settings.url("QUEUE_URL");
        let sink = match settings.one_of("INGEST_SINK", &["sqs", "eventbridge"], "sqs") {
            "eventbridge" => SinkConfig::EventBridge { bus: settings.required("EVENT_BUS_NAME") },
            _ => SinkConfig::Sqs { queue_url: queue_url.clone() },
        };
        let congestion_table = settings.required("CONGESTION_TABLE");
        let queue_depth_limit = queue_depth_limit(&mut settings);
        let rates = MessageRates {
            subject_messages: settings.integer("SUBJECT_MESSAGES_PER_SECOND", PER_SECOND, 20),
            subject_bytes: settings.integer("SUBJECT_BYTES_PER_SECOND", BYTES_PER_SECOND, 131_072),
            room_messages: settings.integer("ROOM_MESSAGES_PER_SECOND", PER_SECOND, 300),
            room_bytes: settings.integer("ROOM_BYTES_PER_SECOND", BYTES_PER_SECOND, 1_048_576),
        };
        let state_rooms = settings.rooms("STATE_ROOMS");
        let has_ephemerals = settings.optional("EPHEMERAL_QUEUE_URL").is_some();
        let ephemeral_queue_url = has_ephemerals.then(|| settings.url("EPHEMERAL_QUEUE_URL"));
        let connections_endpoint = settings.url("CONNECTIONS_ENDPOINT");
        settings.finish(Self {
            sink,
            queue_url,
            congestion_table,
            queue_depth_limit,
            rates,
            state_rooms,
            ephemeral_queue_url,
            connections_endpoint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::settings, *};

    const CONGESTION: (&str, &str) = ("CONGESTION_TABLE", "c");
    const ENDPOINT: (&str, &str) = ("CONNECTIONS_ENDPOINT", "https://api/live");

    fn read(variables: &[(&str, &str)]) -> Result<MessageConfig, ConfigError> {
        MessageConfig::read(settings(&[&[CONGESTION, ENDPOINT], variables].concat()))
    }

    #[test]
    fn the_sink_decides_which_address_is_needed() {
        let sqs = read(&[("QUEUE_URL", "http://q/1/a.fifo")]).unwrap();
        assert_eq!(sqs.sink, SinkConfig::Sqs { queue_url: "http://q/1/a.fifo".into() });
        let bus = read(&[("INGEST_SINK", "eventbridge"), ("EVENT_BUS_NAME", "b"), ("QUEUE_URL", "http://q")]);
        assert_eq!(bus.unwrap().sink, SinkConfig::EventBridge { bus: "b".into() });
        let error = read(&[("INGEST_SINK", "eventbridge"), ("QUEUE_URL", "http://q")]);
        assert_eq!(error.unwrap_err().to_string(), "bad configuration, 1 variable: EVENT_BUS_NAME is missing");
    }

    #[test]
    fn rooms_of_state_and_the_queue_of_ephemeral_messages_may_be_left_out() {
        let read = |extra: [(&str, &str); 2]| read(&[&[("QUEUE_URL", "http://q/1/a.fifo")], &extra[..]].concat());
        let off = read([("EPHEMERAL_QUEUE_URL", ""), ("STATE_ROOMS", "")]).unwrap();
        assert!(off.ephemeral_queue_url.is_none() && off.state_rooms.is_empty());
        let on = read([("EPHEMERAL_QUEUE_URL", "http://q/1/e"), ("STATE_ROOMS", "fx,board:*")]).unwrap();
        assert_eq!(on.ephemeral_queue_url.as_deref(), Some("http://q/1/e"));
        assert_eq!(on.state_rooms, RoomPatterns::parse("fx,board:*").unwrap());
        let error = read([("EPHEMERAL_QUEUE_URL", "e"), ("STATE_ROOMS", "a*b")]).unwrap_err().to_string();
        assert!(["EPHEMERAL_QUEUE_URL", "STATE_ROOMS"].iter().all(|name| error.contains(name)), "{error}");
    }
}

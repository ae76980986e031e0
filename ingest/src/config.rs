//! What each function needs to know. Every configuration is read in one pass that names all bad variables.

use std::{num::NonZeroU32, ops::RangeInclusive};

use http::Uri;
use shared::{
    config::{ConfigError, Settings},
    rights::RightsTemplate,
    rooms::RoomPatterns,
};

use crate::{
    origins::AllowedOrigins,
    presence::membership::PresenceRooms,
    sweep::{CONFIRM_AFTER, SweepSettings},
    token::claims::ClaimRules,
};

use crate::shares::MessageRates;

/// Seconds between two syncs of a room at the most: API Gateway closes a connection that is idle for ten minutes.
const SYNC_SECONDS: u64 = 540;

/// For how long a connection may be present that is not heard of, in seconds: no longer than a row lasts.
const LEASE_SECONDS: RangeInclusive<u64> = 60..=7_200;

/// What a share of messages or requests may be, a second; 0 is no limit.
const PER_SECOND: RangeInclusive<u64> = 0..=1_000_000;

/// What a share of bytes may be, a second; 0 is no limit.
const BYTES_PER_SECOND: RangeInclusive<u64> = 0..=1_000_000_000;

/// Where the message route puts messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkConfig {
    /// To the FIFO queue.
    Sqs {
        /// Its URL.
        queue_url: String,
    },
    /// To the event bus.
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
    /// `QUEUE_DEPTH_LIMIT`: messages in the queue from which on none is admitted; 0 is no limit.
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

fn queue_depth_limit<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> u64 {
    settings.integer("QUEUE_DEPTH_LIMIT", 0..=120_000, 100_000)
}

/// The `session` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// `CONNECTIONS_TABLE`.
    pub connections_table: String,
    /// `MESSAGES_TABLE`.
    pub messages_table: String,
    /// `SYNC_MIN_SECONDS` to `SYNC_MAX_SECONDS`: how often clients sync a room, in milliseconds.
    pub sync_after_ms: RangeInclusive<u64>,
    /// `RETENTION_SECONDS`: how long the log keeps a message.
    pub retention_seconds: u64,
    /// `CONNECTIONS_ENDPOINT`: where connections are closed.
    pub connections_endpoint: String,
    /// How much one may have.
    pub limits: SessionLimits,
    /// `STATE_ROOMS` with `STATE_TABLE`: the rooms whose state is kept.
    pub state: Option<StateConfig>,
    /// `PRESENCE_ROOMS`, `LIFECYCLE_ROOMS`, `PRESENCE_LEASE_SECONDS`.
    pub presence: PresenceRooms,
    /// `PRESENCE_QUEUE_URL`: where ticks are sent; `None` when there are no such rooms.
    pub presence_queue_url: Option<String>,
}

/// The rooms whose state is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    /// `STATE_TABLE`.
    pub table: String,
    /// `STATE_ROOMS`.
    pub rooms: RoomPatterns,
}

impl StateConfig {
    fn read<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> Option<Self> {
        let rooms = settings.rooms("STATE_ROOMS");
        (!rooms.is_empty()).then(|| Self { table: settings.required("STATE_TABLE"), rooms })
    }
}

/// How much one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// `CONNECTION_ROOMS`: rooms that a connection may be in.
    pub rooms: u32,
    /// `SUBJECT_CONNECTIONS`: connections that a subject may have; `None` when they are not counted.
    pub connections: Option<NonZeroU32>,
    /// `SUBJECT_REQUESTS_PER_SECOND`: requests of a subject, a second; 0 is no limit.
    pub requests: u64,
    /// `ROOM_JOINS_PER_SECOND`: joins of a room, a second; 0 is no limit.
    pub room_joins: u64,
}

impl SessionConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let (connections_table, messages_table) =
            (settings.required("CONNECTIONS_TABLE"), settings.required("MESSAGES_TABLE"));
        let least = settings.integer("SYNC_MIN_SECONDS", 5..=SYNC_SECONDS, 30);
        let most = settings.integer("SYNC_MAX_SECONDS", least..=SYNC_SECONDS, SYNC_SECONDS);
        let retention_seconds = settings.retention_seconds();
        let connections_endpoint = settings.url("CONNECTIONS_ENDPOINT");
        let (presence, presence_queue_url) = presence(&mut settings);
        let requests = settings.integer("SUBJECT_REQUESTS_PER_SECOND", PER_SECOND, 20);
        let room_joins = settings.integer("ROOM_JOINS_PER_SECOND", PER_SECOND, 200);
        let mut at_most =
            |name, range, default| u32::try_from(settings.integer(name, range, default)).unwrap_or(u32::MAX);
        let limits = SessionLimits {
            rooms: at_most("CONNECTION_ROOMS", 1..=1_000, 100),
            connections: NonZeroU32::new(at_most("SUBJECT_CONNECTIONS", 0..=1_000, 50)),
            requests,
            room_joins,
        };
        let state = StateConfig::read(&mut settings);
        settings.finish(Self {
            connections_table,
            messages_table,
            sync_after_ms: least * 1_000..=most * 1_000,
            retention_seconds,
            connections_endpoint,
            limits,
            state,
            presence,
            presence_queue_url,
        })
    }
}

/// Which rooms have presence, and where it is told that it may have changed.
fn presence<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> (PresenceRooms, Option<String>) {
    let rooms = PresenceRooms {
        listed: settings.rooms("PRESENCE_ROOMS"),
        lifecycle: settings.rooms("LIFECYCLE_ROOMS"),
        lease_seconds: settings.integer("PRESENCE_LEASE_SECONDS", LEASE_SECONDS, 1_200),
    };
    let queue_url = (!rooms.are_none()).then(|| settings.url("PRESENCE_QUEUE_URL"));
    (rooms, queue_url)
}

/// The `relay` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayConfig {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `DLQ_URL`.
    pub dlq_url: String,
    /// `CONGESTION_TABLE`: where fan-out says which rooms are behind.
    pub congestion_table: String,
    /// `QUEUE_DEPTH_LIMIT`: messages in the queue from which on none is sent on; 0 is no limit.
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

/// The `sweeper` function's configuration.
#[derive(Clone, Debug)]
pub struct SweeperConfig {
    /// `CONNECTIONS_TABLE`.
    pub connections_table: String,
    /// `CONGESTION_TABLE`: where it keeps its position.
    pub congestion_table: String,
    /// `CONNECTIONS_ENDPOINT`: where connections are asked for.
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
                gone_grace_ms: settings.integer("GONE_GRACE_MS", 0..=600_000, 10_000),
                confirm_after: CONFIRM_AFTER,
                lease_seconds: rooms.lease_seconds,
                is_dry: false,
            },
            presence_queue_url,
        };
        settings.finish(config)
    }
}

/// The `authorizer` function's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizerConfig {
    /// `AUTH_SECRET_ARN`: where the secrets of HS256 tokens are, if those are taken.
    pub secret_arn: Option<String>,
    /// `AUTH_JWKS_URL`: where the keys of RS256 and ES256 tokens are, if those are taken.
    pub jwks_url: Option<Uri>,
    /// `AUTH_TOKEN_USE`: what `token_use` must be in those, if anything.
    pub token_use: Option<String>,
    /// `AUTH_ISSUER`, `AUTH_AUDIENCE` and `AUTH_DEFAULT_ROOMS`.
    pub rules: ClaimRules,
    /// `ALLOWED_ORIGINS`: which pages may connect.
    pub allowed_origins: AllowedOrigins,
}

impl AuthorizerConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When any variable is missing or wrong.
    pub fn read<L: Fn(&str) -> Option<String>>(mut settings: Settings<L>) -> Result<Self, ConfigError> {
        let secret_arn = settings.optional(SECRET_ARN);
        let has_jwks = settings.optional(JWKS_URL).is_some();
        if secret_arn.is_none() && !has_jwks {
            settings.refuse(SECRET_ARN, format!("is missing, and so is {JWKS_URL}: no token could be verified"));
        }
        let jwks_url = jwks_url(&mut settings);
        let (issuer, audience) = if has_jwks {
            // The issuer's tokens for its other applications would be let in otherwise.
            (Some(settings.required(ISSUER)), Some(settings.required(AUDIENCE)))
        } else {
            (settings.optional(ISSUER), settings.optional(AUDIENCE))
        };
        let token_use = match settings.one_of(TOKEN_USE, &["any", "access", "id"], "any") {
            "any" => None,
            token_use => Some(token_use.to_owned()),
        };
        if token_use.is_some() && !has_jwks {
            settings.refuse(TOKEN_USE, format!("is of no use without {JWKS_URL}"));
        }
        let default_rooms = RightsTemplate::parse(&settings.or(DEFAULT_ROOMS, "{}")).unwrap_or_else(|error| {
            settings.refuse(DEFAULT_ROOMS, format!("must be a JSON object of room patterns and rights: {error}"));
            RightsTemplate::default()
        });
        let allowed_origins = AllowedOrigins::parse(&settings.or(ORIGINS, "")).unwrap_or_else(|error| {
            settings.refuse(ORIGINS, error.to_string());
            AllowedOrigins::default()
        });
        let rules = ClaimRules { issuer, audience, default_rooms };
        settings.finish(Self { secret_arn, jwks_url, token_use, rules, allowed_origins })
    }
}

const SECRET_ARN: &str = "AUTH_SECRET_ARN";
const JWKS_URL: &str = "AUTH_JWKS_URL";
const TOKEN_USE: &str = "AUTH_TOKEN_USE";
const ISSUER: &str = "AUTH_ISSUER";
const AUDIENCE: &str = "AUTH_AUDIENCE";
const DEFAULT_ROOMS: &str = "AUTH_DEFAULT_ROOMS";
const ORIGINS: &str = "ALLOWED_ORIGINS";

/// Over HTTPS: whoever can change the keys on their way can let anybody in. Nobody is on the way to this machine itself.
fn jwks_url<L: Fn(&str) -> Option<String>>(settings: &mut Settings<L>) -> Option<Uri> {
    let text = settings.optional(JWKS_URL)?;
    let uri: Option<Uri> = text.parse().ok();
    let uri = uri.filter(|uri| {
        let is_loopback = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        is_plain && (uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && is_loopback)
    });
    if uri.is_none() {
        settings.refuse(JWKS_URL, format!("must be an https URL (http only on this machine), is {text:?}"));
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &'static [(&'static str, &'static str)]) -> Settings<impl Fn(&str) -> Option<String>> {
        Settings::new(move |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    const CONGESTION: (&str, &str) = ("CONGESTION_TABLE", "c");
    const ENDPOINT: (&str, &str) = ("CONNECTIONS_ENDPOINT", "https://api/live");

    #[test]
    fn the_sink_decides_which_address_is_needed() {
        let read = |variables| MessageConfig::read(settings(variables));
        let sqs = read(&[("QUEUE_URL", "http://q/1/a.fifo"), CONGESTION, ENDPOINT]).unwrap();
        assert_eq!(sqs.sink, SinkConfig::Sqs { queue_url: "http://q/1/a.fifo".into() });
        let bus = read(&[
            ("INGEST_SINK", "eventbridge"),
            ("EVENT_BUS_NAME", "b"),
            ("QUEUE_URL", "http://q"),
            CONGESTION,
            ENDPOINT,
        ]);
        assert_eq!(bus.unwrap().sink, SinkConfig::EventBridge { bus: "b".into() });
        let error = read(&[("INGEST_SINK", "eventbridge"), ("QUEUE_URL", "http://q"), CONGESTION, ENDPOINT]);
        assert_eq!(error.unwrap_err().to_string(), "bad configuration, 1 variable: EVENT_BUS_NAME is missing");
    }

    #[test]
    fn rooms_of_state_and_the_queue_of_ephemeral_messages_may_be_left_out() {
        let common = [("QUEUE_URL", "http://q/1/a.fifo"), CONGESTION, ENDPOINT];
        let read = |extra: &[(&'static str, &'static str)]| {
            let all: Vec<_> = common.iter().chain(extra).copied().collect();
            let lookup =
                move |name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            MessageConfig::read(Settings::new(lookup))
        };
        let off = read(&[("EPHEMERAL_QUEUE_URL", ""), ("STATE_ROOMS", "")]).unwrap();
        assert!(off.ephemeral_queue_url.is_none() && off.state_rooms.is_empty());
        let on = read(&[("EPHEMERAL_QUEUE_URL", "http://q/1/e"), ("STATE_ROOMS", "fx,board:*")]).unwrap();
        assert_eq!(on.ephemeral_queue_url.as_deref(), Some("http://q/1/e"));
        assert_eq!(on.state_rooms, RoomPatterns::parse("fx,board:*").unwrap());
        let error = read(&[("EPHEMERAL_QUEUE_URL", "e"), ("STATE_ROOMS", "a*b")]).unwrap_err().to_string();
        assert!(["EPHEMERAL_QUEUE_URL", "STATE_ROOMS"].iter().all(|name| error.contains(name)), "{error}");
    }

    const BAD_SESSION: [(&str, &str); 6] = [
        ("LOG_LEVEL", "x"),
        ("SYNC_MIN_SECONDS", "4"),
        ("SYNC_MAX_SECONDS", "541"),
        ("RETENTION_SECONDS", "59"),
        ("CONNECTION_ROOMS", "0"),
        ("SUBJECT_CONNECTIONS", "-1"),
    ];

    #[test]
    fn a_room_is_not_synced_more_seldom_than_often() {
        let of = |variables| SessionConfig::read(settings(variables));
        let tables = of(&[("CONNECTIONS_TABLE", "c"), ("MESSAGES_TABLE", "m"), ENDPOINT]).unwrap();
        assert_eq!((tables.sync_after_ms, tables.retention_seconds), (30_000..=540_000, 86_400));
        let set = [
            ("CONNECTIONS_TABLE", "c"),
            ("MESSAGES_TABLE", "m"),
            ENDPOINT,
            ("SYNC_MIN_SECONDS", "60"),
            ("SYNC_MAX_SECONDS", "60"),
        ];
        let at = |most: &'static str| {
            let lookup = move |name: &str| {
                let (_, value) = set.iter().find(|(key, _)| *key == name)?;
                Some(if name == "SYNC_MAX_SECONDS" { most } else { value }.to_owned())
            };
            SessionConfig::read(Settings::new(lookup))
        };
        assert_eq!(at("60").unwrap().sync_after_ms, 60_000..=60_000);
        let error = at("59").unwrap_err().to_string();
        assert!(error.contains("SYNC_MAX_SECONDS must be an integer from 60 to 540"), "{error}");
    }

    #[test]
    fn presence_is_off_unless_rooms_have_it_and_then_it_has_a_queue() {
        let read = |variables: &[(&str, &str)]| {
            let all = [&[("CONNECTIONS_TABLE", "c"), ("MESSAGES_TABLE", "m"), ENDPOINT], variables].concat();
            let lookup = |name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            SessionConfig::read(Settings::new(lookup))
        };
        let off = read(&[("PRESENCE_QUEUE_URL", "http://q/1/p.fifo")]).unwrap();
        assert!(off.presence.are_none() && off.presence_queue_url.is_none());
        for rooms in ["PRESENCE_ROOMS", "LIFECYCLE_ROOMS"] {
            let on = read(&[(rooms, "chat:*"), ("PRESENCE_QUEUE_URL", "http://q/1/p.fifo")]).unwrap();
            assert_eq!(
                (on.presence.lease_seconds, on.presence_queue_url.as_deref()),
                (1_200, Some("http://q/1/p.fifo"))
            );
            assert_eq!(
                (on.presence.listed.is_empty(), on.presence.lifecycle.is_empty()),
                match rooms {
                    "PRESENCE_ROOMS" => (false, true),
                    _ => (true, false),
                }
            );
            let error = read(&[(rooms, "chat:*"), ("PRESENCE_LEASE_SECONDS", "59")]).unwrap_err().to_string();
            for part in ["PRESENCE_QUEUE_URL is missing", "PRESENCE_LEASE_SECONDS must be an integer from 60 to 7200"] {
                assert!(error.contains(part), "{error}");
            }
        }
    }

    #[test]
    fn the_sweeper_needs_the_queue_of_ticks_where_rooms_have_presence() {
        let read = |variables: &[(&str, &str)]| {
            let all = [&[("CONNECTIONS_TABLE", "c"), ("CONGESTION_TABLE", "g"), ENDPOINT], variables].concat();
            let lookup = |name: &str| all.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            SweeperConfig::read(Settings::new(lookup)).map(|config| config.presence_queue_url)
        };
        let queue = ("PRESENCE_QUEUE_URL", "http://q/1/p.fifo");
        assert_eq!(read(&[queue]), Ok(None));
        for rooms in ["PRESENCE_ROOMS", "LIFECYCLE_ROOMS"] {
            assert_eq!(read(&[(rooms, "chat:*"), queue]), Ok(Some("http://q/1/p.fifo".to_owned())));
            let error = read(&[(rooms, "chat:*")]).unwrap_err().to_string();
            assert!(error.contains("PRESENCE_QUEUE_URL is missing"), "{error}");
        }
    }

    #[test]
    fn every_function_names_all_its_bad_variables() {
        let error = SessionConfig::read(settings(&BAD_SESSION)).unwrap_err().to_string();
        let names = BAD_SESSION.iter().map(|(name, _)| *name).chain([
            "CONNECTIONS_TABLE",
            "MESSAGES_TABLE",
            "CONNECTIONS_ENDPOINT",
        ]);
        assert!(names.into_iter().all(|name| error.contains(name)), "{error}");
        let error = RelayConfig::read(settings(&[("DLQ_URL", "sqs")])).unwrap_err().to_string();
        assert!(["QUEUE_URL is missing", "DLQ_URL must be"].iter().all(|part| error.contains(part)), "{error}");
    }

    #[test]
    fn the_authorizer_needs_keys_and_of_an_issuer_its_name_and_the_audience() {
        let refusal = |variables: &'static [_]| AuthorizerConfig::read(settings(variables)).unwrap_err().to_string();
        let error = refusal(&[]);
        assert_eq!(
            error,
            "bad configuration, 1 variable: AUTH_SECRET_ARN is missing, and so is AUTH_JWKS_URL: no token could be verified"
        );
        let error = refusal(&[("AUTH_JWKS_URL", "https://issuer.example/keys")]);
        assert_eq!(error, "bad configuration, 2 variables: AUTH_ISSUER is missing; AUTH_AUDIENCE is missing");
        let error = refusal(&[("AUTH_SECRET_ARN", "arn:x"), ("AUTH_TOKEN_USE", "id")]);
        assert_eq!(error, "bad configuration, 1 variable: AUTH_TOKEN_USE is of no use without AUTH_JWKS_URL");
        let error = refusal(&[
            ("AUTH_JWKS_URL", "http://issuer.example/keys"),
            ("AUTH_ISSUER", "i"),
            ("AUTH_TOKEN_USE", "refresh"),
            ("AUTH_DEFAULT_ROOMS", r#"{"a*b":["join"]}"#),
            ("ALLOWED_ORIGINS", "https://a.example,b.example"),
        ]);
        for part in ["5 variables", "AUTH_AUDIENCE is missing", "AUTH_JWKS_URL must", "one of any, access, id", "a*b"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(error.contains("ALLOWED_ORIGINS has the entry \"b.example\""), "{error}");
    }

    #[test]
    fn keys_are_fetched_over_https_or_from_this_machine() {
        let read = |url: &str| {
            let variables = [("AUTH_JWKS_URL", url), ("AUTH_ISSUER", "i"), ("AUTH_AUDIENCE", "a")];
            let lookup =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            AuthorizerConfig::read(Settings::new(lookup)).is_ok()
        };
        for good in [
            "https://issuer.example/keys",
            "https://issuer.example:8443/keys?v=1",
            "http://127.0.0.1:8080/keys",
            "http://localhost/keys",
            "http://[::1]:8080/keys",
        ] {
            assert!(read(good), "{good}");
        }
        for bad in [
            "http://issuer.example/keys",
            "http://localhost.evil.example/keys",
            "http://127.0.0.1@evil.example/keys",
            "http://127.0.0.1.evil.example/keys",
            "https://user:password@issuer.example/keys",
            "ftp://localhost/keys",
            "/keys",
            "issuer.example",
            "https://",
        ] {
            assert!(!read(bad), "{bad}");
        }
    }
}

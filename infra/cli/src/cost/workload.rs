//! The workload file: all that a stack is asked to do.

use serde_json::Value;

use super::{
    fields::Fields,
    loads::{EphemeralLoad, PresenceLoad, StateLoad},
    sessions,
};

/// Seconds after which a connection beats whatever flows.
const LONGEST: f64 = 540.0;

/// A workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name.
    pub name: String,
    /// The days of a month on which it applies.
    pub days: f64,
    /// Rooms that are alike.
    pub rooms: Vec<RoomGroup>,
    /// `RETENTION_SECONDS`.
    pub retention_seconds: f64,
    /// The account's requests a second.
    pub quota: f64,
    /// The stack's settings, and what is assumed of AWS.
    pub setting: Setting,
}

/// Rooms that are alike.
#[derive(Clone, Debug)]
pub struct RoomGroup {
    /// The group's name.
    pub name: String,
    /// The number of rooms.
    pub count: f64,
    /// Connections in each.
    pub members: f64,
    /// Messages a second in each, while there are any.
    pub messages_per_second: f64,
    /// Messages that come in the same moment.
    pub burst: f64,
    /// Bytes of a message's `data`.
    pub bytes: f64,
    /// Hours a day during which the members are connected.
    pub hours_per_day: f64,
    /// The share of those hours without messages.
    pub quiet_fraction: f64,
    /// The way in which messages come in.
    pub via: Via,
    /// Rooms that a member is in at one time.
    pub rooms_per_connection: f64,
    /// Messages in a post, where it is known: the metric `MessagesPerPost`.
    pub messages_per_post: Option<f64>,
    /// Seconds that a message could wait to share a post.
    pub tolerated_delay_seconds: f64,
    /// The share of posts that meet a connection that is gone.
    pub gone_fraction: f64,
    /// Visits of a member a day, which divide its hours evenly.
    pub visits_per_day: f64,
    /// Messages with keys, and joins with state.
    pub state: StateLoad,
    /// Members who are listed.
    pub presence: PresenceLoad,
    /// Messages that nobody keeps.
    pub ephemeral: EphemeralLoad,
}

/// The way in which messages come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// `sendMessage` of a client.
    Clients,
    /// Events on the bus.
    Events,
    /// `SendMessage` to the queue, by a producer.
    Queue,
}

/// The stack's settings, and what is assumed of AWS.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Milliseconds of a post.
    pub post_milliseconds: f64,
    /// `FANOUT_CONCURRENCY`.
    pub fanout_concurrency: f64,
    /// GB of `fanout` and `shards`.
    pub fanout_gb: f64,
    /// GB of the other functions.
    pub ingest_gb: f64,
    /// `FANOUT_SHARD_SIZE`.
    pub shard_size: f64,
    /// `FANOUT_SHARDS`.
    pub shards: f64,
    /// `SYNC_MIN_SECONDS`.
    pub sync_min: f64,
    /// `SYNC_MAX_SECONDS`.
    pub sync_max: f64,
    /// Seconds after which a connection beats whatever flows.
    pub longest_beat: f64,
    /// Bytes of a subject, such as a UUID.
    pub subject_bytes: f64,
    /// Bytes of a message's id, such as a UUID.
    pub id_bytes: f64,
    /// Bytes of a room's id.
    pub room_bytes: f64,
    /// Bytes of the lines that an invocation logs, its metrics among them.
    pub log_bytes: f64,
    /// The interval of the sweeper's calls: `SweepSchedule`.
    pub sweeps_per_day: f64,
    /// `PRESENCE_LEASE_SECONDS`.
    pub presence_lease: f64,
    /// `PRESENCE_DELAY_SECONDS`.
    pub presence_delay: f64,
    /// `PRESENCE_POSTS_PER_SECOND`.
    pub presence_posts: f64,
    /// `PRESENCE_LIST_MAX`.
    pub presence_list_max: f64,
    /// `EPHEMERAL_WINDOW_SECONDS`.
    pub ephemeral_window: f64,
    /// `EPHEMERAL_POSTS_PER_SECOND`.
    pub ephemeral_posts: f64,
    /// `EPHEMERAL_MAX_MEMBERS`.
    pub ephemeral_max_members: f64,
    /// Whether the stack's alarms, metrics and the polling of empty queues count.
    pub fixed: bool,
}

impl RoomGroup {
    /// Connections of all its rooms.
    #[must_use]
    pub fn connections(&self) -> f64 {
        self.count * self.members / self.rooms_per_connection
    }

    /// Seconds of a month in which its members are connected.
    #[must_use]
    pub fn connected_seconds(&self, days: f64) -> f64 {
        days * self.hours_per_day * 3_600.0
    }

    /// Sessions of a connection in a day: visits, or the sessions that hand-overs make of its hours.
    #[must_use]
    pub fn sessions_per_day(&self) -> f64 {
        sessions::sessions(self.hours_per_day).max(self.visits_per_day)
    }

    /// Messages a month of all its rooms.
    #[must_use]
    pub fn messages(&self, days: f64) -> f64 {
        self.count * self.messages_per_second * self.connected_seconds(days) * (1.0 - self.quiet_fraction)
    }
}

/// Bytes of a message at the most.
const MAX_DATA: f64 = 118.0 * 1_024.0;

/// Reads a workload.
///
/// # Errors
/// With all that is wrong.
pub fn read(text: &str) -> Result<Workload, Vec<String>> {
    let value: Value = serde_json::from_str(text).map_err(|error| vec![format!("no JSON: {error}")])?;
    let mut problems = Vec::new();
    let mut fields = Fields::of(&value, "", &mut problems);
    let workload = Workload {
        name: fields.text("name", Some("workload")),
        days: fields.number("days", 0.0..=31.0, Some(30.0)),
        rooms: fields.list("rooms", read_group),
        retention_seconds: fields.number("retentionSeconds", 60.0..=315_360_000.0, Some(86_400.0)),
        quota: fields.number("requestsPerSecond", 1.0..=10_000_000.0, Some(10_000.0)),
        setting: read_setting(&mut fields),
    };
    fields.end();
    if problems.is_empty() { Ok(workload) } else { Err(problems) }
}

fn read_group(fields: &mut Fields<'_>) -> RoomGroup {
    let group = RoomGroup {
        name: fields.text("name", Some("rooms")),
        count: fields.whole("count", 1.0..=1e9, Some(1.0)),
        members: fields.whole("members", 0.0..=1e7, None),
        messages_per_second: fields.number("messagesPerSecond", 0.0..=300.0, None),
        burst: fields.whole("burst", 1.0..=10.0, Some(1.0)),
        bytes: fields.whole("bytes", 1.0..=MAX_DATA, Some(300.0)),
        hours_per_day: fields.number("hoursPerDay", 0.0..=24.0, Some(24.0)),
        quiet_fraction: fields.number("quietFraction", 0.0..=1.0, Some(0.0)),
        via: fields.choice("via", &[("clients", Via::Clients), ("events", Via::Events), ("queue", Via::Queue)]),
        rooms_per_connection: fields.whole("roomsPerConnection", 1.0..=100.0, Some(1.0)),
        messages_per_post: read_optional(fields, "messagesPerPost", 100.0),
        tolerated_delay_seconds: fields.number("toleratedDelaySeconds", 0.0..=60.0, Some(0.0)),
        gone_fraction: fields.number("goneFraction", 0.0..=1.0, Some(0.0)),
        visits_per_day: fields.number("visitsPerDay", 0.0..=86_400.0, Some(0.0)),
        state: fields.object("state", StateLoad::read),
        presence: fields.object("presence", PresenceLoad::read),
        ephemeral: fields.object("ephemeral", EphemeralLoad::read),
    };
    if group.members * group.count < group.rooms_per_connection {
        fields.problem("roomsPerConnection", "must be no more than all rooms have members");
    }
    group
}

fn read_optional(fields: &mut Fields<'_>, name: &str, most: f64) -> Option<f64> {
    let value = fields.take(name)?;
    let number = value.as_f64().filter(|number| (1.0..=most).contains(number));
    if number.is_none() {
        fields.problem(name, &format!("must be a number from 1 to {most}"));
    }
    number
}

fn read_setting(fields: &mut Fields<'_>) -> Setting {
    let megabytes = |number: f64| number / 1_024.0;
    let setting = Setting {
        post_milliseconds: fields.number("postMilliseconds", 0.1..=29_000.0, Some(10.0)),
        fanout_concurrency: fields.whole("fanoutConcurrency", 1.0..=900.0, Some(64.0)),
        fanout_gb: megabytes(fields.whole("fanoutMemory", 128.0..=10_240.0, Some(1_024.0))),
        ingest_gb: megabytes(fields.whole("ingestMemory", 128.0..=10_240.0, Some(256.0))),
        shard_size: fields.whole("fanoutShardSize", 0.0..=1e7, Some(10_000.0)),
        shards: fields.whole("fanoutShards", 2.0..=256.0, Some(16.0)),
        sync_min: fields.number("syncMinSeconds", 5.0..=540.0, Some(30.0)),
        sync_max: fields.number("syncMaxSeconds", 5.0..=540.0, Some(540.0)),
        longest_beat: LONGEST,
        subject_bytes: fields.whole("subjectBytes", 1.0..=256.0, Some(36.0)),
        id_bytes: fields.whole("idBytes", 1.0..=64.0, Some(36.0)),
        room_bytes: fields.whole("roomIdBytes", 1.0..=100.0, Some(20.0)),
        log_bytes: fields.number("logBytes", 0.0..=100_000.0, Some(1_000.0)),
        sweeps_per_day: fields.number("sweepsPerDay", 0.0..=1_440.0, Some(24.0)),
        presence_lease: fields.number("presenceLeaseSeconds", 60.0..=7_200.0, Some(1_200.0)),
        presence_delay: fields.number("presenceDelaySeconds", 3.0..=60.0, Some(3.0)),
        presence_posts: fields.number("presencePostsPerSecond", 1.0..=1e6, Some(500.0)),
        presence_list_max: fields.whole("presenceListMax", 0.0..=1e6, Some(500.0)),
        ephemeral_window: fields.number("ephemeralWindowSeconds", 0.0..=300.0, Some(1.0)),
        ephemeral_posts: fields.number("ephemeralPostsPerSecond", 0.0..=1e6, Some(1_000.0)),
        ephemeral_max_members: fields.whole("ephemeralMaxMembers", 0.0..=1e6, Some(1_000.0)),
        fixed: fields.flag("fixed", true),
    };
    if setting.sync_min > setting.sync_max {
        fields.problem("syncMinSeconds", "must be no more than syncMaxSeconds");
    }
    setting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let text = r#"{"days": 40, "rooms": [{"members": 1.5, "messagesPerSecond": "1"}, {"member": 3}], "x": 1}"#;
        let problems = read(text).unwrap_err();
        let expected = [
            "days: must be a number from 0 to 31",
            "rooms[0].members: must be a whole number",
            "rooms[0].messagesPerSecond: must be a number from 0 to 300",
            "rooms[1].members: is missing",
            "rooms[1].messagesPerSecond: is missing",
            "rooms[1].roomsPerConnection: must be no more than all rooms have members",
            "rooms[1].member: is no field here",
            "x: is no field here",
        ];
        assert_eq!(problems, expected);
        assert_eq!(read("[]").unwrap_err()[0], "the file: must be an object");
        assert!(read("{").unwrap_err()[0].starts_with("no JSON"));
    }

    #[test]
    fn a_short_file_will_do() {
        let workload = read(r#"{"rooms": [{"members": 100, "messagesPerSecond": 1, "hoursPerDay": 8}]}"#).unwrap();
        assert!((workload.rooms[0].messages(workload.days) - 864_000.0).abs() < 1e-6);
        assert_eq!(workload.rooms[0].via, Via::Clients);
    }

    #[test]
    fn beats_may_be_as_the_template_lets_them_be() {
        let of = |seconds: f64| {
            let rooms = r#""rooms": [{"members": 1, "messagesPerSecond": 0}]"#;
            read(&format!(r#"{{{rooms}, "syncMinSeconds": {seconds}, "syncMaxSeconds": {seconds}}}"#))
        };
        let template = include_str!("../../../template.yaml");
        for name in ["SyncMinSeconds", "SyncMaxSeconds"] {
            let parameter = template.split(&format!("\n  {name}:\n")).nth(1).unwrap();
            let bound = |bound: &str| -> f64 {
                let value = parameter.split(&format!("    {bound}: ")).nth(1).unwrap();
                value.lines().next().unwrap().parse().unwrap()
            };
            let (least, most) = (bound("MinValue"), bound("MaxValue"));
            assert!(of(least).is_ok() && of(most).is_ok(), "{name}");
            assert!(of(least - 1.0).is_err() && of(most + 1.0).is_err(), "{name}");
        }
    }
}

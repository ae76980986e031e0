//! The flow of messages: while a room is being broadcast to, its next messages gather, and go out together.
//!
//! ```text
//! 10,000 members, 64 posts at a time, 10 ms each: a broadcast takes 1.6 s
//! 5 messages a second: 7.9 come meanwhile, and are one post for each member
//! 0.1 messages a second: each goes out alone
//! ```
//!
//! When all rooms together want more requests than the account has, every broadcast takes longer by the same factor, so
//! more messages gather, until the posts fit.

use super::{
    beats,
    calls::{LOGGING, RESUMING},
    ephemeral, presence,
    sizes::MessageSize,
    workload::{RoomGroup, Setting, Via, Workload},
};

/// Messages of a batch of the queue.
const BATCH: f64 = 10.0;

/// Jobs of a batch of the shard queue.
const JOBS: f64 = 10.0;

/// The greatest factor by which broadcasts are stretched. Beyond, everything is packed that can be.
const MOST_STRETCH: f64 = 1e6;

/// The way in which the messages of a group's rooms go out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Messages in a batch of `fanout`.
    pub batch: f64,
    /// The shards of a room; 0 means that `fanout` posts itself.
    pub shards: f64,
    /// Jobs of a shard that go out together.
    pub jobs: f64,
    /// Seconds of the posts of one step: of a batch, or of a shard's jobs.
    pub posting: f64,
}

impl Flow {
    /// Messages in a post.
    #[must_use]
    pub fn messages_per_post(&self) -> f64 {
        self.batch * self.jobs
    }
}

/// The demand of a workload on the account.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The flow of each group's messages.
    pub flows: Vec<Flow>,
    /// Posts a second, when all groups are busy.
    pub posts: f64,
    /// The same if each message were a post of its own.
    pub unpacked: f64,
    /// Frames and replies a second.
    pub frames: f64,
    /// Posts a second of presence and of ephemeral messages.
    pub besides: f64,
    /// The factor by which the account's rate makes broadcasts longer.
    pub stretch: f64,
}

impl Demand {
    /// Requests a second that count against the quota.
    #[must_use]
    pub fn requests(&self) -> f64 {
        self.posts + self.frames + self.besides
    }
}

/// The demand of a workload on the account.
#[must_use]
pub fn demand(workload: &Workload) -> Demand {
    let frames = workload.rooms.iter().map(|group| frames_per_second(group, &workload.setting)).sum();
    let at = |stretch: f64| -> (Vec<Flow>, f64) {
        let flows: Vec<_> = workload.rooms.iter().map(|group| flow(group, &workload.setting, stretch)).collect();
        let posts = workload.rooms.iter().zip(&flows).map(|(group, flow)| posts(group, &workload.setting, flow)).sum();
        (flows, posts)
    };
    let unpacked = Flow { batch: 1.0, shards: 0.0, jobs: 1.0, posting: 0.0 };
    let unpacked = workload.rooms.iter().map(|group| posts(group, &workload.setting, &unpacked)).sum();
    let besides = presence::posts_per_second(workload) + ephemeral::posts_per_second(workload);
    let fits = |stretch: f64| at(stretch).1 + frames + besides <= workload.quota;
    let stretch = if fits(1.0) { 1.0 } else { least(fits) };
    let (flows, posts) = at(stretch);
    Demand { flows, posts, unpacked, frames, besides, stretch }
}

/// The least stretch that suffices, or [`MOST_STRETCH`].
fn least(fits: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (1.0, MOST_STRETCH);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if fits(middle) { high = middle } else { low = middle }
    }
    high
}

/// Frames and replies a second of a group.
fn frames_per_second(group: &RoomGroup, setting: &Setting) -> f64 {
    let sent = if group.via == Via::Clients { group.count * group.messages_per_second } else { 0.0 };
    let sent = sent + group.count * group.ephemeral.per_second;
    let setting = &presence::beating(group, setting);
    let beats = group.connections() * beats::per_second(group.messages_per_second, group.rooms_per_connection, setting);
    2.0 * (sent + beats)
}

/// Posts a second of a group, each frame one.
fn posts(group: &RoomGroup, setting: &Setting, flow: &Flow) -> f64 {
    let messages = flow.messages_per_post();
    let frames = MessageSize::of(group, setting).frames(messages);
    group.count * group.messages_per_second / messages * group.members * frames * (1.0 + group.gone_fraction)
}

fn flow(group: &RoomGroup, setting: &Setting, stretch: f64) -> Flow {
    let is_large = setting.shard_size > 0.0 && group.members > setting.shard_size;
    let rate = group.messages_per_second;
    // The seconds of so many posts to so many members.
    let seconds = |members: f64, messages: f64| {
        let frames = MessageSize::of(group, setting).frames(messages);
        members * frames * setting.post_milliseconds / 1_000.0 / setting.fanout_concurrency * stretch
    };
    if is_large {
        let batch = group.burst.max(rate * LOGGING).min(BATCH);
        let members = group.members / setting.shards;
        let jobs = gathered(rate / batch, RESUMING + seconds(members, batch));
        let jobs = group.messages_per_post.map_or(jobs, |messages| messages / batch).clamp(1.0, JOBS);
        let posting = seconds(members, batch * jobs);
        return Flow { batch, shards: setting.shards, jobs, posting };
    }
    let itself = group.burst * gathered(rate / group.burst, LOGGING + seconds(group.members, group.burst));
    let gathered = group.messages_per_post.unwrap_or(itself).max(1.0);
    if gathered < BATCH {
        let posting = seconds(group.members, gathered);
        return Flow { batch: gathered, shards: 0.0, jobs: 1.0, posting };
    }
    let jobs = (gathered / BATCH).min(JOBS);
    Flow { batch: BATCH, shards: 1.0, jobs, posting: seconds(group.members, BATCH * jobs) }
}

/// The mean number of messages that go out together, when they come at random at this rate and each round takes so many
/// seconds: those that came meanwhile, or a single one after a pause.
fn gathered(rate: f64, seconds: f64) -> f64 {
    let meanwhile = rate * seconds;
    meanwhile + (-meanwhile).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::workload::read;

    fn of(rooms: &str) -> Demand {
        demand(&read(&format!(r#"{{"rooms": [{rooms}]}}"#)).unwrap())
    }

    fn is_about(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= expected * 0.001
    }

    #[test]
    fn a_chat_is_not_packed_and_a_feed_packs_itself() {
        let chat = of(r#"{"count": 100, "members": 100, "messagesPerSecond": 1}"#);
        assert!(is_about(chat.requests(), 10_000.0) && chat.flows[0].batch < 1.1, "{chat:?}");
        let feed = of(r#"{"members": 10000, "messagesPerSecond": 5, "via": "events"}"#);
        assert!(is_about(feed.flows[0].batch, 7.937_86) && is_about(feed.unpacked, 50_000.0), "{feed:?}");
    }

    #[test]
    fn what_the_account_does_not_have_is_packed_until_it_fits() {
        let rooms = r#"{"count": 10, "members": 5000, "messagesPerSecond": 1, "via": "events"}"#;
        let short = of(rooms);
        assert!(short.stretch > 1.0 && is_about(short.requests(), 10_000.0), "{short:?}");
        assert!(short.flows[0].batch > 5.0, "{short:?}");
        let too_much = of(&rooms.replace("\"count\": 10", "\"count\": 3000"));
        assert!(too_much.requests() > 10_000.0 && is_about(too_much.flows[0].messages_per_post(), 100.0));
    }

    #[test]
    fn a_large_room_goes_out_in_shards_and_a_busy_one_through_one() {
        let large = of(r#"{"members": 100000, "messagesPerSecond": 0.01, "via": "events"}"#);
        assert!(is_about(large.flows[0].shards, 16.0) && is_about(large.flows[0].jobs, 1.0), "{large:?}");
        let burst = of(r#"{"members": 100, "messagesPerSecond": 1, "burst": 10, "via": "events"}"#);
        assert!(is_about(burst.flows[0].shards, 1.0) && is_about(burst.flows[0].messages_per_post(), 10.0));
        let known = of(r#"{"members": 100, "messagesPerSecond": 1, "messagesPerPost": 4}"#);
        assert!(is_about(known.flows[0].batch, 4.0));
    }
}

//! Ephemeral messages: sent, gathered for a window, posted once, and kept nowhere.

use super::{
    calls::{INGEST_SECONDS, frame, invocation},
    sizes::{self, QUEUE_STEP, steps},
    usage::{Count, Part, Usage},
    workload::{RoomGroup, Workload},
};

/// Messages that one call receives or deletes.
const CALL: f64 = 10.0;

/// Seconds of an invocation of `ephemeral` besides posting.
const EPHEMERAL_SECONDS: f64 = 0.015;

/// The mean number of messages that go out together, when they come at random at this rate: one, and those that come
/// within the window after it.
fn frames(rate: f64, window: f64) -> f64 {
    rate / (1.0 + rate * window)
}

/// Frames a second of one room; there are none in rooms that are too large.
fn frames_of(group: &RoomGroup, workload: &Workload) -> f64 {
    let is_served = group.members <= workload.setting.ephemeral_max_members;
    if is_served { frames(group.ephemeral.per_second, workload.setting.ephemeral_window) } else { 0.0 }
}

fn wanted(workload: &Workload) -> f64 {
    workload.rooms.iter().map(|group| group.count * group.members * frames_of(group, workload)).sum()
}

/// Posts a second of all rooms, within the stack's rate.
#[must_use]
pub fn posts_per_second(workload: &Workload) -> f64 {
    wanted(workload).min(workload.setting.ephemeral_posts)
}

/// The usage of a group's ephemeral messages in a month.
pub(super) fn add(usage: &mut Usage, group: &RoomGroup, workload: &Workload) {
    let (load, setting, part) = (&group.ephemeral, &workload.setting, Part::Ephemeral);
    if load.per_second <= 0.0 {
        return;
    }
    let seconds = group.connected_seconds(workload.days) * (1.0 - group.quiet_fraction);
    let record = 90.0 + setting.room_bytes + setting.subject_bytes + load.bytes;
    let mut send = Usage::default();
    frame(&mut send, part, record);
    invocation(&mut send, part, Count::Message, (setting.ingest_gb, INGEST_SECONDS), setting);
    send.add(part, Count::SendMessage, 1.0);
    send.add(part, Count::StandardRequests, steps(record, QUEUE_STEP));
    let rate = group.count * load.per_second;
    usage.add_times(seconds * rate, &send);
    // One batch has messages of all rooms.
    let batches = frames(rate, setting.ephemeral_window);
    let calls = batches.max(rate / CALL);
    usage.add(part, Count::ReceiveMessage, seconds * calls);
    usage.add(part, Count::DeleteMessageBatch, seconds * calls);
    usage.add(part, Count::StandardRequests, seconds * 2.0 * calls);
    let mut batch = Usage::default();
    invocation(&mut batch, part, Count::EphemeralFunction, (setting.fanout_gb, EPHEMERAL_SECONDS), setting);
    usage.add_times(seconds * batches, &batch);
    let wanted = wanted(workload);
    let within = if wanted > setting.ephemeral_posts { setting.ephemeral_posts / wanted } else { 1.0 };
    let broadcasts = seconds * group.count * frames_of(group, workload) * within;
    let (queries, units) = sizes::pages(group.members, setting);
    let together = load.per_second / frames(load.per_second, setting.ephemeral_window);
    let bytes = 60.0 + setting.room_bytes + together * (50.0 + setting.subject_bytes + load.bytes);
    let posting = group.members * setting.post_milliseconds / 1_000.0 / setting.fanout_concurrency;
    usage.add_some(part, Count::Query, broadcasts * queries);
    usage.add_some(part, Count::ReadUnits, broadcasts * units);
    usage.add_some(part, Count::Posts, broadcasts * group.members);
    usage.add_some(part, Count::EgressBytes, broadcasts * group.members * bytes);
    usage.add_some(part, Count::GbSeconds, broadcasts * setting.fanout_gb * posting);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Estimate, workload::read};

    fn taken(members: u32, sends: u32) -> (Workload, Usage) {
        let room =
            format!(r#"{{"members": {members}, "messagesPerSecond": 0, "ephemeral": {{"perSecond": {sends}}}}}"#);
        let workload = read(&format!(r#"{{"days": 1, "fixed": false, "rooms": [{room}]}}"#)).unwrap();
        let usage = Estimate::of(&workload).usage;
        (workload, usage)
    }

    #[test]
    fn a_window_has_one_frame() {
        let (workload, usage) = taken(100, 9);
        let posts = posts_per_second(&workload);
        assert!((posts - 90.0).abs() < 1e-6, "{posts}");
        assert!((usage.of(Part::Ephemeral, Count::Posts) / (90.0 * 86_400.0) - 1.0).abs() < 1e-6);
        assert!((usage.of(Part::Ephemeral, Count::SendMessage) / (9.0 * 86_400.0) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_the_stack_cannot_pay_is_dropped() {
        assert!((posts_per_second(&taken(1_000, 99).0) - 990.0).abs() < 1e-6);
        let (workload, usage) = taken(1_001, 99);
        assert!(posts_per_second(&workload) == 0.0 && usage.of(Part::Ephemeral, Count::Posts) == 0.0);
    }
}

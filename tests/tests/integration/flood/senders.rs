//! Who sends in a flood, and what is seen of it.

use super::FLOODED;

/// Somebody who sends.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) subject: String,
    pub(super) room: usize,
    pub(super) per_second: f64,
    /// From when to when, in milliseconds since the simulation began.
    pub(super) active: std::ops::Range<u64>,
    /// Whether a refused message is sent again when the answer says so.
    pub(super) is_patient: bool,
}

/// What was seen of some senders' messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) broadcast: u64,
    /// The longest time from a message's first attempt to the end of its broadcast, in milliseconds.
    pub(super) longest: u64,
    /// The longest time from when it was accepted.
    pub(super) longest_queued: u64,
    /// Broadcasts that ended more than two seconds after the first attempt.
    pub(super) late: u64,
    /// All times from a message's first attempt to the end of its broadcast.
    pub(super) total: u64,
}

pub(super) fn sender(subject: String, room: usize, per_second: f64, until: u64) -> Sender {
    Sender { subject, room, per_second, active: 0..until, is_patient: true }
}

/// Somebody who sends as fast as they like.
pub(super) fn flooder(name: usize, room: usize, per_second: f64, active: std::ops::Range<u64>) -> Sender {
    Sender { subject: format!("flooder-{name}"), room, per_second, active, is_patient: false }
}

/// Twenty other rooms in which something is said each second, and twenty people in the flooded room who say something three
/// times a minute.
pub(super) fn bystanders(until: u64) -> Vec<Sender> {
    let others = (1_000..1_020).map(|room| sender(format!("other-{room}"), room, 1.0, until));
    let members = (0..20).map(|member| sender(format!("member-{member}"), FLOODED, 0.05, until));
    others.chain(members).collect()
}

pub(super) fn is_flooder(sender: &Sender) -> bool {
    sender.subject.starts_with("flooder")
}

pub(super) fn is_member(sender: &Sender) -> bool {
    sender.subject.starts_with("member")
}

pub(super) fn is_other(sender: &Sender) -> bool {
    sender.subject.starts_with("other")
}

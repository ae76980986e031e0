//! The senders in a flood, and the tallies of their messages.

use super::FLOODED;

#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) subject: String,
    pub(super) room: usize,
    pub(super) per_second: f64,
    /// The time in which it sends, in milliseconds since the simulation began.
    pub(super) active: std::ops::Range<u64>,
    /// Whether a refused message is sent again when the answer says so.
    pub(super) is_patient: bool,
}

/// The counts and times of some senders' messages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) broadcast: u64,
    /// The longest time from a message's first attempt to the end of its broadcast, in milliseconds.
    pub(super) longest: u64,
    /// The longest time from a message's acceptance to the end of its broadcast.
    pub(super) longest_queued: u64,
    /// Broadcasts that ended more than two seconds after the first attempt.
    pub(super) late: u64,
    /// The sum of the times from a message's first attempt to the end of its broadcast.
    pub(super) total: u64,
}

pub(super) fn sender(subject: String, room: usize, per_second: f64, until: u64) -> Sender {
    Sender { subject, room, per_second, active: 0..until, is_patient: true }
}

/// A sender that sends new messages at its rate instead of refused ones again.
pub(super) fn flooder(name: usize, room: usize, per_second: f64, active: std::ops::Range<u64>) -> Sender {
    Sender { subject: format!("flooder-{name}"), room, per_second, active, is_patient: false }
}

/// Twenty other rooms in which something is said each second, and twenty people in the flooded room who say something
/// three times a minute.
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

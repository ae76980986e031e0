//! The figures of a measurement.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use serde::Serialize;

use super::members::Received;

/// A message as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) id: String,
    pub(super) began_at: Instant,
    pub(super) accepted_at: Instant,
}

/// The figures. Times are in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Figures {
    members: usize,
    messages: usize,
    /// Messages accepted per second.
    rate: f64,
    /// The times from sending to the reply.
    accepted: Times,
    /// The times from the reply to the broadcast, for every member.
    received: Times,
    /// Messages that did not reach a member, counted for each member.
    lost: usize,
    /// Messages that reached a member again.
    again: usize,
    /// Members who got a message after a later one.
    out_of_order: usize,
    posts: Posts,
}

#[derive(Debug, Default, Serialize)]
struct Times {
    p50: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Posts {
    /// The most posts that were made: members times messages, and those that came again. Packing makes fewer.
    used: usize,
    budget: u64,
}

impl Figures {
    pub(super) fn of(sent: &[Sent], received: &[Vec<Received>], budget: u64, sending: Duration) -> Self {
        let accepted_at: HashMap<_, _> = sent.iter().map(|sent| (sent.id.as_str(), sent.accepted_at)).collect();
        let mut latencies = Vec::new();
        let (mut lost, mut again, mut out_of_order) = (0, 0, 0);
        for of_member in received {
            let mut ids = HashSet::new();
            let mut newest = 0;
            let mut is_ordered = true;
            for message in of_member {
                let Some(accepted_at) = accepted_at.get(message.id.as_str()) else { continue };
                if !ids.insert(message.id.as_str()) {
                    again += 1;
                    continue;
                }
                is_ordered &= message.seq > newest;
                newest = message.seq;
                // A broadcast may overtake the reply.
                latencies.push(message.at.saturating_duration_since(*accepted_at));
            }
            lost += sent.len() - ids.len();
            out_of_order += usize::from(!is_ordered);
        }
        let replies = sent.iter().map(|sent| sent.accepted_at.duration_since(sent.began_at)).collect();
        #[allow(clippy::cast_precision_loss, reason = "a few thousand messages")]
        let rate = sent.len() as f64 / sending.as_secs_f64().max(f64::EPSILON);
        Self {
            members: received.len(),
            messages: sent.len(),
            rate,
            accepted: Times::of(replies),
            received: Times::of(latencies),
            lost,
            again,
            out_of_order,
            posts: Posts { used: sent.len() * received.len() + again, budget },
        }
    }

    /// Whether everybody received everything in order.
    pub(super) fn is_clean(&self) -> bool {
        self.lost == 0 && self.out_of_order == 0
    }

    pub(super) fn table(&self) -> String {
        let Self { members, messages, rate, accepted, received, lost, again, out_of_order, posts } = self;
        let times = |times: &Times| format!("{:>9.1} {:>9.1} {:>9.1}", times.p50, times.p99, times.max);
        format!(
            "{members} members, {messages} messages, {rate:.1} a second\n\n\
             milliseconds               p50       p99       max\n\
             sent to accepted     {}\n\
             accepted to received {}\n\n\
             lost {lost}, again {again}, members out of order {out_of_order}\n\
             posts {} of {} at the most",
            times(accepted),
            times(received),
            posts.used,
            posts.budget
        )
    }
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |hundredths: usize| {
            let rank = (times.len() * hundredths).div_ceil(100).max(1) - 1;
            times.get(rank).map_or(0.0, |time| (time.as_secs_f64() * 10_000.0).round() / 10.0)
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_order_and_repetition_are_told_apart() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let sent = |id: &str| Sent { id: id.to_owned(), began_at: at(0), accepted_at: at(10) };
        let received = |id: &str, seq, millis| Received { id: id.to_owned(), seq, at: at(millis) };
        let whole = vec![received("a", 1, 20), received("b", 2, 30), received("a", 1, 40)];
        let broken = vec![received("b", 2, 30), received("a", 1, 5), received("other", 3, 9)];
        let figures = Figures::of(&[sent("a"), sent("b")], &[whole, broken, vec![]], 6, Duration::from_secs(1));
        assert_eq!((figures.lost, figures.again, figures.out_of_order), (2, 1, 1));
        assert_eq!((figures.posts.used, figures.messages, figures.members), (7, 2, 3));
        assert!(!figures.is_clean());
        // 0 (before the reply), 10, 20, 20
        let Times { p50, p99, max } = figures.received;
        assert!((p50 - 10.0).abs() < 0.1 && (p99 - 20.0).abs() < 0.1 && (max - 20.0).abs() < 0.1);
        assert!((figures.accepted.p50 - 10.0).abs() < 0.1);
    }

    #[test]
    fn nothing_has_no_times() {
        let Times { p50, p99, max } = Times::of(vec![]);
        assert!(p50 + p99 + max < f64::EPSILON);
    }
}

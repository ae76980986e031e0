//! The pace of publications: how often a room is published, and what an environment may spend on all rooms.

use std::cell::RefCell;

use crate::presence::config::Kept;

/// The part of all publications' posts that one room may take: a fifth.
const ROOMS_SHARE: u64 = 5;

/// The shortest and the longest time between two publications of a room, in milliseconds.
const SHORTEST: u64 = 1_000;
const LONGEST: u64 = 900_000;

/// Environments that publish side by side, by the event source's `MaximumConcurrency`.
const ENVIRONMENTS: u64 = 2;

/// A tick that was due this long ago, in milliseconds, has been hidden before: it does not go to the end of the line
/// again.
const WAITED: u64 = 20_000;

/// The time from one publication of a room to the next, in milliseconds: `T(N)`. A room to which nothing is posted is
/// slowed only by the reading of its rows.
#[must_use]
pub fn between_publications(connections: u64, kept: Kept, posts_per_second: u64) -> u64 {
    let millis = if kept.presence {
        connections.saturating_mul(ROOMS_SHARE * 1_000) / posts_per_second.max(1)
    } else {
        connections
    };
    millis.clamp(SHORTEST, LONGEST)
}

/// The posts that an environment may spend. It earns half of the posts per second, pays the posts of each publication,
/// and may owe one publication. It saves at most what it earns in a second: queues hide for whole seconds, and with so
/// much saved nobody is waiting.
///
/// Two environments together then post at most rate x time, and one room each besides. A tick that cannot be afforded
/// gets a place in a line, the time at which it will be affordable. If a thousand rooms came at once and were all told
/// to come back in a second, their ticks would be received two hundred thousand times.
#[derive(Debug)]
pub struct Budget {
    /// Posts per second.
    earns: f64,
    state: RefCell<State>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Posts that are owed; a negative number is saved.
    owed: f64,
    /// When `owed` was counted, in milliseconds since the Unix epoch.
    at: u64,
    /// When the line of waiting ticks ends, in milliseconds since the Unix epoch.
    line_ends: u64,
    /// The cost of the last publication.
    last_cost: f64,
}

/// The time before which a publication cannot be afforded, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComeBackAt(pub u64);

/// The permit to publish a room. It sets aside about what that costs, so that rooms that are published at the same time
/// do not spend the same posts, and gives it back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Permit<'a> {
    budget: &'a Budget,
    set_aside: f64,
}

impl Permit<'_> {
    /// Pays for the publication, which has been sent: what it costs, in place of what was set aside.
    pub fn pay(self, posts: u64, now: u64) {
        self.budget.pay(posts, now);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.budget.state.borrow_mut().owed -= self.set_aside;
    }
}

impl Budget {
    /// The budget of one environment in a stack that posts so much per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "at most a million")]
    pub fn new(posts_per_second: u64) -> Self {
        Self { earns: posts_per_second as f64 / ENVIRONMENTS as f64, state: RefCell::default() }
    }

    /// Whether a publication of about `posts` posts may be made at `now`, for a tick that was due `waited` milliseconds
    /// ago. `None`, for a room of which nothing is known, counts as the cost of the last publication.
    ///
    /// # Errors
    /// When it may not, with the time to ask again.
    pub fn admit(&self, posts: Option<u64>, waited: u64, now: u64) -> Result<Permit<'_>, ComeBackAt> {
        let mut state = self.state.borrow_mut();
        self.settle(&mut state, now);
        let clear_at = now + self.millis_for(state.owed);
        #[expect(clippy::cast_precision_loss, reason = "a room's connections")]
        let cost = posts.map_or(state.last_cost, |posts| posts as f64);
        let has_turn = waited >= WAITED || state.line_ends <= now;
        if state.owed <= 0.0 && (has_turn || state.owed <= -self.earns) {
            state.owed += cost;
            return Ok(Permit { budget: self, set_aside: cost });
        }
        if waited >= WAITED {
            return Err(ComeBackAt(clear_at));
        }
        let place = state.line_ends.max(clear_at);
        state.line_ends = place + self.millis_for(cost);
        Err(ComeBackAt(place))
    }

    /// Pays for a publication that has been sent. One that could not be sent costs nothing, however often it is tried.
    #[expect(clippy::cast_precision_loss, reason = "a room's connections")]
    pub fn pay(&self, posts: u64, now: u64) {
        let mut state = self.state.borrow_mut();
        self.settle(&mut state, now);
        state.last_cost = posts as f64;
        state.owed += state.last_cost;
    }

    fn settle(&self, state: &mut State, now: u64) {
        #[expect(clippy::cast_precision_loss, reason = "milliseconds between two publications")]
        let earned = now.saturating_sub(state.at) as f64 * self.earns / 1_000.0;
        // An environment begins with nothing saved.
        let earned = if state.at == 0 { 0.0 } else { earned };
        state.owed = (state.owed - earned).max(-self.earns);
        state.at = state.at.max(now);
    }

    fn millis_for(&self, posts: f64) -> u64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time, and not below 0")]
        let millis = (posts.max(0.0) * 1_000.0 / self.earns).ceil() as u64;
        millis
    }
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use fastrand::Rng;

    use super::{super::config::EventKinds, *};

    const START: u64 = 1_800_000_000_000;
    const PRESENCE: Kept = Kept { presence: true, events: EventKinds { room: false, member: false } };

    #[test]
    fn the_pace_of_a_room_goes_by_its_connections() {
        let pace = |connections| between_publications(connections, PRESENCE, 500);
        let paces = [0, 1, 100, 1_000, 10_000, 90_000, u64::MAX].map(pace);
        assert_eq!(paces, [1_000, 1_000, 1_000, 10_000, 100_000, 900_000, 900_000]);
        let events = Kept { presence: false, events: EventKinds { room: true, member: false } };
        assert_eq!([10, 1_000, 30_000].map(|n| between_publications(n, events, 500)), [1_000, 1_000, 30_000]);
    }

    #[test]
    fn an_environment_may_owe_one_publication() {
        let budget = Budget::new(500);
        let admit = |posts, waited, now| budget.admit(Some(posts), waited, now).map(drop);
        budget.admit(Some(100), 0, START).unwrap().pay(100, START);
        assert_eq!(admit(100, 0, START), Err(ComeBackAt(START + 400)));
        assert_eq!(admit(100, 0, START + 1), Err(ComeBackAt(START + 800)), "at the end of the line");
        assert_eq!(admit(100, WAITED, START + 399), Err(ComeBackAt(START + 400)));
        assert_eq!(admit(100, WAITED, START + 400), Ok(()), "has had its turn");
        assert!(admit(100, 0, START + 400).is_err(), "others are before it");
        assert_eq!(admit(100, 0, START + 1_400), Ok(()), "but not when nobody comes");
        budget.pay(10_000, START + 1_400);
        assert_eq!(admit(1, WAITED, START + 1_401), Err(ComeBackAt(START + 40_400)));
    }

    #[test]
    fn rooms_side_by_side_do_not_spend_the_same_posts() {
        let budget = Budget::new(500);
        let permit = budget.admit(Some(1_000), 0, START).unwrap();
        assert_eq!(budget.admit(Some(1), WAITED, START).unwrap_err(), ComeBackAt(START + 4_000));
        drop(permit);
        let permit = budget.admit(Some(1_000), WAITED, START).expect("nothing was published");
        // The room has become smaller.
        permit.pay(500, START);
        assert_eq!(budget.admit(Some(1), WAITED, START).unwrap_err(), ComeBackAt(START + 2_000));
    }

    /// A thousand rooms of a hundred at once, whose ticks come to any of two environments.
    #[test]
    fn a_thousand_rooms_are_published_at_the_rate_and_hardly_received_in_vain() {
        let budgets = [Budget::new(500), Budget::new(500)];
        let mut random = Rng::with_seed(7);
        let mut ticks: BinaryHeap<Reverse<(u64, u64)>> =
            (0..1_000).map(|room| Reverse((START + room * 10, START + room * 10))).collect();
        let (mut posts, mut receives, mut end) = (0, 0, START);
        while let Some(Reverse((at, due))) = ticks.pop() {
            receives += 1;
            let budget = &budgets[random.usize(..2)];
            match budget.admit(None, at - due, at) {
                Ok(permit) => {
                    permit.pay(100, at);
                    posts += 100;
                    end = at;
                }
                // Queues hide for whole seconds.
                Err(ComeBackAt(later)) => {
                    ticks.push(Reverse((at + (later - at).div_ceil(1_000) * 1_000, due)));
                }
            }
            assert!(posts <= (at - START) / 2 + 200, "{posts} after {} ms", at - START);
        }
        assert_eq!(posts, 100_000);
        assert!(end - START < 225_000, "{}", end - START);
        assert!(receives < 5_000, "{receives}");
    }
}

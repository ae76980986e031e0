//! The number of posts that may be in flight: halved when timeouts are widespread, and raised one by one afterwards.

use std::time::Duration;

use tokio::time::Instant;

/// The least number of timeouts that can be widespread, or all places if that is less. Fewer are single clients that
/// hang.
const WIDESPREAD: u64 = 8;

/// Timeouts are widespread when at least one in so many posts times out.
const ONE_IN: u64 = 10;

/// Posts in flight that are always allowed: with fewer, nothing would be learnt any more.
const FLOOR: usize = 4;

/// Answers after which one more post may be in flight.
const ANSWERS_PER_RAISE: u32 = 8;

/// The time for which a cut says that posts time out through nobody's fault. An environment with little to do may take
/// long for the answers that raise the limit again, and clients that hang must not go unnoticed meanwhile.
const LATELY: Duration = Duration::from_secs(60);

/// The places of posts in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    most: usize,
    limit: usize,
    taken: usize,
    /// The most places that were taken at one time.
    most_taken: usize,
    started: u64,
    timed_out: u64,
    answered: u64,
    halved: Option<Instant>,
    answers: u32,
}

/// The counts when a post started, to compare with when it has timed out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    started: u64,
    timed_out: u64,
    answered: u64,
}

impl InFlight {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            most,
            limit: most,
            taken: 0,
            most_taken: 0,
            started: 0,
            timed_out: 0,
            answered: 0,
            halved: None,
            answers: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether fewer posts may be in flight than otherwise, because timeouts were widespread lately.
    pub(super) fn is_cut_lately(&self, now: Instant) -> bool {
        self.limit < self.most && self.halved.is_some_and(|halved| now.duration_since(halved) < LATELY)
    }

    pub(super) fn has_room(&self) -> bool {
        self.taken < self.limit
    }

    /// Takes a place.
    pub(super) fn take(&mut self) -> Before {
        let before = Before { started: self.started, timed_out: self.timed_out, answered: self.answered };
        self.taken += 1;
        self.most_taken = self.most_taken.max(self.taken);
        self.started += 1;
        before
    }

    /// The most places that were taken at one time since this was asked last.
    pub(super) fn take_most_taken(&mut self) -> usize {
        std::mem::replace(&mut self.most_taken, self.taken)
    }

    /// Gives a place back.
    pub(super) fn free(&mut self) {
        self.taken -= 1;
    }

    /// Notes that a post ended in time; `is_answer` says whether it was answered, and did not fail.
    pub(super) fn ended(&mut self, is_answer: bool) {
        self.answered += u64::from(is_answer);
        self.answers += 1;
        if self.answers >= ANSWERS_PER_RAISE {
            self.answers = 0;
            self.limit = (self.limit + 1).min(self.most);
        }
    }

    /// Notes that a post timed out. Timeouts are compared with the posts that were started since this one was: four
    /// connections that hang for three seconds among thousands that do not are no reason for a cut. Posts from before
    /// the latest cut say nothing about its effect, so there is at most one cut in the time of a post. After cuts a few
    /// clients that hang may take all places that are left: then an outage goes on only if no other post is answered.
    pub(super) fn timed_out(&mut self, now: Instant, post_started: Instant, before: Before) {
        self.timed_out += 1;
        self.answers = 0;
        let (started, timed_out) = (self.started - before.started, self.timed_out - before.timed_out);
        let places = self.limit as u64;
        let is_widespread = timed_out >= WIDESPREAD.min(places) && timed_out * ONE_IN >= started;
        let may_be_few_clients = places < WIDESPREAD && self.limit < self.most && self.answered > before.answered;
        if is_widespread && !may_be_few_clients && self.halved.is_none_or(|halved| post_started >= halved) {
            self.limit = (self.limit / 2).max(FLOOR.min(self.most));
            self.halved = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(3);

    /// Posts that start together, of which the first `hanging` time out.
    fn round(in_flight: &mut InFlight, start: Instant, posts: usize, hanging: usize) {
        let befores: Vec<Before> = (0..posts).map(|_| in_flight.take()).collect();
        befores[hanging..].iter().for_each(|_| in_flight.ended(true));
        befores[..hanging].iter().for_each(|before| in_flight.timed_out(start + TIMEOUT, start, *before));
        for _ in &befores {
            in_flight.free();
        }
    }

    #[test]
    fn widespread_timeouts_halve_it_once_in_the_time_of_a_post() {
        let mut in_flight = InFlight::new(64);
        let mut start = Instant::now();
        for expected in [32, 16, 8, 4, 4] {
            round(&mut in_flight, start, 40, 40);
            assert_eq!(in_flight.limit(), expected);
            start += TIMEOUT;
        }
    }

    #[test]
    fn an_outage_counts_as_one_as_long_as_it_lasts() {
        let mut in_flight = InFlight::new(64);
        let mut now = Instant::now();
        for _ in 0..60 {
            let (start, posts) = (now, in_flight.limit());
            round(&mut in_flight, start, posts, posts);
            now += TIMEOUT;
        }
        assert_eq!(in_flight.limit(), FLOOR);
        assert!(in_flight.is_cut_lately(now));
    }

    #[test]
    fn a_few_that_hang_are_not_widespread() {
        let mut in_flight = InFlight::new(64);
        let start = Instant::now();
        round(&mut in_flight, start, 10, 4);
        round(&mut in_flight, start + TIMEOUT, 5_000, 20);
        assert_eq!(in_flight.limit(), 64);
    }

    /// In each of many small broadcasts one client hangs: there are never enough answers in a row to raise the limit.
    #[test]
    fn a_quiet_environment_gets_over_a_cut_with_time() {
        let mut in_flight = InFlight::new(64);
        let start = Instant::now();
        round(&mut in_flight, start, 40, 40);
        let cut = start + TIMEOUT;
        assert!(in_flight.is_cut_lately(cut) && in_flight.is_cut_lately(cut + LATELY / 2));
        (1..=20).for_each(|number| round(&mut in_flight, cut + number * TIMEOUT, 5, 1));
        assert_eq!(in_flight.limit(), 32);
        assert!(!in_flight.is_cut_lately(cut + LATELY));
    }

    /// After an outage only a small room is left, in which as many clients hang as there are places.
    #[test]
    fn clients_that_hang_do_not_prolong_an_outage_that_is_over() {
        let mut in_flight = InFlight::new(64);
        let mut now = Instant::now();
        for _ in 0..4 {
            round(&mut in_flight, now, 40, 40);
            now += TIMEOUT;
        }
        assert_eq!(in_flight.limit(), FLOOR);
        let over = now;
        for _ in 0..20 {
            round(&mut in_flight, now, 10, FLOOR);
            now += TIMEOUT;
        }
        assert!(now >= over + LATELY && !in_flight.is_cut_lately(now));
    }

    #[test]
    fn an_outage_with_an_answer_in_between_goes_on() {
        let mut in_flight = InFlight::new(64);
        let mut now = Instant::now();
        for hanging in [40, 40, 40, 40].into_iter().chain([FLOOR; 10]) {
            round(&mut in_flight, now, 1, 0);
            round(&mut in_flight, now, hanging, hanging);
            // The HTTP connection breaks.
            in_flight.ended(false);
            now += TIMEOUT;
        }
        assert_eq!(in_flight.limit(), FLOOR);
        assert!(in_flight.is_cut_lately(now + LATELY / 2));
    }

    #[test]
    fn answers_bring_it_back_one_by_one() {
        let mut in_flight = InFlight::new(16);
        round(&mut in_flight, Instant::now(), 16, 16);
        assert_eq!(in_flight.limit(), 8);
        let steps: Vec<usize> = (0..64)
            .map(|_| {
                in_flight.ended(true);
                in_flight.limit()
            })
            .collect();
        assert!(steps.windows(2).all(|step| step[1] <= step[0] + 1));
        assert_eq!(steps.last(), Some(&16));
        assert!(!in_flight.is_cut_lately(Instant::now()), "as many as ever");
    }

    #[test]
    fn a_small_limit_is_never_raised_to_the_floor() {
        let mut in_flight = InFlight::new(2);
        round(&mut in_flight, Instant::now(), 16, 16);
        assert_eq!(in_flight.limit(), 2);
    }
}

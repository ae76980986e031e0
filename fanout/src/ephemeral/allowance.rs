//! The posts of ephemeral messages that an environment may make.

/// Environments that share the stack's rate: the `MaximumConcurrency` of the function's queue.
const ENVIRONMENTS: f64 = 2.0;

/// Seconds of its rate that an environment saves up. The queue collects a batch for as long, so the rooms of one batch
/// are paid for together.
const SAVED_SECONDS: f64 = 1.0;

/// The allowance of an environment. It starts with nothing and may go into debt for one frame: from its start on, an
/// environment makes at most (rate x time) posts and those of one frame.
///
/// Times are in microseconds since the Unix epoch: unlike a process's own clock, the wall clock goes on while Lambda
/// has frozen the environment.
#[derive(Debug)]
pub struct Allowance {
    posts_per_second: f64,
    /// Posts that may be made; below zero, posts that were made on credit.
    balance: f64,
    counted_at: u64,
}

impl Allowance {
    /// The allowance of one environment, given the stack's rate in posts a second.
    #[must_use]
    pub fn new(stack_posts_per_second: u32, now: u64) -> Self {
        Self { posts_per_second: f64::from(stack_posts_per_second) / ENVIRONMENTS, balance: 0.0, counted_at: now }
    }

    /// Whether the next frame can be paid for, whatever it costs: whether there is no debt.
    pub fn can_pay(&mut self, now: u64) -> bool {
        self.earn(now);
        self.balance >= 0.0
    }

    /// Pays for a frame's posts, unless there is still a debt. Returns whether it paid.
    pub fn pay(&mut self, posts: usize, now: u64) -> bool {
        let can_pay = self.can_pay(now);
        if can_pay {
            self.balance -= f64::from(u32::try_from(posts).unwrap_or(u32::MAX));
        }
        can_pay
    }

    fn earn(&mut self, now: u64) {
        // A clock that was set back takes nothing away.
        let seconds = std::time::Duration::from_micros(now.saturating_sub(self.counted_at)).as_secs_f64();
        self.counted_at = now;
        self.balance = (self.balance + self.posts_per_second * seconds).min(self.posts_per_second * SAVED_SECONDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000_000;
    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_frame_is_owed_for_and_the_next_one_waits_until_it_is_earned() {
        let mut allowance = Allowance::new(1_000, START);
        assert!(allowance.pay(1_000, START), "the first one");
        assert!(!allowance.pay(1, START + SECOND), "half of the rate is this environment's");
        assert!(!allowance.can_pay(START + 2 * SECOND - 1_000));
        assert!(allowance.pay(1_000, START + 2 * SECOND));
    }

    #[test]
    fn idleness_saves_up_no_more_than_a_second() {
        let mut allowance = Allowance::new(1_000, START);
        let later = START + 3_600 * SECOND;
        let paid = (0..1_000).take_while(|_| allowance.pay(10, later)).count();
        assert_eq!(paid, 51, "500 posts, and one frame that is owed for");
    }

    #[test]
    fn posts_are_never_more_than_the_rate_and_one_frame() {
        fastrand::seed(7);
        for _ in 0..50 {
            let (mut allowance, mut now, mut posts, most) = (Allowance::new(1_000, START), START, 0, 700);
            for _ in 0..2_000 {
                now += fastrand::u64(0..2 * SECOND) / fastrand::u64(1..100);
                let frame = fastrand::usize(0..=most);
                posts += if allowance.pay(frame, now) { frame } else { 0 };
                let earned = 500 * (now - START) / SECOND + 1;
                assert!(posts as u64 <= earned + most as u64, "{posts} posts, {earned} earned");
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_back_takes_nothing_away() {
        let mut allowance = Allowance::new(1_000, START);
        assert!(allowance.pay(0, START + SECOND) && allowance.pay(500, START) && allowance.can_pay(START));
    }
}

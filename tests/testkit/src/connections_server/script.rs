//! The answers that a connection's posts meet, one after another.

use std::collections::VecDeque;

use super::Scripted;

/// First the queued answers in turn, then the same answer for ever.
#[derive(Clone, Debug)]
pub struct Script {
    queue: VecDeque<Scripted>,
    then: Then,
}

#[derive(Clone, Debug)]
enum Then {
    Always(Scripted),
    Random { generator: fastrand::Rng, rate: f64, hit: Scripted, otherwise: Scripted },
}

impl Script {
    /// The same answer every time.
    pub fn always(answer: Scripted) -> Self {
        Self { queue: VecDeque::new(), then: Then::Always(answer) }
    }

    /// These answers, then 200.
    pub fn queue(answers: impl IntoIterator<Item = Scripted>) -> Self {
        Self { queue: answers.into_iter().collect(), then: Then::Always(Scripted::ok()) }
    }

    /// `hit` for this share of the posts (0 to 1), otherwise 200. The same seed gives the same answers.
    pub fn random(seed: u64, rate: f64, hit: Scripted) -> Self {
        let generator = fastrand::Rng::with_seed(seed);
        Self { queue: VecDeque::new(), then: Then::Random { generator, rate, hit, otherwise: Scripted::ok() } }
    }

    /// Like [`random`](Self::random), with a seed for each connection, so that its answers do not depend on the order
    /// in which connections are posted to.
    pub fn random_for(connection_id: &str, seed: u64, rate: f64, hit: Scripted) -> Self {
        let mixed = connection_id.bytes().fold(seed, |mixed, byte| {
            // The multiplier of FNV-1a; any other would do that spreads ids over seeds.
            (mixed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self::random(mixed, rate, hit)
    }

    /// The answer that follows the queue, instead of 200.
    #[must_use]
    pub fn then(mut self, answer: Scripted) -> Self {
        self.then = Then::Always(answer);
        self
    }

    pub(super) fn next(&mut self) -> Scripted {
        if let Some(answer) = self.queue.pop_front() {
            return answer;
        }
        match &mut self.then {
            Then::Always(answer) => answer.clone(),
            Then::Random { generator, rate, hit, otherwise } => {
                if generator.f64() < *rate {
                    hit.clone()
                } else {
                    otherwise.clone()
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statuses(script: &mut Script, count: usize) -> Vec<u16> {
        (0..count).filter_map(|_| script.next().status()).collect()
    }

    #[test]
    fn a_queue_is_followed_by_its_end() {
        let queue = || Script::queue([Scripted::throttled(), Scripted::internal_error()]);
        assert_eq!(statuses(&mut queue(), 4), [429, 500, 200, 200]);
        assert_eq!(statuses(&mut queue().then(Scripted::gone()), 4), [429, 500, 410, 410]);
    }

    #[test]
    fn random_answers_repeat_with_their_seed_and_keep_their_rate() {
        let mut script = Script::random_for("a", 7, 0.3, Scripted::gone());
        let first = statuses(&mut script, 1_000);
        assert_eq!(first, statuses(&mut Script::random_for("a", 7, 0.3, Scripted::gone()), 1_000));
        assert_ne!(first, statuses(&mut Script::random_for("b", 7, 0.3, Scripted::gone()), 1_000));
        let gone = first.iter().filter(|status| **status == 410).count();
        assert!((250..350).contains(&gone), "{gone}");
    }
}

//! Waiting for what will be, without guessing how long it takes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Long enough for anything on a busy machine; nobody waits that long unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(50);

/// Asks until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(POLL).await;
    }
}

/// A seed of random choices, told when the scenario fails.
pub(crate) struct Seed(pub(crate) u64);

pub(crate) fn seed() -> Seed {
    Seed(testkit::seeds::one())
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[allow(clippy::print_stderr, reason = "beside the panic's own message")]
            {
                eprintln!("to make the same random choices: ROOMCAST_SEED={}", self.0);
            }
        }
    }
}

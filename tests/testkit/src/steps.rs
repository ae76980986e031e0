//! The steps of a function between its calls. It can be stopped at any of them, for a while or for good.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use tokio::sync::Notify;

/// The steps of one environment; clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Steps(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    left: Mutex<Option<u64>>,
    stopped: Notify,
    released: Notify,
}

impl Steps {
    /// Stops the environment after so many steps.
    pub fn stop_after(&self, steps: u64) {
        *self.0.left.lock().unwrap() = Some(steps);
    }

    /// Stops the environment no more.
    pub fn run_free(&self) {
        *self.0.left.lock().unwrap() = None;
    }

    /// Waits until the environment is stopped.
    pub async fn stopped(&self) {
        self.0.stopped.notified().await;
    }

    /// Lets the environment go on.
    pub fn release(&self) {
        self.0.released.notify_one();
    }

    /// Marks a step of the environment, which waits here when it is to be stopped.
    pub async fn pass(&self) {
        let is_stop = {
            let mut left = self.0.left.lock().unwrap();
            let is_stop = *left == Some(0);
            *left = left.and_then(|left| left.checked_sub(1));
            is_stop
        };
        if is_stop {
            self.0.stopped.notify_one();
            self.0.released.notified().await;
        }
    }
}

/// Drives a future until it is done, but polls it only so many times; then it is dropped.
pub async fn polled_at_most<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(move |context| match left.checked_sub(1) {
        None => Poll::Ready(None),
        Some(fewer) => {
            left = fewer;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stop_lasts_until_it_is_released_and_comes_once() {
        let steps = Steps::default();
        steps.stop_after(1);
        steps.pass().await;
        let ((), ()) = tokio::join!(steps.pass(), async {
            steps.stopped().await;
            steps.release();
        });
        steps.pass().await;
        steps.run_free();
    }
}

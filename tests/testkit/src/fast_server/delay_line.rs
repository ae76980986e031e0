//! A constant delay, more exact than the runtime's timer.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Makes all callers wait for the same time.
///
/// Tokio's timer counts whole milliseconds and rounds up, twice on the way to `epoll`: 10 ms become up to 12, which a
/// benchmark would charge to the client. A thread that sleeps is exact to some 60 us, and with a constant delay the
/// callers are already in the order in which they leave.
#[derive(Debug)]
pub(super) struct DelayLine {
    delay: Duration,
    line: Arc<Line>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<(Instant, oneshot::Sender<()>)>,
    closed: bool,
}

impl DelayLine {
    pub(super) fn start(delay: Duration) -> Self {
        let line = Arc::new(Line::default());
        let threads_line = Arc::clone(&line);
        std::thread::Builder::new().name("delay-line".to_owned()).spawn(move || threads_line.release_due()).unwrap();
        Self { delay, line }
    }

    /// Waits until the delay after `since` is over. Calls must come with non-decreasing times.
    pub(super) async fn wait(&self, since: Instant) {
        let (sender, due) = oneshot::channel();
        let first = {
            let mut waiting = self.line.waiting.lock().unwrap();
            waiting.queue.push_back((since + self.delay, sender));
            waiting.queue.len() == 1
        };
        if first {
            self.line.changed.notify_one();
        }
        // The thread ends only with the line, so the sender is always used.
        let _ = due.await;
    }
}

impl Drop for DelayLine {
    fn drop(&mut self) {
        self.line.waiting.lock().unwrap().closed = true;
        self.line.changed.notify_one();
    }
}

impl Line {
    fn release_due(&self) {
        while let Some(due) = self.next_due() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            let mut waiting = self.waiting.lock().unwrap();
            while let Some((due, _)) = waiting.queue.front()
                && *due <= now
                && let Some((_, sender)) = waiting.queue.pop_front()
            {
                // The caller may have been dropped.
                let _ = sender.send(());
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let mut waiting = self.waiting.lock().unwrap();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some((due, _)) = waiting.queue.front() {
                return Some(*due);
            }
            waiting = self.changed.wait(waiting).unwrap();
        }
    }
}

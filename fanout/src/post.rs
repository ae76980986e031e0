//! Posting: workers take deliveries from the board, each over its own lane. One connection's frames go out one after
//! another, different connections' side by side.

use std::time::Duration;

use futures::{StreamExt, stream::FuturesUnordered};
use shared::{ConnectionId, clock::Clock};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    board::{Board, Delivery},
    config::PostConfig,
    connections_api::{ConnectionsApi, Outcome},
    control::{Admission, Control},
    gone::Gone,
    retry::{RetryBudget, backoff},
    strikes::Strikes,
};

/// Attempts that a post may make more than `FANOUT_MAX_ATTEMPTS` while throttling is widespread: then it is the account's rate
/// that is exceeded, which is not the connection's fault, and which the control is about to mend.
const ATTEMPTS_WHILE_THROTTLED: u32 = 12;

/// What outlives an invocation: what has been learnt about the account's rate, and about connections that keep failing.
#[derive(Debug)]
pub struct PostState {
    config: PostConfig,
    control: Control,
    budget: RetryBudget,
    strikes: Strikes,
}

impl PostState {
    /// For a new environment.
    #[must_use]
    pub fn new(config: PostConfig) -> Self {
        Self {
            config,
            control: Control::new(config.concurrency, config.max_per_second),
            budget: RetryBudget::default(),
            strikes: Strikes::default(),
        }
    }
}

/// The workers of one invocation.
pub struct Workers<'a, P, C> {
    /// What outlives the invocation.
    pub state: &'a PostState,
    /// Where to post.
    pub connections_api: &'a P,
    /// The time, for the age of rows.
    pub clock: &'a C,
    /// Where deliveries come from.
    pub board: &'a Board,
    /// Where connections go that are gone.
    pub gone: mpsc::Sender<Gone>,
    /// Where connections go that keep failing.
    pub failing: mpsc::UnboundedSender<ConnectionId>,
}

/// How a delivery goes on after a post.
enum Next {
    Frame,
    Retry(Duration),
    Settled,
    Dropped,
}

impl<P: ConnectionsApi, C: Clock> Workers<'_, P, C> {
    /// Works until the board is closed and empty. Dropping the future ends all posts at once.
    pub async fn run(self) {
        let workers: FuturesUnordered<_> = (0..self.state.config.concurrency).map(|index| self.work(index)).collect();
        workers.collect::<()>().await;
    }

    async fn work(&self, index: usize) {
        loop {
            if !self.state.control.has_turn(index) {
                tokio::select! { () = self.state.control.turn(index) => {}, () = self.board.closed() => {} }
            }
            let Some(delivery) = self.board.next().await else { break };
            self.deliver(delivery).await;
        }
    }

    async fn deliver(&self, mut delivery: Delivery) {
        while let Some(frame) = delivery.broadcast.frames.get(delivery.frame) {
            let admission = self.state.control.admit().await;
            delivery.attempts += 1;
            let outcome = self.connections_api.post(&delivery.member.connection, frame).await;
            self.note(&delivery, admission, outcome);
            match self.judge(&delivery, outcome).await {
                Next::Frame => {
                    delivery.frame += 1;
                    delivery.attempts = 0;
                }
                Next::Retry(wait) => {
                    let due = Instant::now() + wait;
                    match self.board.park(delivery, due) {
                        Ok(()) => return,
                        Err(back) => delivery = back,
                    }
                    sleep_until(due).await;
                }
                Next::Settled => return self.board.settle(delivery.room),
                Next::Dropped => return,
            }
        }
        self.state.strikes.clear(&delivery.member.connection);
        self.board.count(delivery.room, |tally| tally.delivered += 1);
        self.board.settle(delivery.room);
    }

    fn note(&self, delivery: &Delivery, admission: Admission, outcome: Outcome) {
        let first = delivery.attempts == 1;
        self.state.control.record(admission, outcome, first);
        self.state.budget.deposit();
        self.board.count(delivery.room, |tally| {
            tally.posts += 1;
            tally.retries += u64::from(!first);
            tally.throttled += u64::from(matches!(outcome, Outcome::Throttled { .. }));
            tally.too_large += u64::from(outcome == Outcome::TooLarge);
        });
    }

    async fn judge(&self, delivery: &Delivery, outcome: Outcome) -> Next {
        match outcome {
            // A frame that is too large will always be; the client sees the gap and reads the log.
            Outcome::Delivered | Outcome::TooLarge => Next::Frame,
            Outcome::Gone => self.lose(delivery).await,
            Outcome::Rejected => self.give_up(delivery),
            Outcome::Misconfigured(failure) => {
                self.board.fail(delivery.room, failure);
                Next::Dropped
            }
            Outcome::Throttled { retry_after } => {
                let widespread = self.state.control.is_throttled();
                let most = self.state.config.max_attempts.max(if widespread { ATTEMPTS_WHILE_THROTTLED } else { 0 });
                let wait = (delivery.attempts < most).then(|| backoff(delivery.attempts, retry_after)).flatten();
                wait.map_or_else(|| self.give_up(delivery), Next::Retry)
            }
            Outcome::Failed | Outcome::TimedOut | Outcome::Unreachable => {
                let again = delivery.attempts < self.state.config.max_attempts && self.state.budget.withdraw();
                let wait = again.then(|| backoff(delivery.attempts, None)).flatten();
                wait.map_or_else(|| self.give_up(delivery), Next::Retry)
            }
        }
    }

    async fn lose(&self, delivery: &Delivery) -> Next {
        let member = &delivery.member;
        let age = Duration::from_millis(self.clock.unix_millis().saturating_sub(member.joined_at));
        if age < self.state.config.gone_grace {
            self.board.count(delivery.room, |tally| tally.spared += 1);
            return Next::Settled;
        }
        self.state.strikes.clear(&member.connection);
        self.board.count(delivery.room, |tally| tally.gone += 1);
        let room = delivery.broadcast.room.clone();
        // The receiver is gone only when the invocation is over.
        let _ = self.gone.send(Gone { room, connection: member.connection.clone() }).await;
        Next::Settled
    }

    fn give_up(&self, delivery: &Delivery) -> Next {
        self.board.count(delivery.room, |tally| tally.undelivered += 1);
        let connection = &delivery.member.connection;
        // When many fail, it is not the connections' fault.
        if !self.state.control.is_struggling() && self.state.strikes.missed(connection) {
            let _ = self.failing.send(connection.clone());
        }
        Next::Settled
    }
}

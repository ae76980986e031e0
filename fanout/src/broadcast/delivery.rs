//! A delivery: one connection's part of a broadcast, its frames one after another.

use std::time::Duration;

use shared::{clock::Clock, store::connections::Member};
use tokio::time::Instant;

use super::{Begun, Broadcaster, UnderWay, gone::Gone, interruption::Interruption, open_slots::Ticket};
use crate::{
    connections_api::{ConnectionsApi, Outcome},
    frame::EncodedFrame,
    limit::{Order, Permit, retry_delay, retry_delay_after},
};

/// The wait between a first 410 and the post that confirms it. API Gateway also answers 410 during a handshake, and now
/// and then for a living connection.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);

/// A delivery under way.
struct Delivery<'a> {
    under_way: &'a UnderWay<'a>,
    member: &'a Member,
    ticket: Ticket,
    /// One for a connection that missed the previous broadcast, so that it does not hold up its room each time.
    most_attempts: u32,
}

/// The attempts that were made to deliver a frame.
#[derive(Clone, Copy)]
struct Tries {
    /// Attempts made.
    attempt: u32,
    /// An earlier attempt was answered 410.
    was_gone: bool,
    /// A post to anybody was answered since the frame's first attempt.
    is_anybody_there: bool,
}

/// The end of one frame's attempts.
enum FrameEnd {
    /// The connection has it.
    Delivered,
    /// API Gateway will never take it. The client sees the gap in the numbers and reads the log.
    TooLarge,
    /// The connection gets no more of this broadcast.
    Over,
}

/// The reaction to an attempt's outcome.
enum NextStep {
    End(FrameEnd),
    Retry(Duration),
    ConfirmGone,
    Remove,
    Miss,
    Fail(Interruption),
}

impl<A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> Broadcaster<A, C> {
    /// Posts a broadcast's frames to a member whose turn has come.
    pub(super) async fn deliver<'a>(
        &'a self,
        under_way: &'a UnderWay<'a>,
        begun: Begun<'a>,
    ) -> Result<(), Interruption> {
        let Begun { member, ticket, permit } = begun;
        let has_missed = self.misses.has_missed(&member.connection);
        let delivery = Delivery {
            under_way,
            member: &member,
            ticket,
            most_attempts: if has_missed { 1 } else { self.config.max_attempts },
        };
        let mut permit = Some(permit);
        let mut has_all = true;
        for frame in under_way.frames {
            match self.post_frame(&delivery, frame, &mut permit).await? {
                FrameEnd::Delivered => {}
                FrameEnd::TooLarge => has_all = false,
                FrameEnd::Over => {
                    under_way.open.borrow_mut().settle(delivery.ticket);
                    return Ok(());
                }
            }
        }
        self.misses.clear(&member.connection);
        under_way.count(|stats| {
            stats.delivered += u64::from(has_all);
            stats.undelivered += u64::from(!has_all);
        });
        under_way.open.borrow_mut().settle(delivery.ticket);
        Ok(())
    }

    async fn post_frame<'a>(
        &'a self,
        delivery: &Delivery<'a>,
        frame: &EncodedFrame,
        permit: &mut Option<Permit<'a>>,
    ) -> Result<FrameEnd, Interruption> {
        let Delivery { under_way, member, .. } = delivery;
        let mut attempt = 1;
        let mut was_gone = false;
        let mut refused_since = None;
        let answered_before = under_way.answered.get();
        loop {
            // A permit is held for the post alone: a slow client that waits for its retry holds nothing.
            let permit = match permit.take() {
                Some(permit) => permit,
                None => under_way.turns.acquire(Order::Next).await,
            };
            let started = permit.started();
            under_way.open.borrow_mut().set_failing(delivery.ticket, false);
            let outcome = self.api.post(&member.connection, frame).await;
            permit.record(outcome, attempt);
            under_way.answered.set(under_way.answered.get() + u64::from(outcome.is_answer()));
            if matches!(outcome, Outcome::Throttled { .. }) {
                refused_since = refused_since.or(Some(started));
            }
            self.retries.deposit();
            under_way.count(|stats| {
                stats.posts += 1;
                stats.retries += u64::from(attempt > 1);
                stats.throttled += u64::from(matches!(outcome, Outcome::Throttled { .. }));
                stats.too_large += u64::from(outcome == Outcome::TooLarge);
                stats.revived += u64::from(was_gone && outcome == Outcome::Delivered);
            });
            let is_anybody_there = under_way.answered.get() > answered_before;
            let wait = match self.next_step(delivery, outcome, Tries { attempt, was_gone, is_anybody_there }) {
                NextStep::End(end) => return Ok(end),
                NextStep::Remove => {
                    self.remove(delivery);
                    return Ok(FrameEnd::Over);
                }
                NextStep::Miss => {
                    self.miss(delivery, refused_since.filter(|_| matches!(outcome, Outcome::Throttled { .. })));
                    return Ok(FrameEnd::Over);
                }
                NextStep::Fail(error) => return Err(error),
                NextStep::Retry(wait) => wait,
                NextStep::ConfirmGone => {
                    was_gone = true;
                    // The wait is spread, so that connections that left together are not all asked again at the same
                    // moment.
                    CONFIRM_AFTER + CONFIRM_AFTER.mul_f64(0.25 * fastrand::f64())
                }
            };
            under_way.open.borrow_mut().set_failing(delivery.ticket, true);
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    fn next_step(&self, delivery: &Delivery<'_>, outcome: Outcome, tries: Tries) -> NextStep {
        let Tries { attempt, was_gone, is_anybody_there } = tries;
        let most = delivery.most_attempts;
        match outcome {
            Outcome::Delivered => NextStep::End(FrameEnd::Delivered),
            Outcome::TooLarge => NextStep::End(FrameEnd::TooLarge),
            Outcome::Gone if was_gone => NextStep::Remove,
            Outcome::Gone => NextStep::ConfirmGone,
            Outcome::Rejected => NextStep::Miss,
            Outcome::Misconfigured(error) => NextStep::Fail(error.into()),
            // A 429 is mostly due to the account's rate, which is not the connection's fault: it gets all its attempts
            // even if it missed the previous broadcast.
            Outcome::Throttled { retry_after } => {
                let most = self.limiter.max_attempts(self.config.max_attempts);
                let wait = (attempt < most).then(|| retry_delay_after(attempt, retry_after)).flatten();
                wait.map_or(NextStep::Miss, NextStep::Retry)
            }
            // Nothing could be sent, which is no connection's fault. As long as other posts are answered, over
            // connections that are open already, this one is tried again; when none is, its attempts are limited, and
            // the room's records go back to the queue.
            Outcome::Unreachable if is_anybody_there || attempt < self.config.max_attempts => {
                NextStep::Retry(retry_delay(attempt))
            }
            Outcome::Unreachable => NextStep::Fail(Interruption::Unreachable),
            Outcome::Failed | Outcome::TimedOut => {
                let again = attempt < most && self.retries.withdraw();
                if again { NextStep::Retry(retry_delay(attempt)) } else { NextStep::Miss }
            }
        }
    }

    /// Has the connection's row deleted, since two posts were answered 410, unless the row is younger than a handshake
    /// may take. API Gateway now and then answers 410 for a living connection: closing it has its client connect anew.
    fn remove(&self, delivery: &Delivery<'_>) {
        let Delivery { under_way, member, .. } = delivery;
        let age = Duration::from_millis(self.clock.unix_millis().saturating_sub(member.joined_at));
        if age < self.config.gone_grace {
            under_way.count(|stats| stats.spared += 1);
            return;
        }
        self.misses.clear(&member.connection);
        under_way.count(|stats| stats.gone += 1);
        under_way.invocation.close_if_it_lives(&member.connection);
        let gone = Gone { room: under_way.room.clone(), connection: member.connection.clone() };
        // When the channel is full or closed, the row stays, and the next broadcast finds the connection gone again.
        let _ = under_way.invocation.gone.try_send(gone);
    }

    /// The connection did not get a frame. That counts against it unless so much goes wrong that no single connection
    /// is at fault. `refused_since` is the start of its first post that was answered 429, if that is the reason.
    fn miss(&self, delivery: &Delivery<'_>, refused_since: Option<Instant>) {
        let Delivery { under_way, member, .. } = delivery;
        under_way.count(|stats| stats.undelivered += 1);
        let is_its_own_fault = match refused_since {
            Some(since) => self.limiter.is_slow_connection(since),
            None => !self.limiter.is_struggling(),
        };
        if is_its_own_fault {
            self.missed(under_way, &member.connection);
        }
    }
}

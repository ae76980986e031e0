//! A delivery: one connection's part of a broadcast, its frames one after another.

use std::time::Duration;

use shared::{clock::Clock, store::connections::Member};
use tokio::time::Instant;

use super::{
    Begun, Broadcaster, UnderWay,
    gone::Gone,
    interruption::Interruption,
    open_slots::{Setback, Ticket},
};
use crate::{
    connections_api::{ConnectionsApi, NextStep, Outcome, Tries},
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

/// The posts of one frame to one connection so far.
struct Posts {
    made: u32,
    /// Those among them that found the endpoint: others are no attempts at this connection.
    attempts: u32,
    /// One was answered 410.
    was_gone: bool,
    /// The start of the first that was answered 429.
    refused_since: Option<Instant>,
    /// See [`Tries::unreachable`].
    unreachable: u32,
    /// Posts of the whole broadcast that had been answered when the last one ended.
    answered: u64,
}

impl Posts {
    fn none(under_way: &UnderWay<'_>) -> Self {
        let answered = under_way.answered.get();
        Self { made: 0, attempts: 0, was_gone: false, refused_since: None, unreachable: 0, answered }
    }

    fn note(&mut self, outcome: Outcome, started: Instant, under_way: &UnderWay<'_>) {
        let is_unreachable = outcome == Outcome::Unreachable;
        self.made += 1;
        self.attempts += u32::from(!is_unreachable);
        if outcome.is_throttled() {
            self.refused_since.get_or_insert(started);
        }
        let answered = under_way.answered.get();
        let is_anybody_there = answered > std::mem::replace(&mut self.answered, answered);
        self.unreachable = if is_anybody_there { 0 } else { self.unreachable + u32::from(is_unreachable) };
    }
}

fn setback(outcome: Outcome) -> Setback {
    match outcome {
        Outcome::Gone => Setback::MayBeGone,
        Outcome::Unreachable => Setback::Unreachable,
        _ => Setback::Failed,
    }
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

    /// Posts a frame until the connection has it, or gets no more.
    async fn post_frame<'a>(
        &'a self,
        delivery: &Delivery<'a>,
        frame: &EncodedFrame,
        permit: &mut Option<Permit<'a>>,
    ) -> Result<FrameEnd, Interruption> {
        let under_way = delivery.under_way;
        let mut posts = Posts::none(under_way);
        loop {
            // A permit is held for the post alone: a slow client that waits for its retry holds nothing.
            let permit = match permit.take() {
                Some(permit) => permit,
                None => under_way.turns.acquire(Order::Next).await,
            };
            under_way.open.borrow_mut().begin(delivery.ticket);
            let outcome = self.post_once(delivery, frame, permit, &mut posts).await;
            let pause = match outcome.next_step(self.tries(delivery, &posts)) {
                NextStep::GoOn => return Ok(FrameEnd::Delivered),
                NextStep::LeaveOut => return Ok(FrameEnd::TooLarge),
                NextStep::Remove => {
                    self.remove(delivery);
                    return Ok(FrameEnd::Over);
                }
                NextStep::StopMisconfigured(error) => return Err(error.into()),
                NextStep::StopUnreachable => return Err(Interruption::Unreachable),
                NextStep::Retry => Some(retry_delay(posts.made)),
                NextStep::RetryWithinBudget => self.retries.withdraw().then(|| retry_delay(posts.made)),
                NextStep::RetryAfter(retry_after) => retry_delay_after(posts.made, retry_after),
                // The wait is spread, so that connections that left together are not all asked again at the same
                // moment.
                NextStep::ConfirmGone => Some(CONFIRM_AFTER + CONFIRM_AFTER.mul_f64(0.25 * fastrand::f64())),
                NextStep::Miss => None,
            };
            let Some(pause) = pause else {
                self.miss(delivery, posts.refused_since.filter(|_| outcome.is_throttled()));
                return Ok(FrameEnd::Over);
            };
            posts.was_gone |= outcome == Outcome::Gone;
            under_way.open.borrow_mut().wait_again(delivery.ticket, setback(outcome));
            tokio::time::sleep(pause).await;
        }
    }

    /// Posts a frame once, and learns from the outcome.
    async fn post_once(
        &self,
        delivery: &Delivery<'_>,
        frame: &EncodedFrame,
        permit: Permit<'_>,
        posts: &mut Posts,
    ) -> Outcome {
        let Delivery { under_way, member, .. } = delivery;
        let started = permit.started();
        let outcome = self.api.post(&member.connection, frame).await;
        under_way.answered.set(under_way.answered.get() + u64::from(outcome.is_answer()));
        posts.note(outcome, started, under_way);
        permit.record(outcome, posts.attempts);
        self.retries.deposit();
        under_way.count(|stats| {
            stats.posts += 1;
            stats.retries += u64::from(posts.made > 1);
            stats.throttled += u64::from(outcome.is_throttled());
            stats.too_large += u64::from(outcome == Outcome::TooLarge);
            stats.revived += u64::from(posts.was_gone && outcome == Outcome::Delivered);
        });
        outcome
    }

    fn tries(&self, delivery: &Delivery<'_>, posts: &Posts) -> Tries {
        Tries {
            attempt: posts.attempts,
            was_gone: posts.was_gone,
            unreachable: posts.unreachable,
            most_failing: delivery.most_attempts,
            most_throttled: self.limiter.max_attempts(self.config.max_attempts),
            most_unreachable: self.config.max_attempts,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_may_be_the_connections_fault() {
        let setbacks = [Outcome::Gone, Outcome::Unreachable, Outcome::Failed, Outcome::TimedOut].map(setback);
        assert_eq!(setbacks, [Setback::MayBeGone, Setback::Unreachable, Setback::Failed, Setback::Failed]);
    }
}

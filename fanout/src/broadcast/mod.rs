//! Posting frames to the members of a room, in the order of their slots.
//!
//! Members come page by page ([`members`]). Each waits for its turn at the rate limiter; its posts are then a delivery
//! (`delivery`): the frames of one connection are posted one after another, different connections side by side. When
//! the time is up, [`open_slots`] says which slots still lack the frames.

mod delivery;
pub mod gone;
pub mod interruption;
mod lately;
pub mod members;
pub mod open_slots;
pub mod stats;

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    pin::pin,
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, future::Either, stream};
use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    metrics::{
        Metrics,
        names::{CONCURRENCY, RATE},
    },
    store::{StoreError, connections::Member},
    trace::TraceHeader,
};
use tokio::sync::mpsc;

use self::{
    gone::Gone,
    interruption::Interruption,
    lately::Lately,
    members::Members,
    open_slots::{GivenUp, OpenSlots, Ticket},
    stats::BroadcastStats,
};
use crate::{
    config::PostConfig,
    connections_api::ConnectionsApi,
    deadline::Deadline,
    frame::{self, EncodedFrame},
    limit::{ConsecutiveMisses, Order, Permit, RateLimiter, RetryBudget, Turns},
    resume::Slots,
};

/// The most deliveries of a broadcast that have begun and not ended: those in flight and those that wait for another
/// attempt. It bounds the memory of a broadcast, whatever the room's size.
const MOST_OPEN: usize = 1_024;

/// The interval at which a long broadcast writes its progress down: an environment that is killed repeats the posts of
/// this time at most.
const CHECKPOINT: Duration = Duration::from_secs(5);

/// The most connections of each kind (failing, or gone) that are closed at the end of one invocation.
const MOST_CLOSED: usize = 100;

/// Posts broadcasts. There is one for each environment: it remembers what has been learnt about the account's rate, and
/// which connections keep failing.
#[derive(Debug)]
pub struct Broadcaster<A, C> {
    api: A,
    clock: C,
    config: PostConfig,
    limiter: RateLimiter,
    retries: RetryBudget,
    misses: ConsecutiveMisses,
    lately: Lately,
}

/// The state that all broadcasts of one invocation share.
#[derive(Debug)]
pub struct Invocation<'a> {
    /// The deadline of its work.
    pub deadline: Deadline,
    /// Its metrics.
    pub metrics: &'a Metrics,
    /// Its trace.
    pub trace: Option<TraceHeader>,
    gone: mpsc::Sender<Gone>,
    failing: RefCell<Vec<ConnectionId>>,
    gone_for_good: RefCell<Vec<ConnectionId>>,
    stats: Cell<BroadcastStats>,
}

/// The end of a broadcast.
#[derive(Debug)]
pub enum Posted {
    /// Each member has it or is known to have missed it.
    ToAll,
    /// It was interrupted.
    ToSome {
        /// The slots that lack it.
        lacking: Slots,
        /// Whether this call got further: whether any member has got it or missed it during the call.
        got_further: bool,
        /// The reason for the interruption.
        cause: Interruption,
    },
}

/// A broadcast under way.
struct UnderWay<'a> {
    room: &'a RoomId,
    frames: &'a [EncodedFrame],
    is_last: bool,
    turns: Turns<'a>,
    open: RefCell<OpenSlots>,
    stats: Cell<BroadcastStats>,
    /// Posts that were answered, with any status.
    answered: Cell<u64>,
    invocation: &'a Invocation<'a>,
}

/// The members that a broadcast is posted to.
pub struct Audience<C> {
    /// The slot from which on every member is posted to.
    pub first_slot: u16,
    /// The members of that slot and those after it.
    pub members: Members<C>,
    /// Members of lower slots whose deliveries an earlier invocation left open.
    pub left_open: Vec<Member>,
}

impl UnderWay<'_> {
    fn count(&self, count: impl FnOnce(&mut BroadcastStats)) {
        let mut stats = self.stats.get();
        count(&mut stats);
        self.stats.set(stats);
    }
}

impl<'a> Invocation<'a> {
    /// An invocation with a deadline. Connections that are found gone are sent to `gone`.
    #[must_use]
    pub fn new(deadline: Deadline, gone: mpsc::Sender<Gone>, metrics: &'a Metrics, trace: Option<TraceHeader>) -> Self {
        let (failing, gone_for_good) = (RefCell::default(), RefCell::default());
        Self { deadline, metrics, trace, gone, failing, gone_for_good, stats: Cell::default() }
    }

    fn close_later(&self, connection: &ConnectionId) {
        push_up_to(MOST_CLOSED, &mut self.failing.borrow_mut(), connection);
    }

    fn close_if_it_lives(&self, connection: &ConnectionId) {
        push_up_to(MOST_CLOSED, &mut self.gone_for_good.borrow_mut(), connection);
    }
}

fn push_up_to(most: usize, connections: &mut Vec<ConnectionId>, connection: &ConnectionId) {
    if connections.len() < most {
        connections.push(connection.clone());
    }
}

impl<A: ConnectionsApi, C: Clock + Clone + Send + Sync + 'static> Broadcaster<A, C> {
    /// A broadcaster that has learnt nothing yet.
    pub fn new(api: A, clock: C, config: PostConfig) -> Self {
        Self {
            api,
            clock,
            config,
            limiter: RateLimiter::new(config.concurrency, config.max_per_second),
            retries: RetryBudget::default(),
            misses: ConsecutiveMisses::default(),
            lately: Lately::new(),
        }
    }

    /// The time that one attempt may take.
    pub fn post_timeout(&self) -> Duration {
        self.config.timeout
    }

    /// Records the metrics of an invocation whose broadcasts have ended.
    pub fn measure(&self, invocation: &Invocation<'_>) {
        let metrics = invocation.metrics;
        invocation.stats.get().count(metrics);
        let most_in_flight = self.limiter.take_most_in_flight();
        if most_in_flight > 0 {
            metrics.record(CONCURRENCY, most_in_flight as u64);
        }
        if let Some(rate) = self.limiter.learnt_rate() {
            metrics.record(RATE, rate);
        }
    }

    /// The connections to close after an invocation: those that keep failing while others do not, and those whose rows
    /// are deleted because they are gone. A connection of the second kind that lives after all would get no more
    /// messages until its client syncs; closed, it reconnects at once.
    pub fn closing(&self, invocation: Invocation<'_>) -> Vec<ConnectionId> {
        if invocation.stats.get().is_widely_missed() {
            return Vec::new();
        }
        let mut closing = invocation.gone_for_good.into_inner();
        if !self.lately.is_widely_missed() {
            closing.append(&mut invocation.failing.into_inner());
        }
        // A connection in two rooms may be listed twice.
        closing.sort_unstable();
        closing.dedup();
        closing
    }

    /// The @connections API.
    pub fn api(&self) -> &A {
        &self.api
    }

    /// Posts frames to an audience. `is_last` says that no further message is known, whose number would show a
    /// connection that it has missed one. In a long broadcast `checkpoint` is called now and then with the slots that
    /// still lack the frames.
    pub async fn post(
        &self,
        room: &RoomId,
        frames: &[EncodedFrame],
        is_last: bool,
        audience: Audience<C>,
        invocation: &Invocation<'_>,
        checkpoint: impl AsyncFn(Slots),
    ) -> Posted {
        let mut open = OpenSlots::new(audience.first_slot);
        let left_open: VecDeque<_> =
            audience.left_open.into_iter().map(|member| (open.leave_open(&member.connection), member)).collect();
        let under_way = UnderWay {
            room,
            frames,
            is_last,
            turns: self.limiter.turns(),
            open: RefCell::new(open),
            stats: Cell::default(),
            answered: Cell::default(),
            invocation,
        };
        let end = RefCell::new(End::TimeIsUp);
        let posting = self
            .begun(&under_way, left_open, audience.members, &end)
            .take_until(invocation.deadline.stopped())
            .map(Ok)
            .try_for_each_concurrent(MOST_OPEN, |begun| self.deliver(&under_way, begun));
        let checkpoints = async {
            loop {
                tokio::time::sleep(CHECKPOINT).await;
                let lacking = under_way.open.borrow().lacking();
                checkpoint(lacking).await;
            }
        };
        let posted = invocation.deadline.drain(first_of(posting, checkpoints)).await;
        let cause = match posted {
            Ok(Err(error)) => Some(error),
            Ok(Ok(())) => end.into_inner().into_interruption(),
            Err(_) => {
                self.give_up(&under_way);
                Some(Interruption::TimeIsUp)
            }
        };
        let stats = under_way.stats.get();
        let mut sum = invocation.stats.get();
        sum += stats;
        invocation.stats.set(sum);
        self.lately.add(stats);
        stats.log(room, frames, cause.as_ref());
        frame::count(frames, stats.posts, cause.is_none().then(|| self.clock.unix_millis()), invocation.metrics);
        match cause {
            None => Posted::ToAll,
            Some(cause) => {
                let lacking = under_way.open.borrow().lacking();
                Posted::ToSome { lacking, got_further: stats.connections() > 0, cause }
            }
        }
    }

    /// The members, each as soon as its turn to be posted to has come: those left open first, then the others in the
    /// order of their slots. Only one of them waits for a turn at a time, so nothing is built for those after it.
    fn begun<'a>(
        &'a self,
        under_way: &'a UnderWay<'a>,
        left_open: VecDeque<(Ticket, Member)>,
        members: Members<C>,
        end: &'a RefCell<End>,
    ) -> impl stream::Stream<Item = Begun<'a>> + 'a {
        let now = self.clock.unix_seconds();
        stream::unfold((left_open, members), move |(mut left_open, mut members)| async move {
            loop {
                let (ticket, member) = match left_open.pop_front() {
                    Some(left) => left,
                    None => match members.next().await {
                        Ok(Some(member)) => (under_way.open.borrow_mut().reach(&member.connection), member),
                        Ok(None) => {
                            end.replace(End::LastMember);
                            under_way.open.borrow_mut().reach_end();
                            return None;
                        }
                        // Deliveries that have begun still end.
                        Err(error) => {
                            end.replace(End::Failed(error));
                            return None;
                        }
                    },
                };
                // An expired row may stay in the table for a while; its connection is closed by then.
                if member.expires_at <= now {
                    under_way.count(|stats| stats.expired += 1);
                    under_way.open.borrow_mut().settle(ticket);
                    continue;
                }
                let permit = under_way.turns.acquire(Order::First).await;
                under_way.open.borrow_mut().begin(ticket);
                return Some((Begun { member, ticket, permit }, (left_open, members)));
            }
        })
    }

    /// Gives up deliveries that have not ended when the time to drain is over, and not for a reason that passes. They
    /// have missed the broadcast.
    fn give_up(&self, under_way: &UnderWay<'_>) {
        let is_nobodys_fault = self.limiter.is_struggling();
        let given_up = under_way.open.borrow_mut().give_up(is_nobodys_fault);
        for GivenUp { connection, is_at_fault } in given_up {
            under_way.count(|stats| stats.undelivered += 1);
            if is_at_fault {
                self.missed(under_way, &connection);
            }
        }
    }

    /// Counts a miss that is the connection's own, and not the account's or the network's. Its client reads the log
    /// when the next frame shows the gap. A connection that keeps missing broadcasts is closed, so that its client
    /// connects anew and resumes. So is one that missed a room's last frame, since nothing else would show the gap
    /// before the client's next beat.
    fn missed(&self, under_way: &UnderWay<'_>, connection: &ConnectionId) {
        self.lately.missed(connection);
        if self.misses.missed(connection) || under_way.is_last {
            under_way.invocation.close_later(connection);
        }
    }
}

/// A delivery whose turn has come.
struct Begun<'a> {
    member: Member,
    ticket: Ticket,
    permit: Permit<'a>,
}

/// The reason why no more members come.
enum End {
    /// All members have come.
    LastMember,
    /// The connection table did not answer.
    Failed(StoreError),
    /// The time was up before all members had come.
    TimeIsUp,
}

impl End {
    fn into_interruption(self) -> Option<Interruption> {
        match self {
            Self::LastMember => None,
            Self::Failed(error) => Some(error.into()),
            Self::TimeIsUp => Some(Interruption::TimeIsUp),
        }
    }
}

/// Runs a future to its end, with another one beside it that never ends.
async fn first_of<T>(one: impl Future<Output = T>, endless: impl Future<Output = ()>) -> T {
    let (one, endless) = (pin!(one), pin!(endless));
    match futures::future::select(one, endless).await {
        Either::Left((output, _)) => output,
        Either::Right(((), one)) => one.await,
    }
}

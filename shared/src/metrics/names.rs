//! The names and units of all metrics.

/// The namespace of all metrics, in CloudWatch's sense.
pub const NAMESPACE: &str = "Roomcast";

/// The dimension that names the stack.
pub const STACK: &str = "Stack";

/// The dimension that names the function.
pub const FUNCTION: &str = "Function";

/// The dimension of [`REFUSED`] that names the error code.
pub const CODE: &str = "Code";

/// The unit of every counter.
pub const COUNT: &str = "Count";

/// A metric that counts what happened in an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Counter {
    /// The name in CloudWatch.
    pub name: &'static str,
}

/// A metric of which an invocation has many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distribution {
    /// The name in CloudWatch.
    pub name: &'static str,
    /// The unit, by CloudWatch's name.
    pub unit: &'static str,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: Counter = Counter { name: $name };)*

        /// Every counter.
        pub const COUNTERS: &[Counter] = &[$($constant),*];
    };
}

macro_rules! distributions {
    ($($(#[$doc:meta])* $constant:ident = $name:literal in $unit:literal;)*) => {
        $($(#[$doc])* pub const $constant: Distribution = Distribution { name: $name, unit: $unit };)*

        /// Every distribution.
        pub const DISTRIBUTIONS: &[Distribution] = &[$($constant),*];
    };
}

counters! {
    /// Posts made: every attempt counts.
    POSTS = "Posts";
    /// Connections that got every frame of a broadcast.
    DELIVERED = "Delivered";
    /// Connections that answered 410 twice. Their rows are deleted.
    GONE = "Gone";
    /// Posts that were answered 429.
    THROTTLED = "Throttled";
    /// Posts that were made again after a failed attempt.
    RETRIED = "Retried";
    /// Connections that did not get every frame of a broadcast.
    UNDELIVERED = "Undelivered";
    /// Connections that were closed.
    CLOSED = "Closed";
    /// Records put into the dead-letter queue.
    DEAD_LETTERS = "DeadLetters";
    /// Broadcasts that went on where an earlier invocation had stopped.
    RESUMED = "Resumed";
    /// Records given back to their queue.
    RETURNED = "Returned";
    /// Messages that got a number.
    MESSAGES = "Messages";
    /// Values that were written into a room's state.
    STATE_WRITES = "StateWrites";
    /// Values that a room's state has already, or a greater one.
    STATE_SUPERSEDED = "StateSuperseded";
    /// Keys that were written again from what an earlier batch had appended.
    STATE_REAPPLIED = "StateReapplied";
    /// Broadcasts, or shards' parts of one, that were posted.
    BROADCASTS = "Broadcasts";
    /// Messages that the queue or the bus has taken.
    ACCEPTED = "Accepted";
    /// Requests that were answered with an error.
    REFUSED = "Refused";
    /// Connections that `$connect` has let in.
    CONNECTS = "Connects";
    /// Connections whose end API Gateway has reported.
    DISCONNECTS = "Disconnects";
    /// Joins of rooms, by `joinRoom` or with the handshake.
    JOINS = "Joins";
    /// Beats that were served: requests `sync`.
    SYNCS = "Syncs";
    /// Members' rows that a beat put anew.
    HEALS = "Heals";
    /// Ticks sent: a room's members may have changed.
    TICKS_SENT = "TicksSent";
    /// Ticks that could not be sent.
    TICKS_LOST = "TicksLost";
    /// Handshakes that the authorizer was asked about.
    HANDSHAKES = "Handshakes";
    /// Handshakes that it refused.
    UNAUTHORIZED = "Unauthorized";
    /// Rows that a sweep deleted.
    SWEPT = "Swept";
    /// Rows that a sweep looked at.
    EXAMINED = "Examined";
    /// Ticks that were hidden, because their room may not be published yet.
    TICKS_HIDDEN = "TicksHidden";
    /// Publications of rooms' presence.
    PUBLICATIONS = "Publications";
    /// Looks at a room's members that found nothing new.
    RECONCILIATIONS_UNCHANGED = "ReconciliationsUnchanged";
    /// Lifecycle events that the bus has taken.
    LIFECYCLE_EVENTS = "LifecycleEvents";
    /// Posts of `presence` frames.
    PRESENCE_POSTS = "PresencePosts";
    /// Ephemeral messages that were posted to their rooms.
    EPHEMERALS_POSTED = "EphemeralsPosted";
    /// Posts of ephemeral messages.
    EPHEMERAL_POSTS = "EphemeralPosts";
    /// Ephemeral messages that were too old.
    EPHEMERALS_DROPPED_OLD = "EphemeralsDroppedOld";
    /// Ephemeral messages whose sender had a newer one with the same key.
    EPHEMERALS_DROPPED_SUPERSEDED = "EphemeralsDroppedSuperseded";
    /// Ephemeral messages that did not fit their room's frame.
    EPHEMERALS_DROPPED_FULL = "EphemeralsDroppedFull";
    /// Ephemeral messages for rooms that are too large.
    EPHEMERALS_DROPPED_LARGE = "EphemeralsDroppedLarge";
    /// Ephemeral messages whose posts were more than the stack spends on them.
    EPHEMERALS_DROPPED_BUDGET = "EphemeralsDroppedBudget";
    /// Ephemeral messages that gave way because the account was throttled.
    EPHEMERALS_DROPPED_THROTTLED = "EphemeralsDroppedThrottled";
    /// Records that were no ephemeral messages.
    EPHEMERALS_DROPPED_BROKEN = "EphemeralsDroppedBroken";
    /// Ephemeral messages whose room could not be read, or posted to.
    EPHEMERALS_DROPPED_FAILED = "EphemeralsDroppedFailed";
}

distributions! {
    /// Messages in a post.
    MESSAGES_PER_POST = "MessagesPerPost" in "Count";
    /// The time from a message's `sentAt` to the last post of its broadcast.
    BROADCAST_LATENCY = "BroadcastLatency" in "Milliseconds";
    /// The time from when SQS took a record until the function has it.
    QUEUE_AGE = "QueueAge" in "Milliseconds";
    /// The learnt rate of posts, while the account is throttled.
    RATE = "Rate" in "Count/Second";
    /// Posts in flight at one time, at the most.
    CONCURRENCY = "Concurrency" in "Count";
}

//! Scenarios: sizes, faults, and the rules of the protocol, each of which can be taken away.

use super::world::Layout;

/// A rule of the protocol, or an assumption about the world, that can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rule {
    /// Entries are appended on condition that their numbers are free.
    ConditionalAppend,
    /// A message that is in the log keeps its number.
    FindKnown,
    /// A batch that may be in the log is looked for in the log itself, not in what is remembered of it.
    ReadAgain,
    /// Messages below the floor of the log's last entry are not posted any more.
    Floor,
    /// For the room's group: before a number goes out, it is on record that everything below is finished with.
    FloorFirst,
    /// The same for a shard's group.
    ShardFloorFirst,
    /// The layout of an entry stands in the entry.
    LayoutInEntry,
    /// The layout changes only when the shards have posted everything.
    Drained,
    /// Nothing is appended after the hold on a batch has ended. This rule may be broken, since appends are conditional.
    HeldAppends,
    /// Nothing is posted after the hold has ended: an invocation ends before its records are visible again.
    HeldPosts,
    /// No job is sent after the hold has ended.
    HeldSends,
    /// No progress is written down after the hold has ended.
    HeldSaves,
    /// A row that calls less done does not take the place of one that calls more done.
    RowForward,
    /// Redelivered messages are posted from where progress says.
    ReadProgress,
    /// Progress names the number up to which the slots below have everything.
    CutAtNumber,
    /// Progress names the slots below its own whose deliveries have not ended.
    NameMissing,
    /// A connection that missed a frame gets no later frame of the step.
    SkipAfterMiss,
    /// A shard's consumer leaves out numbers that its row calls done.
    ShardDone,
    /// A batch is acknowledged only when the queue has confirmed every job.
    ConfirmSends,
    /// No job is sent before those ahead of it are confirmed.
    SendInOrder,
    /// Only the finished records at the head of a batch are acknowledged.
    AcknowledgeHead,
    /// The row of a joining connection is written before the log is read.
    RowBeforeHead,
    /// A client that comes back reads the log after what it has.
    ResumeAfter,
    /// The queue: a record in flight holds back all records of its group that come after it.
    InFlightBlocks,
    /// The gateway: no post arrives after its consumer has given it up.
    PostsArriveInTime,
}

/// Any number of times.
pub(crate) const ANY: u8 = u8::MAX;

/// Faults that may still happen: so many of each, or [`ANY`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// A consumer is killed.
    pub(crate) crashes: u8,
    /// Records are visible again while their consumer is at work.
    pub(crate) expiries: u8,
    /// A post fails for good.
    pub(crate) misses: u8,
    /// A job is not taken.
    pub(crate) refused_sends: u8,
    /// A job is taken, and nobody is told.
    pub(crate) unanswered_sends: u8,
    /// A job is taken later, and nobody is told.
    pub(crate) late_sends: u8,
    /// A post that was given up arrives later.
    pub(crate) late_posts: u8,
    /// A record that was received before is moved to the dead-letter queue.
    pub(crate) dead_letters: u8,
    /// A producer sends a message again after the queue has forgotten it.
    pub(crate) resends: u8,
    /// A living connection is found gone.
    pub(crate) false_gone: u8,
    /// A client leaves.
    pub(crate) leaves: u8,
    /// A client's connection is cut.
    pub(crate) cuts: u8,
    /// A client that lacks something syncs.
    pub(crate) syncs: u8,
}

impl Faults {
    pub(crate) const NONE: Self = Self {
        crashes: 0,
        expiries: 0,
        misses: 0,
        refused_sends: 0,
        unanswered_sends: 0,
        late_sends: 0,
        late_posts: 0,
        dead_letters: 0,
        resends: 0,
        false_gone: 0,
        leaves: 0,
        cuts: 0,
        syncs: 0,
    };
}

/// Uses one fault up.
pub(crate) fn spend(faults: &mut u8) {
    if *faults != ANY {
        *faults -= 1;
    }
}

/// A scenario that is searched.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) messages: u8,
    /// Whether each connection is in the room at first. Slots follow their order.
    pub(crate) connections: Vec<bool>,
    pub(crate) layouts: Vec<Layout>,
    /// Records in a batch at most.
    pub(crate) batch: usize,
    /// One frame has all numbers of a step or a job; otherwise each has its own.
    pub(crate) packed: bool,
    /// Frames in a step at most, where each number has its own.
    pub(crate) frames: usize,
    /// Deliveries that are under way at once.
    pub(crate) window: usize,
    /// Time may be up in the middle of posting.
    pub(crate) time_is_up: bool,
    /// Progress may be written down while posting goes on.
    pub(crate) checkpoints: bool,
    /// Consumers number fresh messages after the log as they remember it.
    pub(crate) memory: bool,
    /// A member's row may be in the table and not in the index yet.
    pub(crate) index_lags: bool,
    /// The shard queue may drop a job that it took before.
    pub(crate) deduplicates: bool,
    pub(crate) faults: Faults,
    /// Posts that are made again are counted.
    pub(crate) count_repeats: bool,
    /// From every state it is tried whether everything comes to its end.
    pub(crate) tries_the_end: bool,
    pub(crate) without: Vec<Rule>,
}

impl Scenario {
    /// One room whose messages are posted directly; time is up anywhere. An append of a consumer that has lost its
    /// hold may still arrive.
    pub(crate) fn posted_directly(name: &'static str, connections: Vec<bool>, messages: u8, faults: Faults) -> Self {
        Self {
            name,
            messages,
            connections,
            layouts: vec![Layout::Direct],
            batch: 3,
            packed: true,
            frames: 8,
            window: 1,
            time_is_up: true,
            checkpoints: false,
            memory: false,
            index_lags: false,
            deduplicates: false,
            faults,
            count_repeats: false,
            tries_the_end: false,
            without: vec![Rule::HeldAppends, Rule::HeldSends],
        }
    }

    /// Whether a rule applies in this scenario.
    pub(crate) fn has(&self, rule: Rule) -> bool {
        !self.without.contains(&rule)
    }

    /// The slots of a queue's group, the last one exclusive: all, or one of two halves.
    pub(crate) fn slots(&self, queue: usize, of: u8) -> (u8, u8) {
        let all = u8::try_from(self.connections.len()).unwrap_or(u8::MAX);
        let half = all.div_ceil(2);
        match (queue, of) {
            (1, 2) => (0, half),
            (2, 2) => (half, all),
            _ => (0, all),
        }
    }
}

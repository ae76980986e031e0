//! What a workload takes: calls, units and whatever else is counted or billed, by what it is for.

use std::collections::BTreeMap;

use serde::Serialize;

/// What something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Messages on their way into the queue.
    Ingest,
    /// Looks of those who take them at the rooms that are behind, and at the queue's depth.
    Looks,
    /// Numbering and logging them, with the look at the room.
    Log,
    /// Posts to everybody.
    Posts,
    /// The shard queue.
    Shards,
    /// Beats: a client's `sync`s.
    Beats,
    /// Handshakes, joins, disconnects.
    Handshakes,
    /// Minutes of open connections.
    Connections,
    /// Rows of keys, and the snapshots that joiners get.
    State,
    /// Lists of members: rows, ticks, publications.
    Presence,
    /// Messages that nobody keeps.
    Ephemeral,
    /// Events of members and of rooms that become empty.
    Lifecycle,
    /// The sweeper's looks at connections that may be gone.
    Sweeps,
    /// What a stack costs that nobody uses: polls of empty queues, metrics, alarms.
    Fixed,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Count {
    /// Frames from clients, in steps of 32 KB.
    FramesIn,
    /// Replies to them.
    Replies,
    /// Calls of `POST @connections`, in steps of 32 KB.
    Posts,
    /// Calls of `DELETE @connections`.
    Closes,
    /// Calls of `GET @connections`.
    Looks,
    /// Minutes of open connections.
    ConnectionMinutes,
    /// Invocations of `authorizer`.
    Authorizer,
    /// Invocations of `session`.
    Session,
    /// Invocations of `message`.
    Message,
    /// Invocations of `relay`.
    Relay,
    /// Invocations of `fanout`.
    Fanout,
    /// Invocations of `shards`.
    ShardsFunction,
    /// Invocations of `sweeper`.
    Sweeper,
    /// Invocations of `presence`.
    PresenceFunction,
    /// Invocations of `ephemeral`.
    EphemeralFunction,
    /// Memory x time of all of them.
    GbSeconds,
    /// Calls of DynamoDB, which bills units alone.
    PutItem,
    /// See above.
    TransactWriteItems,
    /// See above.
    UpdateItem,
    /// See above.
    DeleteItem,
    /// See above.
    BatchWriteItem,
    /// See above.
    GetItem,
    /// See above.
    BatchGetItem,
    /// See above.
    Query,
    /// DynamoDB's write units.
    WriteUnits,
    /// DynamoDB's read units.
    ReadUnits,
    /// Bytes that lie in the tables, at one time.
    StoredBytes,
    /// Calls of SQS.
    SendMessage,
    /// See above.
    SendMessageBatch,
    /// See above.
    ReceiveMessage,
    /// See above.
    DeleteMessageBatch,
    /// See above.
    GetQueueAttributes,
    /// Requests to FIFO queues as SQS bills them, in steps of 64 KB.
    FifoRequests,
    /// Requests to other queues.
    StandardRequests,
    /// Calls of EventBridge.
    PutEvents,
    /// Events, in steps of 64 KB.
    Events,
    /// Bytes to clients.
    EgressBytes,
    /// Bytes of log lines.
    LogBytes,
    /// Metrics of CloudWatch.
    Metrics,
    /// Alarms of CloudWatch.
    Alarms,
}

/// How many of what, for what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage(BTreeMap<(Part, Count), f64>);

impl Usage {
    /// Adds so many.
    pub fn add(&mut self, part: Part, count: Count, number: f64) {
        *self.0.entry((part, count)).or_default() += number;
    }

    /// Adds so many, if there are any: what is not used is not listed.
    pub fn add_some(&mut self, part: Part, count: Count, number: f64) {
        if number > 0.0 {
            self.add(part, count, number);
        }
    }

    /// Adds all of another, so many times.
    pub fn add_times(&mut self, times: f64, other: &Self) {
        for ((part, count), number) in &other.0 {
            self.add(*part, *count, number * times);
        }
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self, count: Count) -> f64 {
        self.0.iter().filter(|((_, counted), _)| *counted == count).fold(0.0, |sum, (_, number)| sum + number)
    }

    /// How many for one thing.
    #[must_use]
    pub fn of(&self, part: Part, count: Count) -> f64 {
        self.0.get(&(part, count)).copied().unwrap_or_default()
    }

    /// What there is of a part.
    #[must_use]
    pub fn part(&self, wanted: Part) -> Self {
        Self(self.0.iter().filter(|((part, _), _)| *part == wanted).map(|(key, number)| (*key, *number)).collect())
    }

    /// The parts that there are.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<_> = self.0.keys().map(|(part, _)| *part).collect();
        parts.dedup();
        parts
    }

    /// All counts by what they are for.
    #[must_use]
    pub fn by_part(&self) -> BTreeMap<Part, BTreeMap<Count, f64>> {
        let mut parts: BTreeMap<Part, BTreeMap<Count, f64>> = BTreeMap::new();
        for ((part, count), number) in &self.0 {
            parts.entry(*part).or_default().insert(*count, *number);
        }
        parts
    }

    /// All counts, with what they come to.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Count, f64> {
        let mut totals = BTreeMap::new();
        for ((_, count), number) in &self.0 {
            *totals.entry(*count).or_default() += number;
        }
        totals
    }
}

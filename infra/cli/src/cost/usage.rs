//! The usage of a workload: calls, units and everything else that is counted or billed, by purpose.

use std::collections::BTreeMap;

use serde::Serialize;

/// The purpose of a part of the usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Part {
    /// Messages on their way into the queue.
    Ingest,
    /// Reads of the rooms that are behind, and of the queue's depth, by the functions that take messages.
    Looks,
    /// Numbering and logging messages, and reading the first page of the room.
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
    /// Ephemeral messages.
    Ephemeral,
    /// Events of members and of rooms that become empty.
    Lifecycle,
    /// The sweeper's looks at connections that may be gone.
    Sweeps,
    /// The usage of a stack that nobody uses: polls of empty queues, metrics, alarms.
    Fixed,
}

/// The things that are counted.
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
    /// Bytes that are stored in the tables at one time.
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
    /// Metrics that alarms of CloudWatch look at.
    Alarms,
}

/// The number of each thing, by purpose.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage(BTreeMap<(Part, Count), f64>);

impl Usage {
    /// Adds so many.
    pub fn add(&mut self, part: Part, count: Count, number: f64) {
        *self.0.entry((part, count)).or_default() += number;
    }

    /// Adds so many, unless it is zero: things that are not used are not listed.
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

    /// The number for all purposes.
    #[must_use]
    pub fn total(&self, count: Count) -> f64 {
        self.0.iter().filter(|((_, counted), _)| *counted == count).fold(0.0, |sum, (_, number)| sum + number)
    }

    /// Invocations of all functions.
    #[must_use]
    pub fn invocations(&self) -> f64 {
        let functions = [
            Count::Authorizer,
            Count::Session,
            Count::Message,
            Count::Relay,
            Count::Fanout,
            Count::ShardsFunction,
            Count::Sweeper,
            Count::PresenceFunction,
            Count::EphemeralFunction,
        ];
        functions.map(|function| self.total(function)).iter().sum()
    }

    /// The number for one purpose.
    #[must_use]
    pub fn of(&self, part: Part, count: Count) -> f64 {
        self.0.get(&(part, count)).copied().unwrap_or_default()
    }

    /// The usage of one purpose.
    #[must_use]
    pub fn part(&self, wanted: Part) -> Self {
        Self(self.0.iter().filter(|((part, _), _)| *part == wanted).map(|(key, number)| (*key, *number)).collect())
    }

    /// The purposes that have any usage.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<_> = self.0.keys().map(|(part, _)| *part).collect();
        parts.dedup();
        parts
    }

    /// All counts by purpose.
    #[must_use]
    pub fn by_part(&self) -> BTreeMap<Part, BTreeMap<Count, f64>> {
        let mut parts: BTreeMap<Part, BTreeMap<Count, f64>> = BTreeMap::new();
        for ((part, count), number) in &self.0 {
            parts.entry(*part).or_default().insert(*count, *number);
        }
        parts
    }

    /// The sum of each count.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Count, f64> {
        let mut totals = BTreeMap::new();
        for ((_, count), number) in &self.0 {
            *totals.entry(*count).or_default() += number;
        }
        totals
    }
}

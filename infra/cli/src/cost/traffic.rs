//! The usage of a group of rooms in a month: its messages and its connections.

use super::{
    beats,
    calls::{INGEST_SECONDS, LOGGING, RESUMING, frame, invocation, receipt},
    ephemeral,
    flow::Flow,
    presence,
    sizes::{self, MessageSize, QUEUE_STEP, read_units, steps, write_units},
    state,
    usage::{Count, Part, Usage},
    workload::{RoomGroup, Setting, Via, Workload},
};

/// Seconds of an invocation of `authorizer`, which waits for nothing.
const AUTHORIZER_SECONDS: f64 = 0.002;

/// Seconds of an invocation of `relay`.
const RELAY_SECONDS: f64 = 0.015;

/// Seconds between the looks of an environment at the rooms that are behind.
const LOOK_SECONDS: f64 = 3.0;

/// Environments in addition to those that are busy on average.
const SPARE_ENVIRONMENTS: f64 = 2.0;

/// Seconds between two writes of a broadcast's progress.
const PROGRESS_SECONDS: f64 = 5.0;

/// The value for a number of messages, interpolated between whole numbers.
fn between(messages: f64, value: impl Fn(f64) -> f64) -> f64 {
    let (low, high) = (messages.floor(), messages.ceil());
    value(low) + (messages - low) * (value(high) - value(low))
}

/// The usage of a group in a month.
#[must_use]
pub fn of_group(group: &RoomGroup, flow: &Flow, workload: &Workload) -> Usage {
    let mut usage = Usage::default();
    let month = Month { group, flow, setting: &workload.setting, size: MessageSize::of(group, &workload.setting) };
    let messages = group.messages(workload.days);
    usage.add_times(messages, &month.message_in());
    usage.add_times(messages / flow.batch, &month.batch());
    if flow.shards > 0.0 {
        usage.add_times(messages / flow.messages_per_post() * flow.shards, &month.shard_step());
    }
    month.look_at_congestion(&mut usage, workload.days);
    month.connections(&mut usage, workload.days);
    state::add(&mut usage, group, workload);
    presence::add(&mut usage, group, workload);
    ephemeral::add(&mut usage, group, workload);
    let rows = messages / workload.days.max(1.0) * workload.retention_seconds / 86_400.0;
    usage.add(Part::Log, Count::StoredBytes, rows * (month.size.row + sizes::ROW_OVERHEAD));
    usage
}

struct Month<'a> {
    group: &'a RoomGroup,
    flow: &'a Flow,
    setting: &'a Setting,
    size: MessageSize,
}

impl Month<'_> {
    /// An invocation of a function with `gb` of memory.
    fn invocation(&self, usage: &mut Usage, part: Part, function: Count, of: (f64, f64)) {
        invocation(usage, part, function, of, self.setting);
    }

    /// A message on its way into the queue.
    fn message_in(&self) -> Usage {
        let mut usage = Usage::default();
        let (ingest, requests) = (Part::Ingest, steps(self.size.record, QUEUE_STEP));
        let burst = self.group.burst;
        let batched = steps(self.size.record * burst, QUEUE_STEP) / burst;
        match self.group.via {
            Via::Clients => {
                frame(&mut usage, ingest, self.size.record);
                self.invocation(&mut usage, ingest, Count::Message, (self.setting.ingest_gb, INGEST_SECONDS));
                usage.add(ingest, Count::SendMessage, 1.0);
                usage.add(ingest, Count::FifoRequests, requests);
            }
            Via::Events => {
                usage.add(ingest, Count::Events, requests);
                // The bus's rule puts the event into a queue of its own.
                usage.add(ingest, Count::SendMessage, 1.0);
                usage.add(ingest, Count::StandardRequests, requests);
                let mut batch = Usage::default();
                self.invocation(&mut batch, ingest, Count::Relay, (self.setting.ingest_gb, RELAY_SECONDS));
                receipt(&mut batch, ingest, Count::StandardRequests, self.size.record * burst);
                batch.add(ingest, Count::SendMessageBatch, 1.0);
                usage.add_times(1.0 / burst, &batch);
                usage.add(ingest, Count::FifoRequests, batched);
            }
            Via::Queue if burst > 1.0 => {
                usage.add(ingest, Count::SendMessageBatch, 1.0 / burst);
                usage.add(ingest, Count::FifoRequests, batched);
            }
            Via::Queue => {
                usage.add(ingest, Count::SendMessage, 1.0);
                usage.add(ingest, Count::FifoRequests, requests);
            }
        }
        usage
    }

    /// A batch of a room in `fanout`: logged, then posted or handed to the shard queue.
    fn batch(&self) -> Usage {
        let mut usage = Usage::default();
        let (log, flow, setting) = (Part::Log, self.flow, self.setting);
        let messages = flow.batch;
        receipt(&mut usage, log, Count::FifoRequests, messages * self.size.record);
        let is_one = |messages: f64| if messages < 2.0 { 1.0 } else { 0.0 };
        let singles = between(messages, is_one);
        usage.add(log, Count::PutItem, singles);
        usage.add(log, Count::TransactWriteItems, 1.0 - singles);
        // A transaction writes twice.
        let units = |messages: f64| messages * write_units(self.size.row) * (2.0 - is_one(messages));
        usage.add(log, Count::WriteUnits, between(messages, units));
        // The log's head.
        usage.add(log, Count::PutItem, 1.0);
        usage.add(log, Count::WriteUnits, 1.0);
        let posting = if flow.shards > 0.0 {
            // Only the first page of the room is read, which tells its size.
            let (_, units) = sizes::pages(self.group.members.min(500.0), setting);
            usage.add(log, Count::Query, 1.0);
            usage.add(log, Count::ReadUnits, units);
            self.enqueue(&mut usage);
            0.0
        } else {
            let (calls, units) = sizes::pages(self.group.members, setting);
            usage.add(log, Count::Query, calls);
            usage.add(log, Count::ReadUnits, units);
            self.posts(&mut usage, self.group.members, messages);
            flow.posting
        };
        self.invocation(&mut usage, log, Count::Fanout, (setting.fanout_gb, LOGGING));
        usage.add(Part::Posts, Count::GbSeconds, setting.fanout_gb * posting);
        usage
    }

    /// Adds a job for each shard, in calls of at most ten jobs and 240 KiB.
    fn enqueue(&self, usage: &mut Usage) {
        let job = self.size.frame_bytes(self.flow.batch) + 80.0;
        let at_once = (245_760.0 / job).floor().clamp(1.0, 10.0).min(self.flow.shards);
        let calls = (self.flow.shards / at_once).ceil();
        usage.add(Part::Shards, Count::SendMessageBatch, calls);
        usage.add(Part::Shards, Count::FifoRequests, calls * steps(job * at_once, QUEUE_STEP));
    }

    /// Jobs of one shard that go out together.
    fn shard_step(&self) -> Usage {
        let mut usage = Usage::default();
        let (shards, flow, setting) = (Part::Shards, self.flow, self.setting);
        let members = self.group.members / flow.shards;
        let bytes = self.size.frame_bytes(flow.messages_per_post());
        receipt(&mut usage, shards, Count::FifoRequests, bytes);
        // The shard's progress is read, and written at the end.
        usage.add(shards, Count::GetItem, 1.0);
        usage.add(shards, Count::ReadUnits, 1.0);
        usage.add(shards, Count::PutItem, 1.0);
        usage.add(shards, Count::WriteUnits, 1.0);
        let (calls, units) = sizes::pages(members, setting);
        usage.add(shards, Count::Query, calls);
        usage.add(shards, Count::ReadUnits, units);
        self.posts(&mut usage, members, flow.messages_per_post());
        self.invocation(&mut usage, shards, Count::ShardsFunction, (setting.fanout_gb, RESUMING));
        usage.add(Part::Posts, Count::GbSeconds, setting.fanout_gb * flow.posting);
        usage
    }

    /// Adds posts of so many messages to so many members, those that confirm a 410, and the deletion of rows.
    fn posts(&self, usage: &mut Usage, members: f64, messages: f64) {
        let (posts, gone) = (Part::Posts, members * self.group.gone_fraction);
        usage.add(posts, Count::Posts, members * between(messages, |messages| self.size.billed(messages)) + gone);
        let bytes = between(messages, |messages| self.size.frame_bytes(messages));
        usage.add(posts, Count::EgressBytes, (members - gone) * bytes);
        usage.add(posts, Count::Closes, gone.min(100.0));
        usage.add(posts, Count::BatchWriteItem, gone / 25.0);
        // The row and its place in the index.
        usage.add(posts, Count::WriteUnits, 2.0 * gone);
        let notes = (self.flow.posting / PROGRESS_SECONDS).floor();
        usage.add(posts, Count::PutItem, notes);
        usage.add(posts, Count::WriteUnits, notes);
    }

    /// Adds the calls by which each environment of `message` or `relay` reads which rooms are behind, and the queue's
    /// depth, beside an invocation.
    fn look_at_congestion(&self, usage: &mut Usage, days: f64) {
        let (seconds, batch) = match self.group.via {
            Via::Clients => (INGEST_SECONDS, 1.0),
            Via::Events => (RELAY_SECONDS, self.group.burst),
            Via::Queue => return,
        };
        let invocations = self.group.count * self.group.messages_per_second / batch;
        let environments = (invocations * seconds).ceil() + SPARE_ENVIRONMENTS;
        let active = self.group.connected_seconds(days) * (1.0 - self.group.quiet_fraction);
        let looks = active * invocations.min(environments / LOOK_SECONDS);
        usage.add(Part::Looks, Count::Query, looks);
        usage.add(Part::Looks, Count::ReadUnits, looks * 0.5);
        usage.add(Part::Looks, Count::GetQueueAttributes, looks);
        usage.add(Part::Looks, Count::FifoRequests, looks);
    }

    fn connections(&self, usage: &mut Usage, days: f64) {
        let group = self.group;
        let (connections, rooms) = (group.connections(), group.rooms_per_connection);
        let seconds = group.connected_seconds(days);
        usage.add(Part::Connections, Count::ConnectionMinutes, connections * seconds / 60.0);
        let sessions = connections * days * group.sessions_per_day();
        usage.add_times(sessions, &self.session(rooms));
        let setting = &presence::beating(group, self.setting);
        let quiet = beats::per_second(0.0, rooms, setting) * group.quiet_fraction;
        let busy = beats::per_second(group.messages_per_second, rooms, setting) * (1.0 - group.quiet_fraction);
        let beats = connections * seconds * (quiet + busy) + sessions * beats::PER_SESSION;
        usage.add_times(beats, &self.beat(rooms));
    }

    /// A client's `sync` of its rooms.
    fn beat(&self, rooms: f64) -> Usage {
        let mut usage = Usage::default();
        let beats = Part::Beats;
        frame(&mut usage, beats, 1.0);
        self.invocation(&mut usage, beats, Count::Session, (self.setting.ingest_gb, INGEST_SECONDS));
        usage.add(beats, Count::Query, 1.0);
        usage.add(beats, Count::BatchGetItem, 1.0);
        let rows = read_units(rooms * (sizes::member(self.setting) + 6.0 + self.setting.subject_bytes));
        usage.add(beats, Count::ReadUnits, rows + rooms * 0.5);
        presence::sync(&mut usage, self.group, rooms, self.setting);
        usage
    }

    /// A connection's handshake, its joins, and its end.
    fn session(&self, rooms: f64) -> Usage {
        let mut usage = Usage::default();
        let (part, setting) = (Part::Handshakes, self.setting);
        self.invocation(&mut usage, part, Count::Authorizer, (setting.ingest_gb, AUTHORIZER_SECONDS));
        // $connect and $disconnect.
        for _ in 0..2 {
            self.invocation(&mut usage, part, Count::Session, (setting.ingest_gb, INGEST_SECONDS));
        }
        // The subject's connections are counted; at the end it is one less.
        usage.add(part, Count::PutItem, 1.0);
        usage.add(part, Count::DeleteItem, 1.0);
        usage.add(part, Count::WriteUnits, 2.0);
        usage.add(part, Count::Query, 2.0);
        let row = sizes::member(setting) + 6.0 + setting.subject_bytes;
        usage.add(part, Count::ReadUnits, 1.0 + 2.0 * read_units(rooms * row));
        usage.add(part, Count::BatchWriteItem, (rooms / 25.0).ceil());
        usage.add(part, Count::WriteUnits, 2.0 * rooms);
        let mut join = Usage::default();
        frame(&mut join, part, 1.0);
        self.invocation(&mut join, part, Count::Session, (setting.ingest_gb, INGEST_SECONDS));
        join.add(part, Count::PutItem, 1.0);
        join.add(part, Count::WriteUnits, 2.0);
        // The log's newest message, and how many rooms the connection is in.
        join.add(part, Count::Query, 2.0);
        join.add(part, Count::ReadUnits, 2.0 * read_units(self.size.row) + 2.0 * read_units(rooms / 2.0 * row));
        usage.add_times(rooms, &join);
        usage
    }
}

//! A simulated stack under a flood: the real `message` function in several environments, the real law of congestion,
//! and models of the queue with its limits and of fan-out, which shares the account's posts among the batches that it
//! has in hand.
//!
//! Time goes in steps of 10 ms.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lambda_events::apigw::ApiGatewayWebsocketProxyRequest;
use fastrand::Rng;
use ingest::admission::Admission;
use ingest::congestion::CongestionSource;
use ingest::connections_api::ConnectionsApi;
use ingest::message::MessageFunction;
use ingest::routes::send_message::SendMessage;
use ingest::shares::MessageRates;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use shared::Message;
use shared::clock::Clock;
use shared::congestion::Cut;
use shared::congestion::law::{GroupRow, PATIENCE, Sight, judge};
use shared::metrics::Metrics;
use shared::queue::ephemeral::EphemeralQueue;
use shared::queue::{QueueError, Sink};
use shared::room_pattern::RoomPatterns;
use shared::store::StoreError;
use shared::trace::TraceHeader;
use testkit::aws_sdk::sdk_config;
use testkit::bounded_queue::{BoundedQueue, Part};
use testkit::events;

use super::senders::{Sender, Tally};

/// A step, in milliseconds.
const STEP: u64 = 10;

/// The beginning of the simulation, in milliseconds since the Unix epoch.
const START: u64 = 1_800_000_000_000;

/// Posts per second of the account ("Amazon API Gateway quotas").
const POSTS_PER_SECOND: f64 = 10_000.0;

/// Batches that are broadcast at one time, as the template has it.
const BATCHES: usize = 100;

/// The time that a batch takes besides its posts, in milliseconds: polling, the log, the acknowledgement.
const OVERHEAD: u64 = 60;

/// The parts of the defence that are switched on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defence {
    /// The shares of an environment.
    pub(super) shares: bool,
    pub(super) cuts: bool,
    /// The limit of the queue's depth.
    pub(super) depth: bool,
}

pub(super) const ALL: Defence = Defence { shares: true, cuts: true, depth: true };

struct Shared {
    now: Cell<u64>,
    queue: RefCell<BoundedQueue>,
    rows: RefCell<BTreeMap<usize, GroupRow>>,
    defence: Defence,
    /// The number of the record that was put last.
    put: Cell<Option<u64>>,
}

#[derive(Clone)]
struct Sim(Rc<Shared>);

impl Clock for Sim {
    fn unix_micros(&self) -> u64 {
        (START + self.0.now.get()) * 1_000
    }
}

impl Sink for Sim {
    async fn put(&self, message: &Message, _: Option<&TraceHeader>) -> Result<(), QueueError> {
        let room = message.room.as_str().trim_start_matches("room-").parse().unwrap();
        let number = self.0.queue.borrow_mut().send(room, self.0.now.get());
        self.0.put.set(number);
        let reason = "more than 300 a second".to_owned();
        number.map(drop).ok_or(QueueError::Throttled { operation: "SendMessage", reason })
    }
}

impl CongestionSource for Sim {
    async fn cuts(&self) -> Result<Vec<(String, Cut)>, StoreError> {
        let rows = self.0.rows.borrow();
        let cuts = rows.iter().filter_map(|(room, row)| Some((format!("room-{room}"), row.cut?)));
        Ok(cuts.filter(|_| self.0.defence.cuts).collect())
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        Ok(if self.0.defence.depth { self.0.queue.borrow().depth() as u64 } else { 0 })
    }
}

/// A batch that is being broadcast.
struct Batch {
    part: Part,
    posts_left: f64,
    ready_at: u64,
    /// The time at which the batch comes back to the queue, if its posts have failed.
    fails_at: Option<u64>,
}

/// The next attempt of the sender with an index; ordered by time, the soonest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: std::cmp::Reverse<u64>,
    order: u64,
    sender: usize,
    /// The time of the message's first attempt, if this is not the first.
    first: Option<u64>,
}

/// The whole stack.
pub(super) struct World {
    sim: Sim,
    functions: Vec<MessageFunction<Sim, EphemeralQueue, Sim, Sim>>,
    events: Vec<ApiGatewayWebsocketProxyRequest>,
    senders: Vec<Sender>,
    tallies: Vec<Tally>,
    due: BinaryHeap<Due>,
    members: HashMap<usize, f64>,
    batches: Vec<Batch>,
    /// The sender of each record in the queue, and the time of the message's first attempt.
    records: HashMap<u64, (usize, u64)>,
    /// The time in which fan-out is down, in milliseconds since the simulation began.
    pub(super) fanout_down: std::ops::Range<u64>,
    /// The time in which @connections is down.
    pub(super) posts_down: std::ops::Range<u64>,
    pub(super) cuts_written: u64,
    pub(super) table_calls: u64,
    random: Rng,
    deadline: u64,
}

impl World {
    pub(super) fn new(defence: Defence, environments: usize, senders: Vec<Sender>, seed: u64) -> Self {
        let offered: f64 = senders
            .iter()
            .map(|sender| sender.per_second * (sender.active.end - sender.active.start) as f64 / 1e3)
            .sum();
        let shared = Shared {
            now: Cell::new(0),
            queue: RefCell::new(BoundedQueue::new(offered as usize + 1_000)),
            rows: RefCell::default(),
            defence,
            put: Cell::new(None),
        };
        let (sim, mut random) = (Sim(Rc::new(shared)), Rng::with_seed(seed));
        let mut rates =
            MessageRates { subject_messages: 20, subject_bytes: 131_072, room_messages: 300, room_bytes: 1_048_576 };
        if !defence.shares {
            rates = MessageRates { subject_messages: 0, subject_bytes: 0, room_messages: 0, room_bytes: 0 };
        }
        let limit = if defence.depth { 100_000 } else { 0 };
        let nobody_expires = ConnectionsApi::new(&sdk_config("http://127.0.0.1:9"), "http://127.0.0.1:9");
        let functions = (0..environments)
            .map(|_| {
                let admission = Admission::new(sim.clone(), rates, limit, random.fork());
                let state_rooms = RoomPatterns::default();
                let send_message = SendMessage { sink: sim.clone(), admission, state_rooms, ephemerals: None };
                MessageFunction::new(send_message, nobody_expires.clone(), sim.clone())
            })
            .collect();
        let event = |sender: &Sender| {
            let frame = json!({ "action": "sendMessage", "roomId": format!("room-{}", sender.room), "data": "hello" });
            serde_json::from_value(events::frame("c=", &sender.subject, &frame.to_string())).unwrap()
        };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut world = Self {
            events: senders.iter().map(event).collect(),
            tallies: vec![Tally::default(); senders.len()],
            sim,
            functions,
            senders,
            due: BinaryHeap::new(),
            members: HashMap::new(),
            batches: Vec::new(),
            records: HashMap::new(),
            fanout_down: 0..0,
            posts_down: 0..0,
            cuts_written: 0,
            table_calls: 0,
            random,
            deadline: u64::try_from(wall.as_millis()).unwrap() + 3_600_000,
        };
        for sender in 0..world.senders.len() {
            let start = world.senders[sender].active.start;
            let interval = 1_000.0 / world.senders[sender].per_second;
            let first = start + (world.random.f64() * interval) as u64;
            world.schedule(first, sender, None);
        }
        world
    }

    /// The same world with `members` members in this room; rooms have 100 otherwise.
    pub(super) fn room_of(mut self, room: usize, members: u32) -> Self {
        self.members.insert(room, f64::from(members));
        self
    }

    fn schedule(&mut self, at: u64, sender: usize, first: Option<u64>) {
        let order = self.random.u64(..);
        self.due.push(Due { at: std::cmp::Reverse(at), order, sender, first });
    }

    pub(super) fn now(&self) -> u64 {
        self.sim.0.now.get()
    }

    pub(super) fn depth(&self) -> usize {
        self.sim.0.queue.borrow().depth()
    }

    pub(super) fn deepest(&self) -> usize {
        self.sim.0.queue.borrow().deepest()
    }

    /// The share of a room's messages that is admitted now.
    pub(super) fn fraction(&self, room: usize) -> f64 {
        let rows = self.sim.0.rows.borrow();
        rows.get(&room).and_then(|row| row.cut).map_or(1.0, |cut| cut.fraction_at(START + self.now()))
    }

    /// The tally of the senders that are as wished.
    pub(super) fn tally(&self, wished: impl Fn(&Sender) -> bool) -> Tally {
        let tallies = self.senders.iter().zip(&self.tallies).filter(|(sender, _)| wished(sender));
        tallies.fold(Tally::default(), |sum, (_, tally)| Tally {
            accepted: sum.accepted + tally.accepted,
            refused: sum.refused + tally.refused,
            broadcast: sum.broadcast + tally.broadcast,
            longest: sum.longest.max(tally.longest),
            longest_queued: sum.longest_queued.max(tally.longest_queued),
            late: sum.late + tally.late,
            total: sum.total + tally.total,
        })
    }

    /// Lets time pass up to a moment, in milliseconds since the simulation began.
    pub(super) async fn run_until(&mut self, end: u64) {
        while self.now() < end {
            self.send_all().await;
            self.receive();
            self.post();
            self.sim.0.now.set(self.now() + STEP);
        }
    }

    /// Lets time pass until nothing is queued, or `at_most` milliseconds have passed.
    pub(super) async fn drain(&mut self, at_most: u64) {
        let end = self.now() + at_most;
        while self.now() < end && (self.depth() > 0 || !self.due.is_empty()) {
            self.run_until(self.now() + 1_000).await;
        }
    }

    async fn send_all(&mut self) {
        while self.due.peek().is_some_and(|due| due.at.0 <= self.now()) {
            let Due { at, sender, first, .. } = self.due.pop().unwrap();
            let Sender { per_second, ref active, is_patient, .. } = self.senders[sender];
            if first.is_none() {
                let next = at.0 as f64 + 1_000.0 / per_second + self.random.f64() - 0.5;
                if next < active.end as f64 {
                    self.schedule(next.round() as u64, sender, None);
                }
            }
            let first = first.unwrap_or(self.now());
            let retry_after = self.send(sender, first).await;
            if let Some(retry_after) = retry_after.filter(|_| is_patient) {
                self.schedule(self.now() + retry_after, sender, Some(first));
            }
        }
    }

    /// Sends a message through one of the environments; returns the milliseconds to wait if it was refused.
    async fn send(&mut self, sender: usize, first: u64) -> Option<u64> {
        let mut context = Context::default();
        context.deadline = self.deadline;
        let event = LambdaEvent::new(self.events[sender].clone(), context);
        let environment = self.random.usize(..self.functions.len());
        self.sim.0.put.set(None);
        let response = self.functions[environment].handle(event, &Metrics::default()).await.unwrap();
        if let Some(number) = self.sim.0.put.take() {
            self.tallies[sender].accepted += 1;
            self.records.insert(number, (sender, first));
            return None;
        }
        self.tallies[sender].refused += 1;
        let reply: Value = serde_json::from_str(&response.body.unwrap()).unwrap();
        assert_eq!(reply["code"], "rate_limited", "{reply}");
        reply["retryAfterMs"].as_u64()
    }

    fn receive(&mut self) {
        let now = self.now();
        while self.batches.len() < BATCHES && !self.fanout_down.contains(&now) {
            let received = self.sim.0.queue.borrow_mut().receive();
            if received.is_empty() {
                return;
            }
            let is_full = received.iter().map(|part| part.records.len()).sum::<usize>() == 10;
            for part in received {
                if is_full {
                    self.note(&part);
                }
                let posts_left = self.members.get(&part.group).copied().unwrap_or(100.0);
                self.batches.push(Batch { part, posts_left, ready_at: now + OVERHEAD, fails_at: None });
            }
        }
    }

    /// Notes a group that is behind, as fan-out does beside a broadcast.
    fn note(&mut self, part: &Part) {
        let head = part.records[0];
        if self.now() - head.queued_at <= PATIENCE {
            return;
        }
        let depth = self.depth() as u64;
        let sight = Sight { seen_at: START + self.now(), queued_at: START + head.queued_at, depth };
        let mut rows = self.sim.0.rows.borrow_mut();
        let row = rows.get(&part.group).copied();
        self.table_calls += 1;
        if let Some(new) = judge(row.as_ref(), sight, head.receives <= 1) {
            self.table_calls += 1;
            let old_cut = row.and_then(|row| row.cut);
            if new.cut != old_cut {
                self.cuts_written += 1;
            }
            rows.insert(part.group, new);
        }
    }

    /// Shares a step's posts among the batches.
    fn post(&mut self) {
        let now = self.now();
        if self.posts_down.contains(&now) {
            for batch in self.batches.iter_mut().filter(|batch| batch.ready_at <= now) {
                let receives = batch.part.records[0].receives.clamp(1, 16);
                batch.fails_at.get_or_insert(now + 1_000 * (1 << (receives - 1)).min(30));
            }
        }
        let failed: Vec<_> = self.batches.extract_if(.., |batch| batch.fails_at.is_some_and(|at| at <= now)).collect();
        for Batch { part, .. } in failed {
            self.sim.0.queue.borrow_mut().settle(&part, 0);
        }
        let mut posts = POSTS_PER_SECOND * STEP as f64 / 1_000.0;
        let mut working: Vec<&mut Batch> =
            self.batches.iter_mut().filter(|batch| batch.ready_at <= now && batch.fails_at.is_none()).collect();
        working.sort_by(|one, other| one.posts_left.total_cmp(&other.posts_left));
        let mut sharing = working.len();
        for batch in working {
            let share = (posts / sharing as f64).min(batch.posts_left);
            batch.posts_left -= share;
            posts -= share;
            sharing -= 1;
        }
        let mut at = 0;
        while at < self.batches.len() {
            if self.batches[at].ready_at <= now
                && self.batches[at].fails_at.is_none()
                && self.batches[at].posts_left < 1e-6
            {
                let Batch { part, .. } = self.batches.swap_remove(at);
                self.finish(&part);
            } else {
                at += 1;
            }
        }
    }

    fn finish(&mut self, part: &Part) {
        for record in &part.records {
            let (sender, first) = self.records.remove(&record.number).expect("a record that was accepted, once");
            let (tally, now) = (&mut self.tallies[sender], self.sim.0.now.get());
            tally.broadcast += 1;
            tally.total += now - first;
            tally.longest = tally.longest.max(now - first);
            tally.longest_queued = tally.longest_queued.max(now - record.queued_at);
            tally.late += u64::from(now - first > 2_000);
        }
        self.sim.0.queue.borrow_mut().settle(part, part.records.len());
    }
}

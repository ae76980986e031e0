//! The environments of the `presence` function, which are fed from the queues, killed, and stopped for a while; and the
//! posting of its frames.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::SqsEvent;
use fanout::presence::{PresenceJob, frame, merge};
use ingest::presence::environment::PresenceFunction;
use ingest::presence::pace::Budget;
use lambda_runtime::{Context, LambdaEvent};
use serde_json::Value;
use shared::metrics::Metrics;
use shared::queue::{Queue, QueueError, Record};
use shared::store::connections::ConnectionTable;
use shared::store::presence::PresenceTable;
use testkit::aws_endpoint::AwsEndpoint;
use testkit::aws_sdk::sdk_config;
use testkit::clock::TestClock;
use testkit::delayed_queue::{DelayedBatch, DelayedQueue};
use testkit::dynamodb::CONNECTIONS_TABLE;
use testkit::events::{QueueRecord, queue_batch};
use testkit::steps::Steps;
use tokio::task::JoinHandle;

use super::bus::SteppedBus;
use super::world::{SKEW, World};

/// A queue as an environment reaches it.
pub(super) struct SteppedQueue {
    queue: DelayedQueue,
    steps: Steps,
    world: Rc<World>,
}

impl Queue for SteppedQueue {
    async fn send(&self, records: &[Record]) -> Vec<Result<(), QueueError>> {
        self.steps.pass().await;
        if self.world.random.borrow_mut().f64() < self.world.faults.get().queue {
            let error =
                QueueError::Unavailable { operation: "SendMessageBatch", reason: "as the test says".to_owned() };
            return vec![Err(error); records.len()];
        }
        let results = self.queue.send(records).await;
        self.steps.pass().await;
        results
    }

    async fn postpone(&self, receipt_handles: &[String], seconds: u32) -> Vec<Result<(), QueueError>> {
        self.steps.pass().await;
        let results = self.queue.postpone(receipt_handles, seconds).await;
        self.steps.pass().await;
        results
    }

    async fn delete(&self, receipt_handles: &[String]) -> Vec<Result<(), QueueError>> {
        self.queue.delete(receipt_handles).await
    }

    async fn depth(&self) -> Result<u64, QueueError> {
        self.queue.depth().await
    }
}

pub(super) type Function = PresenceFunction<SteppedQueue, SteppedBus, TestClock>;

/// One of the environments that run side by side.
struct Slot {
    steps: Steps,
    /// The endpoint of the tables, which stops when it is dropped.
    endpoint: AwsEndpoint,
    client: aws_sdk_dynamodb::Client,
    function: Rc<Function>,
    stopped: Option<Stopped>,
}

/// An invocation that is stopped.
struct Stopped {
    task: JoinHandle<Vec<String>>,
    batch: DelayedBatch,
    until: u64,
}

/// The posts that publications have cost.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spent {
    /// Frames, each to everybody in a room.
    pub(super) frames: u64,
    /// The posts of all frames.
    pub(super) posts: u64,
    /// The posts of the frame with the most posts.
    pub(super) largest: u64,
}

pub(super) struct Environments {
    world: Rc<World>,
    slots: RefCell<Vec<Slot>>,
    /// The posts that publications have cost so far.
    pub(super) spent: Cell<Spent>,
    /// Each `rev` that reached the rooms' queue.
    pub(super) told: RefCell<BTreeSet<(String, u64)>>,
    pub(super) kills: Cell<u64>,
    /// The steps after which the next invocation is killed, if it is to be.
    kill_next: Cell<Option<u64>>,
}

impl Environments {
    pub(super) fn new(world: &Rc<World>) -> Self {
        let slot = |_| {
            let steps = Steps::default();
            let endpoint = world.lagging.endpoint(&steps);
            let client = aws_sdk_dynamodb::Client::new(&sdk_config(&endpoint.url()));
            let function = Rc::new(function(world, &client, &steps));
            Slot { steps, endpoint, client, function, stopped: None }
        };
        Self {
            slots: RefCell::new((0..2).map(slot).collect()),
            world: Rc::clone(world),
            spent: Cell::default(),
            told: RefCell::default(),
            kills: Cell::default(),
            kill_next: Cell::default(),
        }
    }

    pub(super) fn kill_next_after(&self, steps: u64) {
        self.kill_next.set(Some(steps));
    }

    /// Whether nothing is under way.
    pub(super) fn are_idle(&self) -> bool {
        let slots = self.slots.borrow();
        slots.iter().all(|slot| slot.stopped.is_none())
            && self.world.ticks.is_empty()
            && self.world.broadcasts.is_empty()
    }

    /// Lets a moment pass: everything that is due is done.
    pub(super) async fn moment(&self, millis: u64) {
        self.world.advance(millis);
        for place in 0..2 {
            let mut slot = self.slots.borrow_mut().remove(place);
            self.serve(&mut slot).await;
            self.slots.borrow_mut().insert(place, slot);
        }
        self.post();
        self.world.serve_clients();
    }

    async fn serve(&self, slot: &mut Slot) {
        let world = &self.world;
        if let Some(stopped) = slot.stopped.take_if(|stopped| stopped.until <= world.now()) {
            slot.steps.release();
            let failures = stopped.task.await.unwrap();
            world.ticks.settle(&stopped.batch, &failures);
        }
        if slot.stopped.is_some() {
            return;
        }
        let Some(batch) = world.ticks.receive() else { return };
        let kills = world.faults.get().kills;
        let kill = self.kill_next.take();
        let is_stop = world.random.borrow_mut().f64() < kills;
        if kill.is_none() && !is_stop {
            slot.steps.run_free();
            let failures = handle(Rc::clone(&slot.function), batch.records.clone()).await;
            world.ticks.settle(&batch, &failures);
            return;
        }
        slot.steps.stop_after(kill.unwrap_or_else(|| world.below(24)));
        let mut task = tokio::task::spawn_local(handle(Rc::clone(&slot.function), batch.records.clone()));
        tokio::select! {
            failures = &mut task => world.ticks.settle(&batch, &failures.unwrap()),
            () = slot.steps.stopped() => {
                if kill.is_some() || world.below(2) == 0 {
                    // Killed.
                    task.abort();
                    let _ = task.await;
                    self.kills.set(self.kills.get() + 1);
                    self.renew(slot);
                } else {
                    let until = world.now() + world.below(200_000);
                    slot.stopped = Some(Stopped { task, batch, until });
                }
            }
        }
    }

    /// Another environment takes the place of one that was killed.
    fn renew(&self, slot: &mut Slot) {
        // Calls of the dead environment wait at its steps for ever.
        slot.steps = Steps::default();
        slot.endpoint = self.world.lagging.endpoint(&slot.steps);
        slot.client = aws_sdk_dynamodb::Client::new(&sdk_config(&slot.endpoint.url()));
        slot.function = Rc::new(function(&self.world, &slot.client, &slot.steps));
    }

    /// Posts what waits in the rooms' queue, as `fanout` does.
    fn post(&self) {
        let Some(batch) = self.world.broadcasts.receive() else { return };
        let mut rooms: BTreeMap<String, Vec<PresenceJob>> = BTreeMap::new();
        for record in &batch.records {
            let job = PresenceJob::read(&record.body, &record.group).unwrap();
            self.told.borrow_mut().insert((record.group.clone(), job.publication.rev));
            rooms.entry(record.group.clone()).or_default().push(job);
        }
        for (room, jobs) in rooms {
            let job = merge(&jobs).unwrap();
            let frame: Value = serde_json::from_slice(frame(&job.room, &job.publication).body()).unwrap();
            let posts = self.world.lagging.connections(&room, job.publication.rev);
            let Spent { frames, posts: before, largest } = self.spent.get();
            self.spent.set(Spent { frames: frames + 1, posts: before + posts, largest: largest.max(posts) });
            self.world.post(&room, &frame);
        }
        self.world.broadcasts.settle(&batch, &[]);
    }
}

pub(super) fn function(world: &Rc<World>, client: &aws_sdk_dynamodb::Client, steps: &Steps) -> Function {
    let clock = world.clock.ahead_by_millis(world.random.borrow_mut().i64(-SKEW..=SKEW));
    let stepped =
        |queue: &DelayedQueue| SteppedQueue { queue: queue.clone(), steps: steps.clone(), world: Rc::clone(world) };
    PresenceFunction {
        presence: PresenceTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
        connections: ConnectionTable::new(client.clone(), CONNECTIONS_TABLE, clock.clone()),
        broadcasts: stepped(&world.broadcasts),
        ticks: stepped(&world.ticks),
        bus: SteppedBus { bus: world.bus.clone(), steps: steps.clone(), world: Rc::clone(world) },
        budget: Budget::new(world.settings.posts_per_second),
        settings: world.settings.clone(),
        clock,
    }
}

/// Invokes the function, with time enough; returns the batch item failures.
pub(super) async fn handle(function: Rc<Function>, records: Vec<QueueRecord>) -> Vec<String> {
    handle_within(Duration::from_secs(600), function, records).await
}

/// Like [`handle`], with this much time.
pub(super) async fn handle_within(time: Duration, function: Rc<Function>, records: Vec<QueueRecord>) -> Vec<String> {
    let event: SqsEvent = serde_json::from_value(queue_batch(&records)).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + time;
    let mut context = Context::default();
    context.deadline = u64::try_from(now.as_millis()).unwrap();
    let response = function.handle(LambdaEvent::new(event, context), &Metrics::default()).await.unwrap();
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

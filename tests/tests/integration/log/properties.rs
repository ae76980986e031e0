//! Properties of every log, in random runs of appends, redeliveries of any messages, crashes, lost answers, races,
//! differing clocks, expiry, and changed retention.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use fanout::log::{AppendError, Batch};
use fastrand::Rng;
use futures::future::join_all;
use shared::clock::Clock;
use shared::{LoggedMessage, Message};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::clock::TestClock;
use testkit::dynamodb::DynamoDb;
use testkit::seeds::for_each_seed;
use testkit::steps::polled_at_most;

use super::writer::{ROOM, Writer, append, batch_of, client, message, writer_over};

const SEEDS: usize = 200;
const STEPS: usize = 20;
const WRITERS: usize = 3;

/// The greatest error of the writers' clocks, in milliseconds.
const CLOCK_ERROR: i64 = 2_000;

const RETENTIONS: [u64; 3] = [60, 120, 3_600];

/// The seconds before a log's end in which its numbers may jump, as they may when it is empty.
const LAST_MOMENTS: u64 = 5;

/// The largest age at which a record can be new, in milliseconds: the queue's deduplication window.
const DEDUPLICATION: u64 = 5 * 60 * 1_000;

#[test]
fn whatever_happens_a_log_is_consecutive_and_has_each_message_once() {
    for_each_seed("the log", SEEDS, |seed| async move {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step().await;
            run.observe();
        }
        run.finish().await;
    });
}

struct Run {
    random: Rng,
    dynamodb: DynamoDb,
    client: Client,
    clock: TestClock,
    retention: u64,
    writers: Vec<Writer>,
    /// Every batch that the queue has handed out.
    batches: Vec<Batch>,
    /// The batches that the queue has still to deliver again: nobody has said that they are in the log.
    pending: Vec<Batch>,
    accepted: u64,
    /// All rows that were ever in the table.
    log: BTreeMap<u64, Entry>,
}

struct Entry {
    id: String,
    expires_at: u64,
}

/// The result of an append; `None` when the writer crashed.
type Ended = Option<Result<Vec<LoggedMessage>, AppendError>>;

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let retention = RETENTIONS[random.usize(..RETENTIONS.len())];
        let mut run = Self {
            random,
            client: client(&dynamodb),
            dynamodb,
            clock,
            retention,
            writers: Vec::new(),
            batches: Vec::new(),
            pending: Vec::new(),
            accepted: 0,
            log: BTreeMap::new(),
        };
        run.writers = (0..WRITERS).map(|_| run.environment()).collect();
        run
    }

    /// A new environment: a cache of its own, a clock of its own, and the retention as it is set now.
    fn environment(&mut self) -> Writer {
        let clock = self.clock.ahead_by_millis(self.random.i64(-CLOCK_ERROR..=CLOCK_ERROR));
        writer_over(self.client.clone(), &clock, self.retention)
    }

    async fn step(&mut self) {
        self.clock.advance(Duration::from_millis(self.random.u64(1..500)));
        match self.random.u32(..20) {
            0..=6 => {
                let batch = self.new_batch();
                self.deliver(vec![batch]).await;
            }
            7..=11 => {
                let batch = self.redelivery();
                self.deliver(vec![batch]).await;
            }
            12..=14 => self.race().await,
            15 | 16 => self.pass_time(),
            17 => {
                self.retention = RETENTIONS[self.random.usize(..RETENTIONS.len())];
                let place = self.random.usize(..WRITERS);
                self.writers[place] = self.environment();
            }
            _ => {
                let share = self.random.f64();
                self.dynamodb.delete_expired(ROOM, self.clock.unix_seconds(), share, &mut self.random);
            }
        }
    }

    fn new_batch(&mut self) -> Batch {
        let count = if self.random.bool() { 1 } else { self.random.u64(1..=10) };
        let first = self.accepted;
        self.accepted += count;
        let messages = (first..first + count).map(|number| message(&format!("m{number}"), &self.clock)).collect();
        batch_of(messages)
    }

    /// A suffix of earlier messages, or any part of them, perhaps with new ones behind it.
    fn redelivery(&mut self) -> Batch {
        if let Some(batch) = self.pending.pop() {
            return Batch { redelivered: true, ..batch };
        }
        let from = self.random.usize(..=self.batches.len());
        let mut messages: Vec<Message> = self.batches[from..].iter().flat_map(|batch| batch.messages.clone()).collect();
        if self.random.bool() {
            let keep = self.random.f64();
            messages.retain(|_| self.random.f64() < keep);
        }
        let skip = messages.len().saturating_sub(10);
        messages.drain(..if self.random.bool() { skip } else { 0 });
        messages.truncate(10);
        if messages.is_empty() || self.random.u32(..4) == 0 {
            messages.extend(self.new_batch().messages);
        }
        messages.truncate(10);
        // A redrive from the dead-letter queue counts deliveries from 1 again, minutes after the message was accepted.
        let oldest = messages.iter().map(|message| message.sent_at).min().unwrap_or_default();
        let is_redrive = self.clock.unix_millis() - oldest > DEDUPLICATION && self.random.bool();
        Batch { redelivered: !is_redrive, ..batch_of(messages) }
    }

    /// Several writers at once, as when a batch's visibility expires while its consumer is still at it.
    async fn race(&mut self) {
        let mut batches = vec![self.new_batch()];
        if self.random.bool() {
            batches.push(Batch { redelivered: true, ..batches[0].clone() });
        }
        while batches.len() < WRITERS && self.random.bool() {
            batches.push(if self.random.bool() { self.new_batch() } else { self.redelivery() });
        }
        self.deliver(batches).await;
    }

    /// Hands batches to as many writers at once, of which some crash, and some lose answers on the way.
    async fn deliver(&mut self, batches: Vec<Batch>) {
        self.dynamodb.endpoint().clear_faults();
        self.script_faults();
        let crashes: Vec<_> =
            batches.iter().map(|_| (self.random.u32(..5) == 0).then(|| self.random.u32(1..30))).collect();
        self.random.shuffle(&mut self.writers);
        let appends = batches.iter().zip(&self.writers).zip(&crashes).map(|((batch, writer), crash)| async move {
            match crash {
                Some(polls) => polled_at_most(*polls, append(writer, batch)).await,
                None => Some(append(writer, batch).await),
            }
        });
        let ended: Vec<Ended> = join_all(appends).await;
        self.observe();
        for (place, (batch, ended)) in batches.into_iter().zip(ended).enumerate() {
            match ended {
                Some(Ok(logged)) => self.check_answer(&batch, &logged),
                Some(Err(_)) => self.pending.push(batch.clone()),
                None => {
                    self.pending.push(batch.clone());
                    self.writers[place] = self.environment();
                    // The table's pending calls are finished before time passes.
                    self.dynamodb.endpoint().settled().await;
                }
            }
            self.batches.push(batch);
        }
    }

    fn script_faults(&mut self) {
        for operation in ["PutItem", "TransactWriteItems", "Query"] {
            let fault = match self.random.u32(..12) {
                0 | 1 => Fault::DropAfter,
                2 => Fault::DropBefore,
                3 => Fault::throughput_exceeded(),
                4 => Fault::Delay(Duration::from_millis(self.random.u64(1..10))),
                5 if operation == "TransactWriteItems" => Fault::transaction_cancelled(&["TransactionConflict"]),
                _ => continue,
            };
            let (skip, times) = (self.random.usize(..2), self.random.usize(1..=3));
            self.dynamodb.fault(Rule::on(operation, fault).after(skip).times(times));
        }
    }

    fn pass_time(&mut self) {
        let retention = self.retention * 1_000;
        let millis = match self.random.u32(..4) {
            0 => self.random.u64(..retention / 2),
            // Around the end of a log, by one clock or the other.
            1 => self.random.u64(retention * 7 / 10..retention + 3_000),
            2 => retention + 1_000,
            _ => self.random.u64(..retention * 2),
        };
        self.clock.advance(Duration::from_millis(millis));
    }

    /// Reads the table, and checks what has come into it since it was read last.
    fn observe(&mut self) {
        // The time up to which some writer's clock may already take rows for expired.
        let ended = self.clock.unix_seconds() + CLOCK_ERROR.unsigned_abs().div_ceil(1_000);
        for row in self.dynamodb.log(ROOM) {
            let (seq, id) = (row["seq"].as_u64().unwrap(), row["id"].as_str().unwrap().to_owned());
            let expires_at = row["expiresAt"].as_u64().unwrap();
            if let Some(known) = self.log.get(&seq) {
                assert_eq!(known.id, id, "{seq} was given twice");
                continue;
            }
            if let Some((last, entry)) = self.log.last_key_value() {
                assert!(seq > *last, "{seq} ({id}) came after {last}");
                let emptied = entry.expires_at <= ended + LAST_MOMENTS;
                assert!(seq == last + 1 || emptied, "{seq} ({id}) follows {last}, and the log was not empty");
                assert!(expires_at >= entry.expires_at, "{seq} ({id}) expires before {last}");
            }
            let before = self.log.iter().find(|(_, entry)| entry.id == id && entry.expires_at > ended);
            assert!(before.is_none(), "{id} is {seq}, and was {before:?} before", before = before.map(|(seq, _)| seq));
            self.log.insert(seq, Entry { id, expires_at });
        }
    }

    /// Checks a writer's answer about a batch: it has all messages, in order, under their numbers in the log.
    fn check_answer(&self, batch: &Batch, logged: &[LoggedMessage]) {
        assert!(logged.is_sorted_by(|one, next| one.seq < next.seq), "{logged:?}");
        for LoggedMessage { seq, message } in logged {
            let entry =
                self.log.get(seq).unwrap_or_else(|| panic!("{} is not in the log, as {seq} or at all", message.id));
            assert_eq!(entry.id, message.id, "the log has another message as {seq}");
        }
        let ids = |messages: &mut dyn Iterator<Item = &Message>| -> BTreeSet<String> {
            messages.map(|message| message.id.clone()).collect()
        };
        let (of_batch, answered) =
            (ids(&mut batch.messages.iter()), ids(&mut logged.iter().map(|logged| &logged.message)));
        assert_eq!(of_batch, answered);
        assert_eq!(logged.len(), of_batch.len());
    }

    /// Redelivers everything until it is in the log; then no accepted message is missing.
    async fn finish(mut self) {
        self.dynamodb.endpoint().clear_faults();
        while let Some(batch) = self.pending.pop() {
            let again = Batch { redelivered: true, ..batch };
            let logged = append(&self.writers[0], &again).await.unwrap();
            self.observe();
            self.check_answer(&again, &logged);
        }
        self.observe();
        let logged: BTreeSet<_> = self.log.values().map(|entry| entry.id.as_str()).collect();
        let delivered = self.batches.iter().flat_map(|batch| &batch.messages);
        let lost: Vec<_> = delivered.filter(|message| !logged.contains(message.id.as_str())).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
    }
}

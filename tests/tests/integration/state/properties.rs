//! Properties of every snapshot, in random runs of batches, redeliveries, crashes between any two calls, lost answers,
//! races, cold environments, and clients that join, page and come back in the middle of it.
//!
//! Each page holds what the log says up to its number, and nothing else. A snapshot with the later broadcasts is what
//! the log says, also for a client that keeps the values that it had before.
//!
//! In some runs hours pass, so that the log forgets. A removal must be remembered for as long as the log has it, or has
//! an older message that came after it; it may be remembered for longer.

use std::collections::BTreeMap;
use std::time::Duration;

use fanout::log::Batch;
use fastrand::Rng;
use futures::future::{join, join_all};
use serde_json::json;
use shared::Message;
use shared::clock::Clock;
use testkit::aws_endpoint::{Fault, Rule};
use testkit::seeds::for_each_seed;
use testkit::steps::polled_at_most;

use super::view::{Page, View, fold, read_log, remembered, values};
use super::{Environment, ROOM, Tables, batch, redelivered};
use crate::log::Session;

const SEEDS: usize = 150;
const STEPS: usize = 25;
const WRITERS: usize = 2;
const READERS: usize = 2;
const KEYS: u32 = 8;

/// One in so many runs lets hours pass.
const LONG: u64 = 3;

/// The seconds that pass at once: three times 1,700 is more than the log's retention, and twice that is less, with all
/// that a run takes.
const HOURS: u64 = 1_700;

#[test]
fn a_snapshot_with_the_stream_after_it_is_what_the_log_says() {
    for_each_seed("state", SEEDS, |seed| async move {
        let mut run = Run::new(seed);
        for _ in 0..STEPS {
            run.step().await;
        }
        run.finish().await;
    });
}

struct Run {
    random: Rng,
    tables: Tables,
    writers: Vec<Environment>,
    readers: Vec<Session>,
    clients: Vec<View>,
    /// All batches that the queue has handed out, and those that it still has to deliver again.
    batches: Vec<Batch>,
    pending: Vec<Batch>,
    accepted: u64,
    is_long: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let tables = Tables::new();
        Self {
            random: Rng::with_seed(seed),
            writers: (0..WRITERS).map(|_| tables.environment()).collect(),
            readers: (0..READERS).map(|_| tables.session()).collect(),
            clients: vec![View::default(), View::default()],
            batches: Vec::new(),
            pending: Vec::new(),
            accepted: 0,
            is_long: seed.is_multiple_of(LONG),
            tables,
        }
    }

    async fn step(&mut self) {
        // Most steps are within the second for which pages are kept.
        let millis = if self.random.u32(..6) == 0 { 1_500 } else { self.random.u64(1..120) };
        self.tables.clock.advance(Duration::from_millis(millis));
        if self.is_long && self.random.u32(..4) == 0 {
            self.let_hours_pass().await;
        }
        match self.random.u32(..12) {
            0..=3 => {
                let batch = self.new_batch();
                self.deliver(vec![batch]).await;
            }
            4 | 5 => {
                let batch = self.redelivery();
                self.deliver(vec![batch]).await;
            }
            6 => {
                let batches = vec![self.new_batch(), self.redelivery()];
                self.deliver(batches).await;
            }
            7 => {
                let place = self.random.usize(..WRITERS);
                self.writers[place] = self.tables.environment();
            }
            _ => self.read().await,
        }
    }

    /// Lets hours pass, once everything that was begun is done: no batch waits for hours here.
    async fn let_hours_pass(&mut self) {
        while let Some(batch) = self.pending.pop() {
            self.writers[0].bring(&batch).await.unwrap();
        }
        self.batches.clear();
        self.clients.iter_mut().for_each(View::cut);
        self.tables.clock.advance(Duration::from_secs(HOURS));
    }

    fn new_batch(&mut self) -> Batch {
        let count = self.random.u64(1..=4);
        let messages = (0..count).map(|_| self.new_message()).collect();
        batch(messages)
    }

    fn new_message(&mut self) -> Message {
        self.accepted += 1;
        let id = format!("m{}", self.accepted);
        let key = format!("k{}", self.random.u32(..KEYS));
        let version = self.random.bool().then(|| self.random.u64(..6));
        match self.random.u32(..8) {
            0 | 1 => self.tables.plain(&id),
            2 => self.tables.removal(&id, &key, version),
            3 => Message { version, ttl_seconds: Some(self.random.u64(1..=2)), ..self.tables.message(&id, &key) },
            _ => Message { version, ..self.tables.message(&id, &key) },
        }
    }

    /// A batch whose writer was killed or failed, or any part of the earlier ones, perhaps with a new message.
    fn redelivery(&mut self) -> Batch {
        if let Some(batch) = self.pending.pop() {
            return batch;
        }
        let from = self.random.usize(..=self.batches.len());
        let mut messages: Vec<_> = self.batches[from..].iter().flat_map(|batch| batch.messages.clone()).collect();
        messages.truncate(self.random.usize(1..=6));
        if messages.is_empty() || self.random.bool() {
            messages.push(self.new_message());
        }
        redelivered(&batch(messages))
    }

    /// Hands batches to as many writers at once, some of which are killed; a client reads meanwhile.
    async fn deliver(&mut self, batches: Vec<Batch>) {
        self.script_faults();
        self.random.shuffle(&mut self.writers);
        let kills: Vec<_> =
            batches.iter().map(|_| (self.random.u32(..3) == 0).then(|| self.random.u32(1..40))).collect();
        let bring = batches.iter().zip(&self.writers).zip(&kills).map(|((batch, writer), kill)| async move {
            match kill {
                Some(polls) => polled_at_most(*polls, writer.bring(batch)).await,
                None => Some(writer.bring(batch).await),
            }
        });
        let reads = self.random.bool();
        let reader = &self.readers[self.random.usize(..READERS)];
        let client = self.random.usize(..self.clients.len());
        let how = How::any(&mut self.random);
        let view = &mut self.clients[client];
        let reading = async { if reads { ask(reader, view, how, client).await } else { None } };
        let (ended, page) = join(join_all(bring), reading).await;
        self.tables.dynamodb.endpoint().clear_faults();
        for (place, (batch, ended)) in batches.into_iter().zip(ended).enumerate() {
            if !matches!(ended, Some(Ok(_))) {
                self.pending.push(redelivered(&batch));
            }
            if ended.is_none() {
                self.writers[place] = self.tables.environment();
                self.tables.dynamodb.endpoint().settled().await;
            }
            self.batches.push(batch);
        }
        if let Some((after, page)) = page {
            self.take(client, &after, page);
        }
    }

    fn script_faults(&mut self) {
        for operation in ["PutItem", "TransactWriteItems", "Query"] {
            let fault = match self.random.u32(..10) {
                0 => Fault::DropAfter,
                1 => Fault::DropBefore,
                2 => Fault::throughput_exceeded(),
                3 | 4 => Fault::Delay(Duration::from_millis(self.random.u64(1..8))),
                _ => continue,
            };
            let (skip, times) = (self.random.usize(..4), self.random.usize(1..=4));
            self.tables.dynamodb.fault(Rule::on(operation, fault).after(skip).times(times));
        }
    }

    /// A client asks for its next page, or comes back.
    async fn read(&mut self) {
        let client = self.random.usize(..self.clients.len());
        if self.random.u32(..8) == 0 {
            self.clients[client].cut();
        }
        let reader = &self.readers[self.random.usize(..READERS)];
        let how = How::any(&mut self.random);
        if let Some((after, page)) = ask(reader, &mut self.clients[client], how, client).await {
            self.take(client, &after, page);
        }
    }

    /// Checks a page, and gives it to the client.
    fn take(&mut self, client: usize, after: &str, page: Page) {
        let (log, now) = (read_log(&self.tables.dynamodb), self.tables.clock.unix_millis());
        let remembered = |through| remembered(&log, through, now / 1_000);
        let named = self.clients[client].asks_for().map_or(page.seq, |(_, first)| first);
        for (key, fact) in &page.entries {
            let (of, said, _) = &log[&fact.rank.seq];
            assert_eq!((of, said), (key, fact), "{key} is not what the log says");
            assert!(page.has_place_for(after, key), "{key} is beyond the page: {page:?}");
        }
        for (key, rank) in &page.removed {
            let (_, fact, _) = &log[&rank.seq];
            assert!(fact.value(now).is_none() && fact.rank == *rank, "{key} is there: {fact:?}");
        }
        let most = fold(&log, page.seq);
        for (key, fact) in remembered(page.seq).iter().filter(|(key, _)| page.has_place_for(after, key)) {
            let told = page.entries.get(key).map(|told| told.rank).or(page.removed.get(key).copied());
            // A removal is not told if nothing older can come.
            let is_silent = fact.value(now).is_none() && fact.rank.version == 0 && fact.rank.seq <= named;
            // A removal was remembered for longer than necessary, superseded this message, and is forgotten together
            // with it.
            let is_kept_out = most[key].rank != fact.rank && most[key].value(now).is_none();
            let is_superseded = is_kept_out && log[&fact.rank.seq].2.is_over(now / 1_000);
            match told {
                Some(rank) => assert!(rank >= fact.rank, "{key} is {rank:?}, and was {fact:?} as of {}", page.seq),
                None => {
                    assert!(is_silent || is_superseded, "{key} is missing, {fact:?} as of {}: {page:?}", page.seq);
                }
            }
        }
        if self.clients[client].page(page) {
            self.clients[client].stream(&log);
        }
        if self.clients[client].asks_for().is_none() {
            self.clients[client].stream(&log);
            self.check(client);
        }
    }

    /// Compares a client's map with what the log says, and with what it would say if it forgot nothing.
    fn check(&self, client: usize) {
        let (log, now) = (read_log(&self.tables.dynamodb), self.tables.clock.unix_millis());
        let told = self.clients[client].values(now);
        let (least, most) = (remembered(&log, u64::MAX, now / 1_000), fold(&log, u64::MAX));
        let (least, most) = (values(&least, now), values(&most, now));
        for key in told.keys().chain(least.keys()).chain(most.keys()) {
            let (told, least, most) = (told.get(key), least.get(key), most.get(key));
            assert!(told == least || told == most, "{key} is {told:?} for a client, and not {least:?} or {most:?}");
        }
    }

    /// Redelivers everything until it is done; then every client has what the log says, and so has the table.
    async fn finish(mut self) {
        while let Some(batch) = self.pending.pop() {
            self.writers[0].bring(&batch).await.unwrap();
        }
        for client in 0..self.clients.len() {
            self.clients[client].cut();
            loop {
                let (after, page) = ask(&self.readers[0], &mut self.clients[client], How::ALL, client).await.unwrap();
                self.take(client, &after, page);
                if self.clients[client].asks_for().is_none() {
                    break;
                }
            }
        }
        let log = read_log(&self.tables.dynamodb);
        let rows = self.tables.dynamodb.state(ROOM);
        let in_table: BTreeMap<_, _> =
            rows.iter().map(|row| (row["key"].as_str().unwrap(), row["seq"].as_u64().unwrap())).collect();
        let (least, most) = (remembered(&log, u64::MAX, self.tables.clock.unix_seconds()), fold(&log, u64::MAX));
        for (key, most) in most {
            let (stored, most) = (in_table[key.as_str()], most.rank.seq);
            let least = least.get(&key).map(|fact| fact.rank.seq);
            assert!(
                stored == most || least.is_none_or(|least| stored == least),
                "{key}: {stored}, {least:?} or {most}"
            );
        }
    }
}

/// The way in which a client asks.
#[derive(Clone, Copy)]
struct How {
    /// Entries of a page at the most.
    limit: u32,
    /// Whether the messages of a join are to leave no room for state.
    is_full: bool,
    /// Whether it joins with the position that it has.
    resumes: bool,
}

impl How {
    const ALL: Self = Self { limit: 1_000, is_full: false, resumes: false };

    fn any(random: &mut Rng) -> Self {
        Self { limit: random.u32(1..=6), is_full: random.bool(), resumes: random.bool() }
    }
}

/// Asks for a client's next page, or joins; returns the key after which the page begins, and the page: `None` when a
/// table did not answer, when the reply to a join is full, and when a join needs no state.
async fn ask(session: &Session, view: &mut View, how: How, client: usize) -> Option<(String, Page)> {
    let How { limit, is_full, resumes } = how;
    let (connection, subject) = (format!("c{client}="), format!("client-{client}"));
    let (after, frame) = if let Some((after, seq)) = view.asks_for() {
        let frame = json!({"action": "getState", "roomId": ROOM, "after": after, "seq": seq, "limit": limit});
        (after, frame)
    } else {
        let after = view.position().filter(|_| resumes);
        (String::new(), json!({"action": "joinRoom", "roomId": ROOM, "state": true, "after": after}))
    };
    let reply = session.request(&connection, &subject, &frame).await;
    match reply["type"].as_str() {
        Some("error") => {
            assert!(["rate_limited", "unavailable"].contains(&reply["code"].as_str().unwrap()), "{reply}");
            None
        }
        // The client has everything, or gets it by later broadcasts.
        Some("joined") if reply.get("state").is_none() => None,
        Some("joined") if is_full => {
            view.begin(reply["seq"].as_u64().unwrap());
            None
        }
        _ => Some((after, Page::of(&reply))),
    }
}

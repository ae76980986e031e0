//! A client over all its connections: it joins, sends, is cut off, comes back with another token and resumes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use testkit::application::RoomView;
use testkit::history::{History, Membership};
use testkit::websocket::{Client, Handshake};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::world::{ROOMS, World};

/// The time that a client waits for an answer before it takes its connection for dead.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// The time between two beats of a client that misses nothing.
const BEAT: Duration = Duration::from_secs(10);

/// Milliseconds between two steps of a client.
const STEP_MS: std::ops::Range<u64> = 100..600;

/// The chance of a new message at each step.
const SENDS: f64 = 0.1;

pub(super) struct ChaosClient {
    world: Arc<World>,
    pub(super) name: String,
    random: Rng,
    cuts: watch::Receiver<f64>,
    connection: Option<Connection>,
    pub(super) views: BTreeMap<&'static str, RoomView>,
    /// The id and room of the message that the client sends again until the message is accepted.
    unsent: Option<(String, &'static str)>,
    sent: u32,
    patience: Instant,
    beat: Instant,
}

struct Connection {
    client: Client,
    joined: Vec<&'static str>,
    read: usize,
}

impl ChaosClient {
    pub(super) fn new(world: &Arc<World>, number: usize, mut random: Rng) -> Self {
        let mut views = BTreeMap::new();
        for (place, room) in ROOMS.iter().enumerate() {
            if place == 0 || random.u32(..3) == 0 {
                views.insert(*room, RoomView::new(room));
            }
        }
        Self {
            world: Arc::clone(world),
            name: format!("client-{number}"),
            random,
            cuts: world.cuts.subscribe(),
            connection: None,
            views,
            unsent: None,
            sent: 0,
            patience: Instant::now(),
            beat: Instant::now(),
        }
    }

    /// Takes steps, writes messages and loses connections until the faults are over.
    pub(super) async fn live(&mut self) {
        while !self.world.is_calm() {
            sleep(Duration::from_millis(self.random.u64(STEP_MS))).await;
            if self.cuts.has_changed().unwrap_or(false) && self.random.f64() < *self.cuts.borrow_and_update() {
                self.connection = None;
            }
            if self.unsent.is_none() && self.random.f64() < SENDS {
                self.write();
            }
            self.step().await;
        }
    }

    fn write(&mut self) {
        self.sent += 1;
        let rooms: Vec<_> = self.views.keys().copied().collect();
        let (id, room) = (format!("{}-{}", self.name, self.sent), rooms[self.random.usize(..rooms.len())]);
        self.world.sending(&id, room);
        self.unsent = Some((id, room));
    }

    /// Whether it has everything up to these heads, and has no message left to send.
    pub(super) fn is_up_to_date(&self, heads: &BTreeMap<&'static str, u64>) -> bool {
        let has_all = |(room, view): (&&'static str, &RoomView)| {
            view.position() >= heads.get(room).copied() && !view.is_incomplete()
        };
        self.unsent.is_none() && self.connection.is_some() && self.views.iter().all(has_all)
    }

    /// Whether it has no connection.
    pub(super) fn is_cut(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.client.end().is_some())
    }

    /// Its position, for a report.
    pub(super) fn describe(&self) -> String {
        let rooms: Vec<_> =
            self.views.iter().map(|(room, view)| (room, view.position(), view.is_incomplete())).collect();
        format!("{} (unsent {:?}, cut {}): {rooms:?}", self.name, self.unsent, self.is_cut())
    }

    /// The number up to which it has a room's messages, by broadcasts and by its own reads.
    pub(super) fn receive_up_to(&mut self, room: &'static str) -> Option<u64> {
        self.receive();
        self.views.get(room).and_then(RoomView::position)
    }

    pub(super) fn history(&self) -> History {
        History {
            connection: self.name.clone(),
            memberships: self.views.keys().map(|room| Membership::since(room, 0)).collect(),
            seen: self.views.values().flat_map(|view| view.seen().to_vec()).collect(),
        }
    }

    /// One step: the client connects if it has to, joins, receives, sends, and syncs when it misses something or a
    /// beat is due.
    pub(super) async fn step(&mut self) {
        if self.connection.as_ref().is_some_and(|connection| connection.client.end().is_some()) {
            self.receive();
            self.world.count("connections that the server ended");
            self.connection = None;
        }
        if self.connection.is_none() && !self.connect().await {
            return;
        }
        self.join_rooms().await;
        self.receive();
        self.send().await;
        if self.views.values().any(RoomView::is_incomplete) || self.beat.elapsed() > BEAT {
            self.sync().await;
        }
    }

    async fn connect(&mut self) -> bool {
        let handshake = Handshake::token(&self.world.token(&self.name));
        let handshake = timeout(ANSWER_WITHIN, self.world.stack.connect_with(&handshake)).await;
        let Ok(Ok(client)) = handshake else {
            // The authorizer has no keys, or a table does not answer.
            self.world.count("handshakes refused");
            sleep(Duration::from_millis(self.random.u64(STEP_MS))).await;
            return false;
        };
        self.world.count("connections made");
        self.connection = Some(Connection { client, joined: Vec::new(), read: 0 });
        true
    }

    async fn join_rooms(&mut self) {
        for room in self.views.keys().copied().collect::<Vec<_>>() {
            if self.connection.as_ref().is_none_or(|connection| connection.joined.contains(&room)) {
                continue;
            }
            let after = self.views.get_mut(room).and_then(RoomView::ask).unwrap_or_default();
            let frame = json!({ "action": "joinRoom", "roomId": room, "after": after });
            if let Some(joined) = self.ask("joined", frame).await {
                self.take_page(room, after, &joined);
                self.connection.as_mut().expect("it has answered").joined.push(room);
            }
        }
    }

    async fn send(&mut self) {
        let Some((id, room)) = self.unsent.clone().filter(|_| self.patience <= Instant::now()) else { return };
        let frame = json!({ "action": "sendMessage", "roomId": room, "id": id, "data": self.name });
        if self.ask("accepted", frame).await.is_some() {
            self.world.accepted_in_order(&id, &self.name);
            self.unsent = None;
        }
    }

    /// Reads missed messages, as long as there are more.
    pub(super) async fn sync(&mut self) {
        self.beat = Instant::now();
        loop {
            let rooms: BTreeMap<_, _> =
                self.views.iter_mut().map(|(room, view)| (*room, view.ask().unwrap_or_default())).collect();
            let Some(synced) = self.ask("synced", json!({ "action": "sync", "rooms": rooms })).await else { return };
            let mut more = false;
            for (room, after) in &rooms {
                // A room that is left out is asked for again.
                if let Some(page) = synced["rooms"].get(room) {
                    self.take_page(room, *after, page);
                    more |= page["more"] == true;
                }
            }
            if !more {
                return;
            }
        }
    }

    /// Asks for a reply of this kind. `None` when there is none: then its connection is gone, or it must ask later.
    async fn ask(&mut self, kind: &str, frame: Value) -> Option<Value> {
        let connection = self.connection.as_ref()?;
        let Some(reply) = connection.client.ask(frame.clone(), ANSWER_WITHIN).await else {
            self.receive();
            self.world.count("connections given up, for want of an answer");
            self.connection = None;
            return None;
        };
        self.receive();
        if reply["type"] == kind {
            return Some(reply);
        }
        match reply["code"].as_str() {
            Some("unavailable") => self.world.count("frames answered `unavailable`"),
            Some("rate_limited") => self.world.count("frames answered `rate_limited`"),
            _ => self.world.violation(format!("{}: the reply to {frame} is {reply}", self.name)),
        }
        let wait = Duration::from_millis(reply["retryAfterMs"].as_u64().unwrap_or(500));
        self.patience = Instant::now() + wait;
        None
    }

    /// Takes the broadcasts that have arrived.
    fn receive(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let new = connection.client.received_from(connection.read);
        connection.read += new.len();
        for frame in new.into_iter().filter(|frame| frame.json["type"] == "messages") {
            let room = frame.json["roomId"].as_str().unwrap_or_default();
            let Some((_, view)) = self.views.iter_mut().find(|(name, _)| **name == room) else {
                self.world.violation(format!("{} is not in the room of {}", self.name, frame.text));
                continue;
            };
            let had = view.seen().len();
            view.broadcast(&frame.json);
            tell(&self.world, view, had, frame.at, true);
        }
    }

    fn take_page(&mut self, room: &'static str, asked: u64, page: &Value) {
        let view = self.views.get_mut(room).expect("a room of its own");
        if page["truncated"] == true {
            self.world.violation(format!("{}: nothing has expired, but {room} after {asked} is {page}", self.name));
        }
        let had = view.seen().len();
        view.page(Some(asked), page);
        tell(&self.world, view, had, Instant::now(), false);
    }
}

/// Notes the messages that a client has seen since it `had` so many.
fn tell(world: &World, view: &RoomView, had: usize, at: Instant, by_broadcast: bool) {
    for seen in &view.seen()[had..] {
        world.seen(&seen.id, at, by_broadcast);
    }
}

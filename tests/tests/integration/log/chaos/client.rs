//! A client over all its connections: it joins, sends, is cut off, comes back and resumes.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use shared::clock::Clock;
use testkit::application::{RoomView, Truncation};

use super::moment;
use super::world::{ROOMS, World};

/// The most actions of a client before it rests.
const ACTIONS: u32 = 12;

/// The time for which a client that has seen a log empty may take all that the log holds later for all that there was;
/// less than retention.
const TRUST_EMPTY: Duration = Duration::from_secs(600);

/// The share of delivered frames that never reach the client, and of failed posts whose frames reach it all the same.
const LOST_FRAMES: f64 = 0.08;

pub(super) struct ChaosClient {
    world: Rc<World>,
    pub(super) subject: String,
    random: Rng,
    connection: Option<Connection>,
    rooms: Vec<&'static str>,
    pub(super) views: BTreeMap<&'static str, View>,
    sent: u32,
}

struct Connection {
    id: String,
    joined: Vec<&'static str>,
    /// The number of the server's attempts that the client has looked at.
    read: usize,
}

/// One room as the client sees it, and the numbers that it must see.
pub(super) struct View {
    pub(super) room: RoomView,
    /// The log's head when the client joined first, above which it may see messages; 0 if there was none.
    pub(super) head: u64,
    /// The number above which the client must see every message. That of a log without a head is the time, since a
    /// reader may remember for a while that there was none.
    pub(super) since: u64,
    /// Each truncation that the client was told of, with the time.
    pub(super) truncations: Vec<(Truncation, u64)>,
    seen_empty: u64,
}

impl ChaosClient {
    pub(super) fn new(world: Rc<World>, number: usize, mut random: Rng) -> Self {
        let mut rooms = ROOMS.to_vec();
        if random.bool() {
            rooms.remove(random.usize(..rooms.len()));
        }
        let subject = format!("client-{number}");
        Self { world, subject, random, connection: None, rooms, views: BTreeMap::new(), sent: 0 }
    }

    /// Acts at random during a time of faults.
    pub(super) async fn live(&mut self) {
        for _ in 0..self.random.u32(ACTIONS / 2..=ACTIONS) {
            self.world.advance(Duration::from_millis(self.random.u64(1..3_000)));
            match self.random.u32(..13) {
                0..=4 => self.send().await,
                5 => self.cut().await,
                6 => self.sync().await,
                7 => self.lose_a_membership(),
                8 | 9 => self.look_at_the_state().await,
                _ => {}
            }
            moment(&mut self.random).await;
            self.come_back().await;
            self.receive();
            if self.random.bool() && self.views.values().any(|view| view.room.is_incomplete()) {
                self.sync().await;
            }
        }
        // Some clients are away when the silence comes.
        if self.random.u32(..3) == 0 {
            self.cut().await;
        }
    }

    /// Asserts that one sync after the faults the client has everything, and is a member of its rooms.
    pub(super) async fn converge(&mut self) {
        if let Some(connection) = &self.connection {
            self.world.mend(&connection.id);
        }
        self.come_back().await;
        self.receive();
        // An environment of the session function remembers a head for half a second.
        self.world.clock.advance(Duration::from_secs(1));
        self.sync().await;
        for (room, view) in &self.views {
            assert!(!view.room.is_incomplete(), "{} still misses something of {room}: {:?}", self.subject, view.room);
        }
        let connection = self.connection.as_ref().expect("a connection");
        let member_of = self.world.dynamodb.rooms_of_connection(&connection.id);
        assert!(
            self.views.keys().copied().eq(member_of.iter().map(String::as_str)),
            "{} is in {member_of:?}",
            self.subject
        );
    }

    /// Deletes a row though its connection lives, as after a 410 that was wrong.
    fn lose_a_membership(&mut self) {
        let Some(connection) = &self.connection else { return };
        let room = self.rooms[self.random.usize(..self.rooms.len())];
        self.world.dynamodb.delete_row(&connection.id, room);
    }

    /// Asserts that what there is of a room's state follows from its log, also while there are faults.
    async fn look_at_the_state(&mut self) {
        let room = self.rooms[self.random.usize(..self.rooms.len())];
        self.world.check_state(room, &self.subject).await;
    }

    /// Sends some messages, half of them twice, as a client does that has waited for its answer in vain.
    async fn send(&mut self) {
        let Some(connection) = self.connection.as_ref().map(|connection| connection.id.clone()) else { return };
        // Now and then there are so many messages that batches come in full.
        let messages = if self.random.u32(..8) == 0 { 15 } else { self.random.u32(1..=3) };
        for _ in 0..messages {
            self.sent += 1;
            let room = self.rooms[self.random.usize(..self.rooms.len())];
            let id = format!("{}-{}", self.subject, self.sent);
            let mut frame = json!({ "action": "sendMessage", "roomId": room, "id": id, "data": self.sent });
            if self.random.u32(..3) == 0 {
                frame["key"] = json!(["price", "size"][self.random.usize(..2)]);
                if self.random.bool() {
                    frame["version"] = json!(self.random.u32(..20));
                }
            }
            if self.random.u32(..30) == 0 {
                frame["data"] = json!("x".repeat(20_000));
            }
            for _ in 0..self.random.u32(1..=2) {
                self.world.send(&connection, &self.subject, &frame).await;
            }
        }
    }

    /// Loses its connection. Only sometimes the session function is told of it: `$disconnect` is best effort.
    async fn cut(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        self.world.cut(&connection.id);
        if self.random.bool() {
            self.world.session.disconnect(&connection.id, &self.subject).await;
        }
    }

    /// Connects, unless it is connected, and joins its rooms, resuming where it was.
    async fn come_back(&mut self) {
        // `fanout` may have closed the connection of a client that missed too much.
        let closed = |connection: &Connection| self.world.connections.connection(&connection.id).deletes > 0;
        if self.connection.as_ref().is_some_and(closed) {
            self.cut().await;
        }
        if self.connection.is_none() && (!self.world.is_faulty() || self.random.u32(..3) > 0) {
            let id = self.world.connect(&mut self.random);
            self.connection = Some(Connection { id, joined: Vec::new(), read: 0 });
        }
        for room in self.rooms.clone() {
            self.join(room).await;
        }
    }

    async fn join(&mut self, room: &'static str) {
        let Some(connection) = self.connection.as_mut().filter(|connection| !connection.joined.contains(&room)) else {
            return;
        };
        let started = self.world.clock.unix_micros();
        let after = self.views.get_mut(room).and_then(|view| view.room.ask());
        let mut frame = json!({ "action": "joinRoom", "roomId": room });
        if let Some(after) = after {
            frame["after"] = json!(after);
        }
        let reply = self.world.session.request(&connection.id, &self.subject, &frame).await;
        assert_eq!(reply["type"], "joined", "{reply}");
        // The answer may be lost, or be overtaken by broadcasts.
        if self.world.is_faulty() && self.random.u32(..10) == 0 {
            return;
        }
        connection.joined.push(room);
        let head = reply["seq"].as_u64().unwrap();
        self.views.entry(room).or_insert_with(|| View::new(room, head, if head == 0 { started } else { head }));
        if self.random.bool() {
            moment(&mut self.random).await;
            self.receive();
        }
        self.take_page(room, after, &reply);
    }

    /// Asks for what it has missed, as often as there is more.
    async fn sync(&mut self) {
        let Some(connection) = &self.connection else { return };
        let id = connection.id.clone();
        for _ in 0..100 {
            let known = self.views.iter_mut().filter_map(|(room, view)| Some((*room, view.room.ask()?)));
            let rooms: BTreeMap<&'static str, u64> = known.collect();
            let frame = json!({ "action": "sync", "rooms": rooms });
            let reply = self.world.session.request(&id, &self.subject, &frame).await;
            assert_eq!(reply["type"], "synced", "{reply}");
            for (room, after) in &rooms {
                // A room that is left out is asked for again.
                if let Some(page) = reply["rooms"].get(room) {
                    self.take_page(room, Some(*after), page);
                }
            }
            if rooms.keys().all(|room| reply["rooms"][room]["more"] == false) {
                return;
            }
        }
        panic!("there is always more");
    }

    fn take_page(&mut self, room: &'static str, asked: Option<u64>, page: &Value) {
        self.world.observe();
        let now = self.world.clock.unix_seconds();
        let view = self.views.get_mut(room).expect("a room that was joined");
        // A client that saw the log empty too long ago may have missed messages, and asking from 0 is never answered
        // with `truncated`.
        if asked == Some(0) && view.seen_empty + TRUST_EMPTY.as_secs() < now {
            view.room.give_up_since_empty();
        }
        if page["seq"] == 0 {
            view.seen_empty = now;
        }
        if page["truncated"] == true {
            let expiry = asked.and_then(|asked| self.world.expiry(room, asked));
            assert!(expiry.is_none_or(|expiry| expiry <= now), "truncated, though {asked:?} is still there: {page}");
            let seqs: Vec<u64> =
                page["messages"].as_array().unwrap().iter().filter_map(|message| message["seq"].as_u64()).collect();
            let end = seqs.last().map_or(u64::MAX, |last| *last);
            let mut logged = self.world.log(room).into_keys();
            assert!(
                logged.any(|seq| asked.is_some_and(|asked| asked < seq) && seq < end && !seqs.contains(&seq)),
                "truncated after {asked:?}, though nothing is gone: {page}"
            );
        }
        view.room.page(asked, page);
        let known = view.truncations.len();
        view.truncations.extend(view.room.gives_up()[known..].iter().map(|truncation| (*truncation, now)));
    }

    /// Takes what the server has delivered to its connection meanwhile. Some of it is lost on the last mile, and some
    /// that was answered with an error has arrived all the same.
    fn receive(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let record = self.world.connections.connection(&connection.id);
        for attempt in &record.attempts[connection.read..] {
            if attempt.ended.is_none() {
                break;
            }
            connection.read += 1;
            let chance = if self.world.is_faulty() { self.random.f64() } else { 0.5 };
            let arrives = if attempt.delivered() { chance >= LOST_FRAMES } else { chance < LOST_FRAMES };
            let frame: Value = serde_json::from_slice(&attempt.request.body).unwrap();
            let room = frame["roomId"].as_str().unwrap();
            if arrives {
                // A broadcast can overtake the answer to the first join; a client without the room drops its frame.
                if let Some(view) = self.views.get_mut(room) {
                    view.room.broadcast(&frame);
                }
            }
        }
    }
}

impl View {
    fn new(room: &str, head: u64, since: u64) -> Self {
        Self { room: RoomView::new(room), head, since, truncations: Vec::new(), seen_empty: 0 }
    }
}

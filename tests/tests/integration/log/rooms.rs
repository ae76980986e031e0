//! Rooms with logs of any size, and a client of theirs.

use serde_json::{Value, json};
use shared::clock::Clock;
use testkit::clock::TestClock;
use testkit::dynamodb::{ConnectionRow, DynamoDb};

use super::session::Session;
use super::writer::client;

pub(super) const CONNECTION: &str = "c=";
pub(super) const SUBJECT: &str = "alice";

/// Seconds for which a row of a log is kept.
pub(super) const RETENTION: u64 = 3_600;

/// Both tables, a clock of their own, and one environment of the session function.
pub(super) struct Rooms {
    pub(super) dynamodb: DynamoDb,
    pub(super) clock: TestClock,
    pub(super) session: Session,
}

impl Rooms {
    pub(super) fn new() -> Self {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let session = Session::new(client(&dynamodb), &clock);
        Self { dynamodb, clock, session }
    }

    /// Writes a log of messages 1, 2, ... of so many bytes, with its head.
    pub(super) fn seed(&self, room: &str, messages: u64, bytes: usize) {
        let (now, expires_at) = (self.clock.unix_millis(), self.clock.unix_seconds() + RETENTION);
        let data = json!("x".repeat(bytes)).to_string();
        self.dynamodb.seed_log((1..=messages).map(|seq| {
            json!({
                "roomId": room, "seq": seq, "id": format!("m{seq}"), "from": "bob", "sentAt": now, "data": data,
                "appendedAt": now, "expiresAt": expires_at,
            })
        }));
        self.dynamodb.seed_head(room, messages, now, expires_at);
    }

    /// Puts the client into a room, for so many seconds.
    pub(super) fn join(&self, room: &str, seconds: u64) {
        let row = ConnectionRow::new(CONNECTION, room);
        self.dynamodb.seed([ConnectionRow { expires_at: self.clock.unix_seconds() + seconds, ..row }]);
    }

    /// Fifty rooms with such logs, with the client as a member.
    pub(super) fn fifty(&self, messages: u64, bytes: usize) {
        for room in (0..50).map(name) {
            self.seed(&room, messages, bytes);
            self.join(&room, 7_200);
        }
    }

    pub(super) async fn request(&self, frame: &Value) -> Value {
        self.session.request(CONNECTION, SUBJECT, frame).await
    }

    /// Syncs rooms with the positions in them.
    pub(super) async fn sync(&self, rooms: &[(String, u64)]) -> Value {
        let reply = self.request(&sync_of(rooms)).await;
        assert_eq!(reply["type"], "synced", "{reply}");
        reply
    }

    /// The client's rows: rooms, with the time when each expires.
    pub(super) fn memberships(&self) -> Vec<(String, u64)> {
        let mut rows: Vec<_> = self.dynamodb.rows().into_iter().map(|row| (row.room_id, row.expires_at)).collect();
        rows.sort();
        rows
    }
}

pub(super) fn name(number: usize) -> String {
    format!("room-{number:02}")
}

/// All fifty rooms at one position.
pub(super) fn all_at(position: u64) -> Vec<(String, u64)> {
    (0..50).map(|number| (name(number), position)).collect()
}

pub(super) fn sync_of(rooms: &[(String, u64)]) -> Value {
    let rooms: serde_json::Map<_, _> = rooms.iter().map(|(room, after)| (room.clone(), json!(after))).collect();
    json!({ "action": "sync", "rooms": rooms, "requestId": "q" })
}

pub(super) fn seqs(page: &Value) -> Vec<u64> {
    page["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap()).collect()
}

/// The fields of a reply about a room: seq, messages, more, truncated.
pub(super) fn facts(page: &Value) -> (u64, Vec<u64>, bool, bool) {
    (page["seq"].as_u64().unwrap(), seqs(page), page["more"] == true, page["truncated"] == true)
}

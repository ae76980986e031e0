//! The cost of state, counted call by call and unit by unit.

use std::time::Duration;

use fastrand::Rng;
use serde_json::json;
use shared::{LoggedMessage, Message, RoomId};
use testkit::dynamodb::{MESSAGES_TABLE, STATE_TABLE};

use super::view::Page;
use super::{ROOM, Tables, batch};

/// Records of a batch of the queue.
const BATCH: usize = 10;

/// Writes of state for ten keys that survive their batches, at the most.
const MOST_WRITES: usize = 11;

impl Tables {
    fn feed(&self, random: &mut Rng, room: &str, number: usize) -> Message {
        let room = RoomId::parse(room).unwrap();
        Message { room, ..self.message(&format!("m{number}"), &format!("symbol-{}", random.usize(..1_000))) }
    }

    fn writes_of_state(&self) -> usize {
        self.dynamodb.calls_of("PutItem").iter().filter(|call| call.body["TableName"] == STATE_TABLE).count()
    }

    /// Brings so many messages into rooms in turn, batch by batch; returns the writes of state, and the
    /// keys that survived their batches.
    async fn writes_and_keys(&self, rooms: &[String], messages: usize) -> (usize, usize) {
        let (mut random, environments) = (Rng::with_seed(7), [self.environment(), self.environment()]);
        let mut surviving = 0;
        for (turn, first) in (0..messages).step_by(BATCH).enumerate() {
            let room = &rooms[turn % rooms.len()];
            let messages: Vec<_> = (first..first + BATCH).map(|number| self.feed(&mut random, room, number)).collect();
            let logged: Vec<_> =
                messages.iter().map(|message| LoggedMessage { seq: 1, message: message.clone() }).collect();
            surviving += shared::order::greatest(&logged).len();
            // Every twenty batches a room is served by the other environment.
            let environment = (turn % rooms.len() + turn / (20 * rooms.len())) % 2;
            environments[environment].bring(&batch(messages)).await.unwrap();
        }
        (self.writes_of_state(), surviving)
    }
}

#[tokio::test]
async fn a_key_is_written_once_a_batch_at_three_hundred_updates_a_second_in_a_room() {
    let tables = Tables::new();
    let (writes, keys) = tables.writes_and_keys(&[ROOM.to_owned()], 3 * 300).await;
    assert!(writes >= keys && 10 * writes <= MOST_WRITES * keys, "{writes} writes of {keys} keys");
}

#[tokio::test]
async fn a_key_is_written_once_a_batch_at_ten_thousand_updates_a_second_in_many_rooms() {
    // 1,920 messages are a fifth of a second; a room is served by one environment for longer than that.
    let tables = Tables::new();
    let rooms: Vec<_> = (0..32).map(|number| format!("fx:{number}")).collect();
    let (writes, keys) = tables.writes_and_keys(&rooms, 1_920).await;
    assert!(writes >= keys && 10 * writes <= MOST_WRITES * keys, "{writes} writes of {keys} keys");
}

/// Rows of a state of so many keys, each of which takes 150 bytes in a reply.
fn state_of(keys: usize) -> Vec<serde_json::Value> {
    let row = |number: usize| {
        json!({
            "roomId": ROOM, "key": format!("symbol-{number:05}"), "version": 7, "seq": number + 1, "from": "eu",
            "sentAt": 1_764_201_234_567_u64, "data": format!("{:?}", "x".repeat(63)),
        })
    };
    (0..keys).map(row).collect()
}

#[tokio::test]
async fn a_joiner_has_a_hundred_keys_at_once_and_a_thousand_after_another_request() {
    for (keys, requests) in [(100, 1), (1_000, 2)] {
        let tables = Tables::new();
        tables.dynamodb.seed_state(state_of(keys));
        let session = tables.session();
        let mut reply =
            session.request("c=", "ann", &json!({"action": "joinRoom", "roomId": ROOM, "state": true})).await;
        let bytes = reply["state"][0].to_string().len();
        assert!((145..=155).contains(&bytes), "{bytes} bytes an entry");
        let (mut told, mut asked) = (0, 1);
        loop {
            assert!(reply.to_string().len() <= 112 * 1024);
            let page = Page::of(&reply);
            told += page.entries.len();
            let Some(next) = page.next else { break };
            asked += 1;
            let frame = json!({"action": "getState", "roomId": ROOM, "after": next, "seq": page.seq});
            reply = session.request("c=", "ann", &frame).await;
        }
        assert_eq!((told, asked), (keys, requests));
        let queries = tables.dynamodb.calls_of("Query");
        let of = |table: &str| queries.iter().filter(|call| call.body["TableName"] == table).count();
        // The log's head is read too, as for every join. Only the next page shows that a page of 500 rows was the last
        // one.
        assert_eq!((of(STATE_TABLE), of(MESSAGES_TABLE)), (keys / 500 + 1, 1));
    }
}

#[tokio::test]
async fn a_room_that_many_join_at_once_is_read_once_a_second_by_each_environment() {
    const ENVIRONMENTS: usize = 25;
    const JOINS: usize = 500;
    const MOST_UNITS: f64 = 3_000.0;
    let tables = Tables::new();
    tables.dynamodb.seed_state(state_of(1_000));
    let writer = tables.environment();
    writer.bring(&batch(vec![tables.message("first", "symbol-00000")])).await.unwrap();
    let sessions: Vec<_> = (0..ENVIRONMENTS).map(|_| tables.session()).collect();
    let (mut random, mut updates) = (Rng::with_seed(3), 0);
    for join in 0..JOINS {
        // Three hundred updates in the same second.
        if join % 15 == 0 {
            updates += 1;
            let update = |place: usize| {
                let key = format!("symbol-{:05}", (updates * 97 + place * 13) % 1_000);
                tables.message(&format!("u{updates}-{place}"), &key)
            };
            writer.bring(&batch((0..BATCH).map(update).collect())).await.unwrap();
        }
        let first = &sessions[random.usize(..ENVIRONMENTS)];
        let joined = first.request("c=", "ann", &json!({"action": "joinRoom", "roomId": ROOM, "state": true})).await;
        let (seq, next) = (&joined["seq"], &joined["stateNext"]);
        assert!(next.is_string(), "there is another page");
        let second = &sessions[random.usize(..ENVIRONMENTS)];
        let frame = json!({"action": "getState", "roomId": ROOM, "after": next, "seq": seq});
        let page = second.request("c=", "ann", &frame).await;
        assert!(page.get("next").is_none(), "and no third");
        tables.clock.advance(Duration::from_micros(1_000_000 / JOINS as u64));
    }
    assert!(updates * BATCH >= 300);
    let calls = tables.dynamodb.metered_calls();
    let units = |table: &str| -> f64 {
        calls.iter().filter(|call| call.is_read() && call.body["TableName"] == table).map(|call| call.units).sum()
    };
    let (state, log) = (units(STATE_TABLE), units(MESSAGES_TABLE));
    assert!(state + log <= MOST_UNITS, "{state} and {log} read units in a second");
}

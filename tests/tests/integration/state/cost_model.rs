//! `roomcast cost` gives the figures for keys and snapshots that are counted here, within two percent.

use serde_json::{Value, json};
use shared::Message;
use testkit::dynamodb::{MeteredCall, STATE_TABLE};

use super::{ROOM, Tables, batch, data};
use crate::cost::{Counts, NOT_COUNTED};

/// Keys of 10 bytes, values of 44: 150 bytes in a reply.
const KEY_BYTES: usize = 10;
const VALUE_BYTES: usize = 44;

/// The bytes that API Gateway bills as one message.
const MESSAGE_STEP: usize = 32_768;

/// The first number of a snapshot's log.
const FIRST: u64 = 1_795_219_207_000_000;

fn of_state(calls: Vec<MeteredCall>) -> Vec<MeteredCall> {
    calls.into_iter().filter(|call| call.body["TableName"] == STATE_TABLE).collect()
}

/// The model's figures for an hour of one room.
fn model(rooms: &Value) -> Counts {
    let mut rooms = rooms.clone();
    for (name, value) in [("members", json!(1)), ("hoursPerDay", json!(1)), ("bytes", json!(VALUE_BYTES))] {
        rooms[name] = value;
    }
    let workload =
        json!({ "days": 1, "subjectBytes": 10, "roomIdBytes": ROOM.len(), "fixed": false, "rooms": [rooms] });
    Counts::of_model(&workload, &["state"])
}

impl Tables {
    /// Ten messages, of so many keys.
    fn of_keys(&self, first: usize, keys: usize) -> Vec<Message> {
        let message = |place: usize| {
            let (number, key) = (first + place, format!("key-{:06}", first + place % keys));
            let value = data(&format!("{:?}", "x".repeat(VALUE_BYTES - 2)));
            Message { from: "f".repeat(10), data: value, ..self.message(&format!("m{number}"), &key) }
        };
        (0..10).map(message).collect()
    }

    /// Brings batches in, each by the next environment; returns the calls of state that this takes.
    async fn counted(&self, batches: usize, environments: usize, keys: usize) -> Counts {
        let environments: Vec<_> = (0..environments).map(|_| self.environment()).collect();
        for number in 0..batches {
            let messages = self.of_keys(10 * number, keys);
            environments[number % environments.len()].bring(&batch(messages)).await.unwrap();
        }
        let mut counts = Counts::default();
        counts.add_metered(of_state(self.dynamodb.metered_calls()));
        counts
    }
}

#[tokio::test]
async fn keyed_messages_cost_what_the_model_says() {
    let batches = 12;
    let rate = 10.0 * 12.0 / 3_600.0;
    for (environments, keys, state) in [
        (1, 10, json!({ "keyed": 1 })),
        (1, 5, json!({ "keyed": 1, "superseded": 0.5 })),
        // All but the first batch come to another environment than the one before.
        (2, 10, json!({ "keyed": 1, "alternating": 11.0 / 12.0 })),
    ] {
        let counted = Tables::new().counted(batches, environments, keys).await;
        let room = json!({ "messagesPerSecond": rate, "via": "queue", "state": state });
        let mut besides = NOT_COUNTED.to_vec();
        // DynamoDB bills a write whose condition fails; the embedded one does not count it.
        besides.extend((environments > 1).then_some("WriteUnits"));
        counted.assert_model(&model(&room), &besides);
    }
}

#[tokio::test]
async fn snapshots_cost_what_the_model_says() {
    for keys in [100, 1_000, 2_500] {
        let tables = Tables::new();
        let row = |number: usize| {
            json!({
                "roomId": ROOM, "key": format!("{number:0KEY_BYTES$}"), "version": 7, "seq": FIRST + number as u64,
                "from": "f".repeat(10), "sentAt": 1_764_201_234_567_u64,
                "data": format!("{:?}", "x".repeat(VALUE_BYTES - 2)),
            })
        };
        tables.dynamodb.seed_state((0..keys).map(row));
        let (session, mut counts) = (tables.session(), Counts::default());
        let mut reply =
            session.request("c=", "ann", &json!({"action": "joinRoom", "roomId": ROOM, "state": true})).await;
        // The calls of a join without state are counted elsewhere.
        let mut replies = reply.to_string().len().div_ceil(MESSAGE_STEP) - 1;
        let mut next = reply["stateNext"].clone();
        while let Value::String(after) = next {
            let frame = json!({"action": "getState", "roomId": ROOM, "after": after, "seq": reply["seq"]});
            reply = session.request("c=", "ann", &frame).await;
            replies += reply.to_string().len().div_ceil(MESSAGE_STEP);
            next = reply["next"].clone();
            counts.add_calls(["Session", "FramesIn"]);
        }
        counts.add_calls(vec!["Replies"; replies]);
        counts.add_metered(of_state(tables.dynamodb.metered_calls()));
        let state = json!({ "keys": keys, "keyBytes": KEY_BYTES, "joinsPerDay": 1 });
        counts.assert_model(&model(&json!({ "messagesPerSecond": 0, "state": state })), &NOT_COUNTED);
    }
}

//! Rooms' state.

use serde_json::{Value, json};

use super::{DynamoDb, STATE_TABLE, all_pages, json_of, parse, rows, with_start};

impl DynamoDb {
    /// The rows of a room's state in order of `key`, as plain JSON objects.
    pub fn state(&self, room_id: &str) -> Vec<Value> {
        let query = |start: &Value| {
            let request = json!({
                "TableName": STATE_TABLE,
                "KeyConditionExpression": "roomId = :room",
                "ExpressionAttributeValues": { ":room": { "S": room_id } },
            });
            json_of(&self.database.0.query(parse(with_start(request, start))).unwrap())
        };
        all_pages(query).iter().map(rows::plain_json).collect()
    }

    /// Writes rows of rooms' state, just as they are: JSON objects with `roomId` and `key`.
    pub fn seed_state(&self, rows: impl IntoIterator<Item = Value>) {
        self.import(STATE_TABLE, rows.into_iter().map(|row| rows::item_of(&row)).collect());
    }
}

//! Expiry by a test's own clock, as DynamoDB does it: some time later, and in no certain order.

use serde_json::json;

use super::{DynamoDb, MESSAGES_TABLE, all_pages, json_of, parse, with_start};

impl DynamoDb {
    /// Makes the entries up to and including `seq` in a room's log expired long ago, without deleting them.
    pub fn expire_in_place(&self, room_id: &str, seq: u64) {
        let expired = self.log(room_id).into_iter().filter(|row| row["seq"].as_u64().unwrap() <= seq);
        self.seed_log(expired.map(|mut row| {
            row["expiresAt"] = json!(1);
            row
        }));
    }

    /// Deletes from a room's log a random part of the rows that have expired at `now` (Unix seconds), the fence
    /// and progress among them. Each is deleted with probability `share`.
    pub fn delete_expired(&self, room_id: &str, now: u64, share: f64, random: &mut fastrand::Rng) {
        let query = |start: &serde_json::Value| {
            let request = json!({
                "TableName": MESSAGES_TABLE,
                "KeyConditionExpression": "roomId = :room",
                "ExpressionAttributeValues": { ":room": { "S": room_id } },
            });
            json_of(&self.database.0.query(parse(with_start(request, start))).unwrap())
        };
        for item in all_pages(query) {
            let expires_at: u64 = item["expiresAt"]["N"].as_str().expect("an expiry").parse().unwrap();
            if expires_at <= now && random.f64() < share {
                let key = json!({ "roomId": { "S": room_id }, "seq": item["seq"] });
                let request = json!({ "TableName": MESSAGES_TABLE, "Key": key });
                self.database.0.delete_item(parse(request)).unwrap();
            }
        }
    }
}

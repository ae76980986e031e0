//! Rows of the connections' table just as they are.

use serde_json::{Value, json};

use super::{CONNECTIONS_TABLE, DynamoDb, json_of, parse, rows};

impl DynamoDb {
    /// A row of the connections' table as a plain JSON object.
    pub fn raw_row(&self, connection_id: &str, room_id: &str) -> Option<Value> {
        let key = json!({ "connectionId": { "S": connection_id }, "roomId": { "S": room_id } });
        let request = json!({ "TableName": CONNECTIONS_TABLE, "Key": key });
        let response = json_of(&self.database.0.get_item(parse(request)).unwrap());
        response.get("Item").filter(|item| !item.is_null()).map(rows::plain_json)
    }

    /// Writes a row to the connections' table: a JSON object whose members are texts, whole numbers and booleans.
    pub fn seed_raw_row(&self, row: &Value) {
        self.import(CONNECTIONS_TABLE, vec![rows::item_of(row)]);
    }
}

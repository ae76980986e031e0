//! Rows of the two tables.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use dynoxide::types::AttributeValue;
use serde_json::{Map, Value};
use shared::ConnectionId;

pub(super) type Item = HashMap<String, AttributeValue>;

/// A row of the connections table: one connection in one room.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionRow {
    /// The connection.
    pub connection_id: String,
    /// The room.
    pub room_id: String,
    /// The subject that joined.
    pub user_id: String,
    /// When it joined, Unix milliseconds.
    pub joined_at: u64,
    /// The place in the room's index, a 16-bit hash of the connection id.
    pub slot: u16,
    /// When the row expires, Unix seconds.
    pub expires_at: u64,
}

impl ConnectionRow {
    /// A row that joined an hour ago, well beyond any grace, and expires in an hour.
    pub fn new(connection_id: &str, room_id: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        Self {
            connection_id: connection_id.to_owned(),
            room_id: room_id.to_owned(),
            user_id: format!("user-of-{connection_id}"),
            joined_at: (now - 3_600) * 1_000,
            slot: ConnectionId::new(connection_id).slot(),
            expires_at: now + 3_600,
        }
    }

    /// Rows of one room with ids `{prefix}0`, `{prefix}1`, ...
    pub fn many(prefix: &str, count: usize, room_id: &str) -> Vec<Self> {
        (0..count).map(|number| Self::new(&format!("{prefix}{number}"), room_id)).collect()
    }

    /// The same row, joined at this moment: within the grace for a handshake that is still under way.
    #[must_use]
    pub fn young(mut self) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        self.joined_at = u64::try_from(now.as_millis()).unwrap();
        self
    }

    pub(super) fn into_item(self) -> Item {
        let number = |number: u64| AttributeValue::N(number.to_string());
        HashMap::from([
            ("connectionId".to_owned(), AttributeValue::S(self.connection_id)),
            ("roomId".to_owned(), AttributeValue::S(self.room_id)),
            ("userId".to_owned(), AttributeValue::S(self.user_id)),
            ("joinedAt".to_owned(), number(self.joined_at)),
            ("slot".to_owned(), number(self.slot.into())),
            ("expiresAt".to_owned(), number(self.expires_at)),
        ])
    }

    /// Reads a row as production code wrote it.
    pub(super) fn from_item(item: &Value) -> Self {
        let text = |name: &str| item[name]["S"].as_str().unwrap_or_else(|| panic!("no {name} in {item}")).to_owned();
        let number = |name: &str| -> u64 {
            let digits = item[name]["N"].as_str().unwrap_or_else(|| panic!("no {name} in {item}"));
            digits.parse().unwrap_or_else(|_| panic!("{name} is not a whole number in {item}"))
        };
        Self {
            connection_id: text("connectionId"),
            room_id: text("roomId"),
            user_id: text("userId"),
            joined_at: number("joinedAt"),
            slot: u16::try_from(number("slot")).unwrap_or_else(|_| panic!("slot is not of 16 bits in {item}")),
            expires_at: number("expiresAt"),
        }
    }
}

/// DynamoDB's form of a flat JSON object of texts and whole numbers.
pub(super) fn item_of(row: &Value) -> Item {
    let attribute = |value: &Value| match value {
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::Bool(flag) => AttributeValue::BOOL(*flag),
        _ => panic!("not a flat row: {row}"),
    };
    let members = row.as_object().unwrap_or_else(|| panic!("not an object: {row}"));
    members.iter().map(|(name, value)| (name.clone(), attribute(value))).collect()
}

/// Plain JSON of DynamoDB's form of an item.
pub(super) fn plain_json(item: &Value) -> Value {
    let members = item.as_object().expect("an item");
    Value::Object(members.iter().map(|(name, value)| (name.clone(), plain_value(value))).collect())
}

fn plain_value(attribute: &Value) -> Value {
    let attribute = attribute.as_object().expect("an attribute");
    let (kind, value) = attribute.iter().next().expect("an attribute with a type");
    match kind.as_str() {
        "S" | "BOOL" => value.clone(),
        "N" => serde_json::from_str(value.as_str().unwrap()).unwrap(),
        "NULL" => Value::Null,
        "L" => value.as_array().unwrap().iter().map(plain_value).collect(),
        "M" => {
            let members = value.as_object().unwrap().iter().map(|(name, value)| (name.clone(), plain_value(value)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        _ => panic!("the harness does not read attributes of type {kind}"),
    }
}

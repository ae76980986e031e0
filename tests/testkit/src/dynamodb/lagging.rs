//! The database with an index of members that lags, and with calls at which a function can be stopped.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use dynoxide::errors::DynoxideError;
use serde_json::{Value, json};
use shared::clock::Clock;

use super::rows::plain_json;
use super::{CONNECTIONS_TABLE, DynamoDb, MEMBERS_INDEX, Tables, json_of, parse};
use crate::aws_endpoint::{AwsEndpoint, Backend, json_reply};
use crate::clock::TestClock;
use crate::http_server::{Reply, Request};
use crate::steps::Steps;

/// Rows on a page of the index.
const PAGE: usize = 4_000;

/// The database with an index that lags; clones are the same one.
#[derive(Clone, Debug)]
pub struct Lagging {
    database: Tables,
    clock: TestClock,
    index: Arc<Mutex<Index>>,
    published: Arc<Mutex<Vec<Published>>>,
}

/// A row of presence that was written.
#[derive(Clone, Debug)]
pub struct Published {
    /// The room.
    pub room: String,
    /// Its version.
    pub rev: u64,
    /// The time, in milliseconds since the Unix epoch.
    pub at: u64,
    /// About how many connections were in the room.
    pub connections: u64,
    /// The members that it lists, as JSON.
    pub members: Option<Value>,
    /// The change that it describes.
    pub last: Value,
}

/// Connection and room.
type Key = (String, String);

#[derive(Debug)]
struct Index {
    random: fastrand::Rng,
    /// The range of the lag, in milliseconds.
    lag: RangeInclusive<u64>,
    /// The writes that are not visible yet, by the time when they become so.
    pending: BTreeMap<(u64, u64), (Key, Option<Value>)>,
    written: u64,
    /// The time when the last write to each row becomes visible.
    latest: HashMap<Key, u64>,
    /// The visible rows, by room, subject and connection.
    rooms: HashMap<String, BTreeMap<(String, String), Value>>,
    places: HashMap<Key, (String, String)>,
}

impl Index {
    fn write(&mut self, key: Key, item: Option<Value>, now: u64) {
        let visible_at = now + self.random.u64(self.lag.clone());
        let latest = self.latest.entry(key.clone()).or_default();
        *latest = visible_at.max(*latest);
        self.written += 1;
        let at = (*latest, self.written);
        self.pending.insert(at, (key, item));
    }

    fn catch_up(&mut self, now: u64) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| entry.key().0 <= now) {
            let (key, item) = entry.remove();
            if let Some((room, subject)) = self.places.remove(&key) {
                self.rooms.entry(room).or_default().remove(&(subject, key.0.clone()));
            }
            let Some(item) = item.filter(|item| item.get("memberOf").is_some()) else { continue };
            let text = |name: &str| item[name]["S"].as_str().unwrap().to_owned();
            let (room, subject) = (text("memberOf"), text("userId"));
            self.places.insert(key.clone(), (room.clone(), subject.clone()));
            self.rooms.entry(room).or_default().insert((subject, key.0), item);
        }
    }

    fn query(&mut self, body: &Value, now: u64) -> Value {
        self.catch_up(now);
        let room = body["ExpressionAttributeValues"][":room"]["S"].as_str().unwrap();
        let after = body["ExpressionAttributeValues"][":after"]["S"].as_str();
        let text = |name: &str| body["ExclusiveStartKey"][name]["S"].as_str().map(str::to_owned);
        let start = text("userId").zip(text("connectionId"));
        let limit = body["Limit"].as_u64().map_or(PAGE, |limit| usize::try_from(limit).unwrap());
        let rows = self.rooms.get(room).into_iter().flatten();
        let rows = rows.filter(|(key, _)| start.as_ref().is_none_or(|start| *key > start));
        let mut rows = rows.filter(|(key, _)| after.is_none_or(|after| key.0.as_str() > after)).map(|(_, item)| item);
        let items: Vec<_> = rows.by_ref().take(limit).collect();
        let mut answer = json!({ "Items": items, "Count": items.len(), "ScannedCount": items.len() });
        if let (Some(last), true) = (items.last(), rows.next().is_some()) {
            let names = ["connectionId", "roomId", "memberOf", "userId"];
            answer["LastEvaluatedKey"] = names.iter().map(|name| ((*name).to_owned(), last[*name].clone())).collect();
        }
        answer
    }
}

impl DynamoDb {
    /// The same database, with an index of members in which rows become visible so many milliseconds after they were
    /// written.
    pub fn lagging(&self, clock: &TestClock, lag: RangeInclusive<u64>, random: fastrand::Rng) -> Lagging {
        let index = Index {
            random,
            lag,
            pending: BTreeMap::new(),
            written: 0,
            latest: HashMap::new(),
            rooms: HashMap::new(),
            places: HashMap::new(),
        };
        Lagging {
            database: self.database.clone(),
            clock: clock.clone(),
            index: Arc::new(Mutex::new(index)),
            published: Arc::default(),
        }
    }
}

impl Lagging {
    /// An endpoint for one environment, whose calls go by these steps.
    pub fn endpoint(&self, steps: &Steps) -> AwsEndpoint {
        AwsEndpoint::start(Stepped { database: self.clone(), steps: steps.clone() })
    }

    /// Writes a row of a connection, in DynamoDB's form.
    pub fn put(&self, item: &Value) {
        self.carry_out("PutItem", &json!({ "TableName": CONNECTIONS_TABLE, "Item": item })).unwrap();
    }

    /// Changes the end of a member's presence.
    pub fn renew(&self, connection: &str, room: &str, present_until: u64) {
        let renew = json!({
            "TableName": CONNECTIONS_TABLE, "Key": key_of(connection, room),
            "UpdateExpression": "SET presentUntil = :until",
            "ExpressionAttributeValues": { ":until": { "N": present_until.to_string() } },
        });
        self.carry_out("UpdateItem", &renew).unwrap();
    }

    /// Deletes a row.
    pub fn delete(&self, connection: &str, room: &str) {
        let delete = json!({ "TableName": CONNECTIONS_TABLE, "Key": key_of(connection, room) });
        self.carry_out("DeleteItem", &delete).unwrap();
    }

    /// A row as plain JSON.
    pub fn row(&self, connection: &str, room: &str) -> Option<Value> {
        self.item(&(connection.to_owned(), room.to_owned())).map(|item| plain_json(&item))
    }

    /// The rows of presence that were put so far.
    pub fn published(&self) -> Vec<Published> {
        self.published.lock().unwrap().clone()
    }

    /// About how many connections were in a room when a version was published.
    pub fn connections(&self, room: &str, rev: u64) -> u64 {
        let published = self.published.lock().unwrap();
        published.iter().rfind(|row| row.room == room && row.rev == rev).map_or(0, |row| row.connections)
    }

    fn carry_out(&self, operation: &str, body: &Value) -> Result<Value, DynoxideError> {
        let database = &self.database.0;
        let now = self.clock.unix_millis();
        let answer = match operation {
            "Query" if body["IndexName"] == MEMBERS_INDEX => return Ok(self.index.lock().unwrap().query(body, now)),
            "GetItem" => json_of(&database.get_item(parse(body.clone()))?),
            "Query" => json_of(&database.query(parse(body.clone()))?),
            "Scan" => json_of(&database.scan(parse(body.clone()))?),
            "BatchGetItem" => json_of(&database.batch_get_item(parse(body.clone()))?),
            "PutItem" => json_of(&database.put_item(parse(body.clone()))?),
            "UpdateItem" => json_of(&database.update_item(parse(body.clone()))?),
            "DeleteItem" => json_of(&database.delete_item(parse(body.clone()))?),
            "BatchWriteItem" => json_of(&database.batch_write_item(parse(body.clone()))?),
            _ => panic!("the harness does not carry out {operation}"),
        };
        for (key, item) in written(operation, body) {
            let current = if operation == "UpdateItem" { self.item(&key) } else { item };
            self.note(key, current, now);
        }
        Ok(answer)
    }

    fn item(&self, (connection, room): &Key) -> Option<Value> {
        let get = json!({ "TableName": CONNECTIONS_TABLE, "Key": key_of(connection, room), "ConsistentRead": true });
        json_of(&self.database.0.get_item(parse(get)).unwrap()).get("Item").cloned().filter(|item| !item.is_null())
    }

    fn note(&self, key: Key, item: Option<Value>, now: u64) {
        if !key.0.starts_with("presence/") {
            self.index.lock().unwrap().write(key, item, now);
            return;
        }
        let Some(item) = item else { return };
        let number = |name: &str| item[name]["N"].as_str().and_then(|digits| digits.parse().ok()).unwrap_or_default();
        let json = |name: &str| item[name]["S"].as_str().map(|text| serde_json::from_str(text).unwrap());
        let row = Published {
            room: key.1,
            rev: number("rev"),
            at: now,
            connections: number("connections"),
            members: json("members"),
            last: json("last").unwrap_or_default(),
        };
        let mut published = self.published.lock().unwrap();
        // A row that only notes a look is no publication.
        if !published.iter().rev().any(|other| other.room == row.room && other.rev == row.rev) {
            published.push(row);
        }
    }
}

fn key_of(connection: &str, room: &str) -> Value {
    json!({ "connectionId": { "S": connection }, "roomId": { "S": room } })
}

/// The rows of connections that a call writes, with their new content if the call contains it.
fn written(operation: &str, body: &Value) -> Vec<(Key, Option<Value>)> {
    let key = |item: &Value| {
        let text = |name: &str| item[name]["S"].as_str().unwrap().to_owned();
        (text("connectionId"), text("roomId"))
    };
    match operation {
        "PutItem" if body["TableName"] == CONNECTIONS_TABLE => vec![(key(&body["Item"]), Some(body["Item"].clone()))],
        "UpdateItem" | "DeleteItem" if body["TableName"] == CONNECTIONS_TABLE => vec![(key(&body["Key"]), None)],
        "BatchWriteItem" => {
            let requests = body["RequestItems"][CONNECTIONS_TABLE].as_array();
            requests.into_iter().flatten().map(|request| (key(&request["DeleteRequest"]["Key"]), None)).collect()
        }
        _ => Vec::new(),
    }
}

/// The database as one environment reaches it.
struct Stepped {
    database: Lagging,
    steps: Steps,
}

impl Backend for Stepped {
    async fn call(&self, operation: &str, body: &Value, _: &Request) -> Reply {
        self.steps.pass().await;
        let reply = match self.database.carry_out(operation, body) {
            Ok(answer) => json_reply(200, &answer),
            Err(error) => Reply::with_body(error.status_code(), "application/x-amz-json-1.0", error.to_json()),
        };
        self.steps.pass().await;
        reply
    }
}

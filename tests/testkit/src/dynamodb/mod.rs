//! An embedded DynamoDB with Roomcast's tables, behind an endpoint that counts calls and makes them fail.
//!
//! A test's own reads and writes go straight to the database, past that endpoint: they are neither counted nor made to
//! fail, and are fast enough for rooms of 100,000 rows.

mod expiry;
mod in_part;
mod lagging;
mod metered;
mod raw;
mod rows;
mod state;

use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;

use dynoxide::actions::create_table::CreateTableRequest;
use dynoxide::actions::update_time_to_live::UpdateTimeToLiveRequest;
use dynoxide::{Database, ImportOptions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::aws_endpoint::{AwsEndpoint, Call, Rule};

pub use in_part::InPart;
use in_part::Transactions;
pub use lagging::{Lagging, Published};
pub use metered::MeteredCall;
use metered::{Meter, Metered};
pub use rows::ConnectionRow;

/// The name of the connections table.
pub const CONNECTIONS_TABLE: &str = "Connections";
/// The name of its index of rooms.
pub const ROOM_INDEX: &str = "roomId-index";
/// The name of the table of the room logs.
pub const MESSAGES_TABLE: &str = "Messages";

/// The name of the connections table's index of members.
pub const MEMBERS_INDEX: &str = "members-index";
/// The name of the table of the rooms' state.
pub const STATE_TABLE: &str = "State";

/// The name of the congestion table.
pub const CONGESTION_TABLE: &str = "Congestion";

/// The running database; dropping it forgets everything.
#[derive(Debug)]
pub struct DynamoDb {
    endpoint: AwsEndpoint,
    meter: Meter,
    in_part: InPart,
    database: Tables,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The database itself, which has no `Debug` of its own.
#[derive(Clone)]
struct Tables(Database);

impl std::fmt::Debug for Tables {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Database")
    }
}

impl DynamoDb {
    /// Starts with all tables, empty.
    pub fn start() -> Self {
        let database = Database::memory().expect("a database in memory");
        create_tables(&database);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = database.clone();
        let thread = std::thread::Builder::new().name("dynamodb".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = dynoxide::server::serve_on(listener, served) => {}
                    _ = stopped => {}
                }
            });
        });
        let meter = Meter::default();
        let database = Tables(database);
        let in_part = InPart::of(database.clone());
        let transactions =
            Transactions { database: Metered::in_front_of(&url, meter.clone()), in_part: in_part.clone() };
        Self {
            endpoint: AwsEndpoint::start(transactions),
            meter,
            in_part,
            database,
            stop: Some(stop),
            thread: Some(thread.expect("a thread")),
        }
    }

    /// The value for `AWS_ENDPOINT_URL` or `AWS_ENDPOINT_URL_DYNAMODB`.
    pub fn url(&self) -> String {
        self.endpoint.url()
    }

    /// The endpoint that production code calls, with its calls and faults.
    pub fn endpoint(&self) -> &AwsEndpoint {
        &self.endpoint
    }

    /// Adds a rule for calls that are to fail.
    pub fn fault(&self, rule: Rule) {
        self.endpoint.fault(rule);
    }

    /// The number of calls of one operation so far.
    pub fn count(&self, operation: &str) -> usize {
        self.endpoint.count(operation)
    }

    /// The calls of one operation.
    pub fn calls_of(&self, operation: &str) -> Vec<Call> {
        self.endpoint.calls_of(operation)
    }

    /// The read units that all calls so far have cost.
    pub fn read_units(&self) -> f64 {
        self.meter.read_units()
    }

    /// The calls so far that have cost units, in order.
    pub fn metered_calls(&self) -> Vec<MeteredCall> {
        self.meter.calls()
    }

    /// Writes connection rows.
    pub fn seed(&self, rows: impl IntoIterator<Item = ConnectionRow>) {
        let items = rows.into_iter().map(ConnectionRow::into_item).collect();
        self.import(CONNECTIONS_TABLE, items);
    }

    /// Writes the rows of a room's members, given as connections with their subjects, who are present for an hour.
    pub fn seed_members(&self, room_id: &str, members: &[(&str, &str)]) {
        let item = |(connection, subject): &(&str, &str)| {
            let row = ConnectionRow { user_id: (*subject).to_owned(), ..ConnectionRow::new(connection, room_id) };
            let until = row.expires_at;
            let mut item = row.into_item();
            item.extend(rows::item_of(&json!({ "memberOf": room_id, "listed": true, "presentUntil": until })));
            item
        };
        self.import(CONNECTIONS_TABLE, members.iter().map(item).collect());
    }

    /// Writes messages' rows to rooms' logs just as they are: JSON objects with `roomId` and `seq` whose members are
    /// texts and whole numbers.
    pub fn seed_log(&self, rows: impl IntoIterator<Item = Value>) {
        self.import(MESSAGES_TABLE, rows.into_iter().map(|row| rows::item_of(&row)).collect());
    }

    /// Writes the head of a room's log: its newest number, when that was appended (Unix milliseconds) and expires (Unix
    /// seconds).
    pub fn seed_head(&self, room_id: &str, newest: u64, appended_at: u64, expires_at: u64) {
        self.seed_log([json!({
            "roomId": room_id, "seq": -1_000_000, "newest": newest, "appendedAt": appended_at, "logExpiresAt": expires_at,
            "expiresAt": expires_at + 30 * 24 * 60 * 60,
        })]);
    }

    /// Deletes the head of a room's log, as if an older version had written the log.
    pub fn delete_head(&self, room_id: &str) {
        let key = json!({ "roomId": { "S": room_id }, "seq": { "N": "-1000000" } });
        let request = json!({ "TableName": MESSAGES_TABLE, "Key": key });
        self.database.0.delete_item(parse(request)).unwrap();
    }

    /// The connections that are counted for a subject, sorted.
    pub fn subject_connections(&self, subject: &str) -> Vec<String> {
        let query = |start: &Value| {
            let request = json!({
                "TableName": CONNECTIONS_TABLE,
                "KeyConditionExpression": "connectionId = :subject",
                "ExpressionAttributeValues": { ":subject": { "S": format!("subject/{subject}") } },
            });
            json_of(&self.database.0.query(parse(with_start(request, start))).unwrap())
        };
        all_pages(query).iter().map(|row| row["roomId"]["S"].as_str().unwrap().to_owned()).collect()
    }

    /// Every row of a connection in a room, in no certain order.
    pub fn rows(&self) -> Vec<ConnectionRow> {
        let scan = |start: &Value| {
            let request = with_start(json!({ "TableName": CONNECTIONS_TABLE }), start);
            json_of(&self.database.0.scan(parse(request)).unwrap())
        };
        let is_in_a_room = |item: &&Value| item.get("slot").is_some();
        all_pages(scan).iter().filter(is_in_a_room).map(ConnectionRow::from_item).collect()
    }

    /// The rows of a room, sorted by connection id.
    pub fn rows_of_room(&self, room_id: &str) -> Vec<ConnectionRow> {
        let mut rows = self.rows();
        rows.retain(|row| row.room_id == room_id);
        rows.sort_by(|one, other| one.connection_id.cmp(&other.connection_id));
        rows
    }

    /// The connection ids of a room, sorted.
    pub fn connections_of_room(&self, room_id: &str) -> Vec<String> {
        self.rows_of_room(room_id).into_iter().map(|row| row.connection_id).collect()
    }

    /// The rooms of a connection, sorted.
    pub fn rooms_of_connection(&self, connection_id: &str) -> Vec<String> {
        let mut rows = self.rows();
        rows.retain(|row| row.connection_id == connection_id);
        let mut rooms: Vec<_> = rows.into_iter().map(|row| row.room_id).collect();
        rooms.sort();
        rooms
    }

    /// A room's log in order of `seq`, as plain JSON objects. Rows that are no messages (the fence under `seq` 0,
    /// progress below) are left out.
    pub fn log(&self, room_id: &str) -> Vec<Value> {
        let query = |start: &Value| {
            let request = json!({
                "TableName": MESSAGES_TABLE,
                "KeyConditionExpression": "roomId = :room AND seq > :zero",
                "ExpressionAttributeValues": { ":room": { "S": room_id }, ":zero": { "N": "0" } },
                "ScanIndexForward": true,
            });
            json_of(&self.database.0.query(parse(with_start(request, start))).unwrap())
        };
        all_pages(query).iter().map(rows::plain_json).collect()
    }

    /// Deletes a connection's row in a room.
    pub fn delete_row(&self, connection_id: &str, room_id: &str) {
        let key = json!({ "connectionId": { "S": connection_id }, "roomId": { "S": room_id } });
        let request = json!({ "TableName": CONNECTIONS_TABLE, "Key": key });
        self.database.0.delete_item(parse(request)).unwrap();
    }

    /// Deletes the entries up to and including `seq` from a room's log, as expiry does.
    pub fn expire_log(&self, room_id: &str, seq: u64) {
        for row in self.log(room_id) {
            let number = row["seq"].as_u64().unwrap();
            if number <= seq {
                let key = json!({ "roomId": { "S": room_id }, "seq": { "N": number.to_string() } });
                let request = json!({ "TableName": MESSAGES_TABLE, "Key": key });
                self.database.0.delete_item(parse(request)).unwrap();
            }
        }
    }

    fn import(&self, table: &str, items: Vec<rows::Item>) {
        // An import is one transaction and skips the limit of 25 items of a BatchWriteItem.
        self.database.0.import_items(table, items, ImportOptions::default()).unwrap();
    }
}

impl Drop for DynamoDb {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic of the server thread has already been printed.
            let _ = thread.join();
        }
    }
}

/// The tables as `infra/template.yaml` makes them.
fn create_tables(database: &Database) {
    let connections = json!({
        "TableName": CONNECTIONS_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "connectionId", "AttributeType": "S" },
            { "AttributeName": "roomId", "AttributeType": "S" },
            { "AttributeName": "slot", "AttributeType": "N" },
            { "AttributeName": "memberOf", "AttributeType": "S" },
            { "AttributeName": "userId", "AttributeType": "S" },
        ],
        "KeySchema": [
            { "AttributeName": "connectionId", "KeyType": "HASH" },
            { "AttributeName": "roomId", "KeyType": "RANGE" },
        ],
        "GlobalSecondaryIndexes": [{
            "IndexName": ROOM_INDEX,
            "KeySchema": [
                { "AttributeName": "roomId", "KeyType": "HASH" },
                { "AttributeName": "slot", "KeyType": "RANGE" },
            ],
            "Projection": { "ProjectionType": "INCLUDE", "NonKeyAttributes": ["joinedAt", "expiresAt"] },
        }, {
            "IndexName": MEMBERS_INDEX,
            "KeySchema": [
                { "AttributeName": "memberOf", "KeyType": "HASH" },
                { "AttributeName": "userId", "KeyType": "RANGE" },
            ],
            "Projection": {
                "ProjectionType": "INCLUDE",
                "NonKeyAttributes": ["data", "joinedAt", "presentUntil", "listed"],
            },
        }],
    });
    let messages = json!({
        "TableName": MESSAGES_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "roomId", "AttributeType": "S" },
            { "AttributeName": "seq", "AttributeType": "N" },
        ],
        "KeySchema": [
            { "AttributeName": "roomId", "KeyType": "HASH" },
            { "AttributeName": "seq", "KeyType": "RANGE" },
        ],
    });
    let state = json!({
        "TableName": STATE_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "roomId", "AttributeType": "S" },
            { "AttributeName": "key", "AttributeType": "S" },
        ],
        "KeySchema": [
            { "AttributeName": "roomId", "KeyType": "HASH" },
            { "AttributeName": "key", "KeyType": "RANGE" },
        ],
    });
    let congestion = json!({
        "TableName": CONGESTION_TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "scope", "AttributeType": "S" },
            { "AttributeName": "groupId", "AttributeType": "S" },
        ],
        "KeySchema": [
            { "AttributeName": "scope", "KeyType": "HASH" },
            { "AttributeName": "groupId", "KeyType": "RANGE" },
        ],
    });
    for table in [connections, messages, state, congestion] {
        let name = table["TableName"].clone();
        database.create_table(parse::<CreateTableRequest>(table)).unwrap();
        let expiry = json!({
            "TableName": name,
            "TimeToLiveSpecification": { "AttributeName": "expiresAt", "Enabled": true },
        });
        database.update_time_to_live(parse::<UpdateTimeToLiveRequest>(expiry)).unwrap();
    }
}

fn parse<T: DeserializeOwned>(request: Value) -> T {
    serde_json::from_value(request).expect("a request of DynamoDB's API")
}

fn json_of(response: &impl serde::Serialize) -> Value {
    serde_json::to_value(response).unwrap()
}

fn with_start(mut request: Value, start: &Value) -> Value {
    if !start.is_null() {
        request["ExclusiveStartKey"] = start.clone();
    }
    request
}

fn all_pages(page: impl Fn(&Value) -> Value) -> Vec<Value> {
    let (mut items, mut start) = (Vec::new(), Value::Null);
    loop {
        let mut response = page(&start);
        items.append(response["Items"].as_array_mut().expect("items"));
        start = response["LastEvaluatedKey"].take();
        if start.is_null() {
            return items;
        }
    }
}

#[cfg(test)]
mod tests;

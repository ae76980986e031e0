//! Transactions that the table shows only in part. DynamoDB writes the rows of a transaction one after the other: a
//! `Query` sees those that are written, and another writer of one that is not has a conflict ("Isolation levels for
//! transactions", DynamoDB Developer Guide).

use std::mem;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dynoxide::ImportOptions;
use serde_json::{Value, json};
use tokio::sync::{RwLock, watch};

use super::metered::Metered;
use super::{DynamoDb, Tables, json_of, parse};
use crate::aws_endpoint::{Backend, json_reply, transaction_cancelled};
use crate::http_server::{Reply, Request};

/// The rows that are not written yet, of all transactions that are written in part; clones are the same rows.
#[derive(Clone, Debug)]
pub struct InPart {
    database: Tables,
    which: Arc<Mutex<Which>>,
    rows: Arc<watch::Sender<Vec<Unwritten>>>,
    /// Nobody reads while a transaction is carried out as a whole and rows of it are taken out again.
    calls: Arc<RwLock<()>>,
}

/// The transactions that are written in part.
#[derive(Debug, Default)]
enum Which {
    #[default]
    None,
    /// The next one, but for the rows at these positions, which the test lets be written.
    Next(Vec<usize>),
    /// Any, for moments.
    Random(fastrand::Rng),
}

/// The fate of one transaction.
#[derive(Debug)]
struct Fate {
    unwritten: Vec<usize>,
    /// When the rest is written; `None` if the test says so.
    after: Option<Duration>,
}

/// A row that is not written yet.
#[derive(Clone, Debug)]
struct Unwritten {
    table: String,
    key: Value,
    item: Value,
}

impl DynamoDb {
    /// The next transaction is written in part: its rows at these positions only with [`InPart::finish`]. It is
    /// answered after that.
    pub fn next_in_part(&self, unwritten: &[usize]) -> &InPart {
        *self.in_part.which.lock().unwrap() = Which::Next(unwritten.to_vec());
        &self.in_part
    }

    /// From now on random rows of random transactions are written milliseconds after the others.
    pub fn any_in_part(&self, random: fastrand::Rng) {
        *self.in_part.which.lock().unwrap() = Which::Random(random);
    }

    /// From now on transactions are written as a whole.
    pub fn none_in_part(&self) {
        *self.in_part.which.lock().unwrap() = Which::None;
    }

    /// Whether all transactions are written as a whole, but for those that are only arriving.
    pub fn is_whole(&self) -> bool {
        self.in_part.rows.borrow().is_empty()
    }
}

impl Which {
    fn fate(&mut self, rows: usize) -> Fate {
        if let Self::Random(random) = self {
            let unwritten = if random.bool() { (0..rows).filter(|_| random.bool()).collect() } else { Vec::new() };
            return Fate { unwritten, after: Some(Duration::from_micros(random.u64(..8_000))) };
        }
        match mem::take(self) {
            Self::Next(unwritten) => Fate { unwritten, after: None },
            _ => Fate { unwritten: Vec::new(), after: None },
        }
    }
}

impl InPart {
    pub(super) fn of(database: Tables) -> Self {
        Self { database, which: Arc::default(), rows: Arc::new(watch::Sender::new(Vec::new())), calls: Arc::default() }
    }

    /// Waits until a transaction is written in part.
    pub async fn begun(&self) {
        // The sender exists as long as `self`, so the channel is not closed.
        let _ = self.rows.subscribe().wait_for(|rows| !rows.is_empty()).await;
    }

    /// Writes the rest.
    pub fn finish(&self) {
        self.write(|_| true);
    }

    fn write(&self, is_wanted: impl Fn(&Value) -> bool) {
        self.rows.send_modify(|rows| {
            for Unwritten { table, item, .. } in rows.extract_if(.., |row| is_wanted(&row.key)) {
                self.import(&table, item);
            }
        });
    }

    async fn is_written(&self, keys: &[Value]) {
        let is_written = |rows: &Vec<Unwritten>| !rows.iter().any(|row| keys.contains(&row.key));
        let _ = self.rows.subscribe().wait_for(is_written).await;
    }

    /// Takes a row out again, or back to what it was, until it is written.
    fn hide(&self, put: &Value, before: Option<Value>) {
        let (table, key) = (put["TableName"].as_str().unwrap().to_owned(), key_of(&put["Item"]));
        match before {
            Some(item) => self.import(&table, item),
            None => drop(self.database.0.delete_item(parse(json!({ "TableName": table, "Key": key }))).unwrap()),
        }
        self.rows.send_modify(|rows| rows.push(Unwritten { table, key, item: put["Item"].clone() }));
    }

    fn import(&self, table: &str, item: Value) {
        self.database.0.import_items(table, vec![parse(item)], ImportOptions::default()).unwrap();
    }

    fn row(&self, put: &Value) -> Option<Value> {
        let get = json!({ "TableName": put["TableName"], "Key": key_of(&put["Item"]) });
        json_of(&self.database.0.get_item(parse(get)).unwrap()).get("Item").cloned().filter(|item| !item.is_null())
    }

    fn is_unwritten(&self, put: &Value) -> bool {
        let is_of = |row: &Unwritten| put["TableName"] == row.table && key_of(&put["Item"]) == row.key;
        self.rows.borrow().iter().any(is_of)
    }
}

/// The key of a log's row.
fn key_of(item: &Value) -> Value {
    json!({ "roomId": item["roomId"], "seq": item["seq"] })
}

/// The database, whose transactions may be shown in part.
pub(super) struct Transactions {
    pub(super) database: Metered,
    pub(super) in_part: InPart,
}

impl Backend for Transactions {
    async fn call(&self, operation: &str, body: &Value, request: &Request) -> Reply {
        if operation == "TransactWriteItems" {
            return self.transact(body, request).await;
        }
        let _reading = self.in_part.calls.read().await;
        match operation {
            "PutItem" if self.in_part.is_unwritten(body) => conflict(),
            _ => self.database.call(operation, body, request).await,
        }
    }
}

impl Transactions {
    async fn transact(&self, body: &Value, request: &Request) -> Reply {
        let writing = self.in_part.calls.write().await;
        let puts: Vec<_> = body["TransactItems"].as_array().expect("items").iter().map(|item| &item["Put"]).collect();
        let reason = |put: &&Value| if self.in_part.is_unwritten(put) { "TransactionConflict" } else { "None" };
        let reasons: Vec<_> = puts.iter().map(reason).collect();
        if reasons.contains(&"TransactionConflict") {
            return transaction_cancelled(&reasons);
        }
        let Fate { unwritten, after } = self.in_part.which.lock().unwrap().fate(puts.len());
        let before: Vec<_> = unwritten.iter().map(|position| self.in_part.row(puts[*position])).collect();
        let reply = self.database.call("TransactWriteItems", body, request).await;
        if reply.status == 200 {
            let keys: Vec<_> = unwritten.iter().map(|position| key_of(&puts[*position]["Item"])).collect();
            for (position, before) in unwritten.iter().zip(before) {
                self.in_part.hide(puts[*position], before);
            }
            drop(writing);
            match after {
                Some(after) => {
                    tokio::time::sleep(after).await;
                    self.in_part.write(|key| keys.contains(key));
                }
                None => self.in_part.is_written(&keys).await,
            }
        }
        reply
    }
}

/// The answer to a put of a row that a transaction is writing.
fn conflict() -> Reply {
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";
    json_reply(400, &json!({ "__type": kind, "message": "Transaction is ongoing for the item" }))
}

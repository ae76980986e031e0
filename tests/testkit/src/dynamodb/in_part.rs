//! A transaction that the table shows only in part. DynamoDB writes the rows of a transaction one after the other: a
//! `Query` sees those that are written, and another writer of one that is not has a conflict ("Isolation levels and
//! handling transaction conflicts", DynamoDB Developer Guide).

use std::sync::{Arc, Mutex};

use dynoxide::ImportOptions;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::metered::Metered;
use super::{DynamoDb, Tables, json_of, parse};
use crate::aws_endpoint::{Backend, json_reply, transaction_cancelled};
use crate::http_server::{Reply, Request};

/// The next transaction, of which some rows are not written until the test says so.
#[derive(Clone, Debug)]
pub struct InPart {
    database: Tables,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stage: watch::Sender<Stage>,
    rows: Mutex<Vec<Unwritten>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// The transaction that comes next is written in part: all but the rows at these positions.
    Waits(Vec<usize>),
    Begun,
    Written,
}

/// A row that is not written yet.
#[derive(Debug)]
struct Unwritten {
    table: String,
    key: Value,
    item: Value,
}

impl Default for Shared {
    fn default() -> Self {
        Self { stage: watch::Sender::new(Stage::Written), rows: Mutex::default() }
    }
}

impl DynamoDb {
    /// The next transaction, whose rows at these positions are not written until [`InPart::finish`]. It is answered
    /// after that.
    pub fn next_in_part(&self, unwritten: &[usize]) -> &InPart {
        self.in_part.shared.stage.send_replace(Stage::Waits(unwritten.to_vec()));
        &self.in_part
    }
}

impl InPart {
    pub(super) fn of(database: Tables) -> Self {
        Self { database, shared: Arc::default() }
    }

    /// Waits until the transaction is written in part.
    pub async fn begun(&self) {
        self.reaches(Stage::Begun).await;
    }

    /// Writes the rest.
    pub fn finish(&self) {
        for Unwritten { table, item, .. } in self.shared.rows.lock().unwrap().drain(..) {
            self.database.0.import_items(&table, vec![parse(item)], ImportOptions::default()).unwrap();
        }
        self.shared.stage.send_replace(Stage::Written);
    }

    async fn reaches(&self, stage: Stage) {
        // The sender exists as long as `self`, so the channel is not closed.
        let _ = self.shared.stage.subscribe().wait_for(|reached| *reached == stage).await;
    }

    /// Takes rows of a transaction that has succeeded out again.
    fn hide(&self, puts: &[Value], before: &[Option<Value>], unwritten: &[usize]) {
        let mut rows = self.shared.rows.lock().unwrap();
        for position in unwritten {
            let put = &puts[*position]["Put"];
            let (table, key) = (put["TableName"].as_str().unwrap().to_owned(), key_of(&put["Item"]));
            match &before[*position] {
                Some(item) => {
                    self.database.0.import_items(&table, vec![parse(item.clone())], ImportOptions::default()).unwrap();
                }
                None => {
                    self.database.0.delete_item(parse(json!({ "TableName": table, "Key": key }))).unwrap();
                }
            }
            rows.push(Unwritten { table, key, item: put["Item"].clone() });
        }
        drop(rows);
        self.shared.stage.send_replace(Stage::Begun);
    }

    fn row(&self, put: &Value) -> Option<Value> {
        let get = json!({ "TableName": put["TableName"], "Key": key_of(&put["Item"]) });
        json_of(&self.database.0.get_item(parse(get)).unwrap()).get("Item").cloned().filter(|item| !item.is_null())
    }

    fn is_unwritten(&self, put: &Value) -> bool {
        let rows = self.shared.rows.lock().unwrap();
        rows.iter().any(|row| put["TableName"] == row.table && key_of(&put["Item"]) == row.key)
    }
}

/// The key of a log's row.
fn key_of(item: &Value) -> Value {
    json!({ "roomId": item["roomId"], "seq": item["seq"] })
}

/// The database, one transaction of which may be shown in part.
pub(super) struct Transactions {
    pub(super) database: Metered,
    pub(super) in_part: InPart,
}

impl Backend for Transactions {
    async fn call(&self, operation: &str, body: &Value, request: &Request) -> Reply {
        let puts = match operation {
            "TransactWriteItems" => body["TransactItems"].as_array().expect("items"),
            "PutItem" if self.in_part.is_unwritten(body) => {
                return json_reply(
                    400,
                    &json!({
                        "__type": "com.amazonaws.dynamodb.v20120810#TransactionConflictException",
                        "message": "Transaction is ongoing for the item",
                    }),
                );
            }
            _ => return self.database.call(operation, body, request).await,
        };
        let reasons: Vec<_> = puts
            .iter()
            .map(|put| if self.in_part.is_unwritten(&put["Put"]) { "TransactionConflict" } else { "None" })
            .collect();
        if reasons.contains(&"TransactionConflict") {
            return transaction_cancelled(&reasons);
        }
        let stage = self.in_part.shared.stage.borrow().clone();
        let Stage::Waits(unwritten) = stage else { return self.database.call(operation, body, request).await };
        let before: Vec<_> = puts.iter().map(|put| self.in_part.row(&put["Put"])).collect();
        let reply = self.database.call(operation, body, request).await;
        if reply.status == 200 {
            self.in_part.hide(puts, &before, &unwritten);
            self.in_part.reaches(Stage::Written).await;
        }
        reply
    }
}

//! The units that calls cost, as DynamoDB counts them. Read units: all rows that are read, whole and even if they are
//! not returned, rounded up to 4 KB for each call (in a batch for each row), at half the price when eventually
//! consistent. Write units: each row that is written, rounded up to 1 KB, again for each index that contains it, and
//! twice in a transaction.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::aws_endpoint::{Backend, Forward};
use crate::http_server::{Reply, Request};

/// The operations that cost units.
const METERED: [&str; 8] =
    ["GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"];

/// The database, which is asked for the cost of each call.
pub(super) struct Metered {
    database: Forward,
    meter: Meter,
}

/// A call, with the units that it has cost.
#[derive(Clone, Debug)]
pub struct MeteredCall {
    /// The operation.
    pub operation: String,
    /// The request.
    pub body: Value,
    /// Read or write units.
    pub units: f64,
}

impl MeteredCall {
    /// Whether the units are read units.
    pub fn is_read(&self) -> bool {
        ["GetItem", "BatchGetItem", "Query"].contains(&self.operation.as_str())
    }
}

/// The calls so far; clones are the same list.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<Mutex<Vec<MeteredCall>>>);

impl Meter {
    pub(super) fn calls(&self) -> Vec<MeteredCall> {
        self.0.lock().unwrap().clone()
    }

    /// Read units so far.
    pub(super) fn read_units(&self) -> f64 {
        self.0.lock().unwrap().iter().filter(|call| call.is_read()).map(|call| call.units).sum()
    }
}

impl Metered {
    pub(super) fn in_front_of(url: &str, meter: Meter) -> Self {
        Self { database: Forward::new(url), meter }
    }
}

impl Backend for Metered {
    async fn call(&self, operation: &str, body: &Value, request: &Request) -> Reply {
        if !METERED.contains(&operation) {
            return self.database.call(operation, body, request).await;
        }
        let asked = body.clone();
        let mut body = body.clone();
        body["ReturnConsumedCapacity"] = json!("TOTAL");
        let reply = self.database.call(operation, &body, request).await;
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        // For a batch it is a list with an entry for each table.
        let consumed = &answer["ConsumedCapacity"];
        let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let units = tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        self.meter.0.lock().unwrap().push(MeteredCall { operation: operation.to_owned(), body: asked, units });
        reply
    }
}

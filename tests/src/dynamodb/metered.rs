//! Counts the read units that calls cost, by DynamoDB's own account: every row that is read, whole and whether or not it is
//! returned, rounded up to 4 KB for each call (of a batch for each row), at half the price when eventually consistent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::aws_endpoint::{Backend, Forward};
use crate::http_server::{Reply, Request};

/// The database, asked for what each read has cost.
pub(super) struct Metered {
    database: Forward,
    read: ReadUnits,
}

/// Read units so far; clones are the same count.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadUnits(Arc<AtomicU64>);

impl ReadUnits {
    /// How many.
    #[expect(clippy::cast_precision_loss, reason = "a test reads less than 2^52 units")]
    pub(super) fn get(&self) -> f64 {
        self.0.load(Ordering::SeqCst) as f64 / 2.0
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "halves of a small positive number")]
    fn add(&self, units: f64) {
        self.0.fetch_add((units * 2.0).round() as u64, Ordering::SeqCst);
    }
}

impl Metered {
    pub(super) fn in_front_of(url: &str, read: ReadUnits) -> Self {
        Self { database: Forward::new(url), read }
    }
}

impl Backend for Metered {
    async fn call(&self, operation: &str, body: &Value, request: &Request) -> Reply {
        if !["GetItem", "BatchGetItem", "Query"].contains(&operation) {
            return self.database.call(operation, body, request).await;
        }
        let mut body = body.clone();
        body["ReturnConsumedCapacity"] = json!("TOTAL");
        let reply = self.database.call(operation, &body, request).await;
        let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        // That of a batch is a list, with an entry for each table.
        let consumed = &answer["ConsumedCapacity"];
        let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        self.read.add(tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum());
        reply
    }
}

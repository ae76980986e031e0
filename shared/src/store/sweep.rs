//! The position of the scheduled sweep of connections: a row of the `Congestion` table, under the scope `sweep`, which
//! no group of a queue has.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;

use super::{StoreError, scan::RowKey};
use crate::{
    clock::Clock,
    item::{number, text},
};

const SCOPE: &str = "sweep";
const ROW: &str = "connections";

/// The time for which a position is kept, in seconds: a sweep that nobody has gone on with for a day begins anew.
const KEPT_SECONDS: u64 = 24 * 60 * 60;

/// The table that keeps the position.
#[derive(Clone, Debug)]
pub struct SweepPosition<C> {
    client: Client,
    table: Arc<str>,
    clock: C,
}

impl<C: Clock> SweepPosition<C> {
    /// The position in the congestion table with this name.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), clock }
    }

    /// The row after which to go on; `None` is the beginning.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn load(&self) -> Result<Option<RowKey>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&*self.table)
            .key("scope", text(SCOPE))
            .key("groupId", text(ROW))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::of_call("GetItem of the sweep's position"))?;
        Ok(output.item.and_then(|item| RowKey::read(&item).ok()))
    }

    /// Notes the row after which to go on; `None` once the end is reached.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn save(&self, position: Option<&RowKey>) -> Result<(), StoreError> {
        let mut item = position.map(RowKey::to_item).unwrap_or_default();
        item.insert("scope".into(), text(SCOPE));
        item.insert("groupId".into(), text(ROW));
        item.insert("expiresAt".into(), number(self.clock.unix_seconds() + KEPT_SECONDS));
        let put = self.client.put_item().table_name(&*self.table).set_item(Some(item)).send().await;
        put.map_err(StoreError::of_call("PutItem of the sweep's position"))?;
        Ok(())
    }
}

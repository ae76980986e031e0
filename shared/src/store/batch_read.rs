//! Rows that are read by their keys, many in one call. A throttled table leaves some keys of a call unprocessed; those
//! are asked for again, in rounds.

use aws_sdk_dynamodb::{Client, types::builders::KeysAndAttributesBuilder};

use super::StoreError;
use crate::backoff::Backoff;
use crate::item::Item;

/// Keys in one call: the limit of `BatchGetItem`.
pub(super) const READ_BATCH: usize = 100;

/// The read of one kind of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchRead {
    /// The call, as errors name it.
    pub(super) operation: &'static str,
    /// Calls at most: the first, and those for the keys that were left unprocessed.
    pub(super) rounds: u32,
    /// The waits between the rounds.
    pub(super) backoff: Backoff,
}

/// The result of a read.
#[derive(Debug, Default)]
pub(super) struct BatchRows {
    /// The rows that are there.
    pub(super) rows: Vec<Item>,
    /// The keys that were still unprocessed after the last round.
    pub(super) unread: Vec<Item>,
}

impl BatchRead {
    /// Reads the rows of at most [`READ_BATCH`] keys.
    pub(super) async fn read(
        &self,
        client: &Client,
        table: &str,
        keys: KeysAndAttributesBuilder,
    ) -> Result<BatchRows, StoreError> {
        let mut pending = Some(keys.build().map_err(StoreError::not_built(self.operation))?);
        let mut rows = Vec::new();
        for round in 0..self.rounds {
            let Some(keys) = pending.take() else { break };
            if round > 0 {
                tokio::time::sleep(self.backoff.delay(round - 1)).await;
            }
            let output = client.batch_get_item().request_items(table, keys).send().await;
            let output = output.map_err(StoreError::of_call(self.operation))?;
            rows.extend(output.responses.unwrap_or_default().remove(table).unwrap_or_default());
            pending = output.unprocessed_keys.unwrap_or_default().remove(table);
        }
        Ok(BatchRows { rows, unread: pending.map(|left| left.keys).unwrap_or_default() })
    }
}

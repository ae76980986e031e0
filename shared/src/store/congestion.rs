//! Rooms that are behind, and their cuts. The `Congestion` table: PK `scope`, SK `groupId`.
//!
//! | `scope` | row |
//! |---|---|
//! | `group/{group}` | what is written down about a FIFO group that is behind |
//! | `rooms` | the same, if the group has a cut: one query reads all cuts, and only those when after an outage every room is behind |

use std::sync::Arc;

use aws_sdk_dynamodb::Client;

use super::StoreError;
use crate::congestion::{
    Cut,
    law::{GroupRow, Sight},
};
use crate::item::{Item, Unreadable, number, read_number, read_optional_number, read_text, text};

/// The scope of the groups with a cut.
const SCOPE: &str = "rooms";

/// The scope of what is written down about one group.
fn own_scope(group: &str) -> String {
    format!("group/{group}")
}

/// Fractions are kept in millionths.
const MILLION: f64 = 1_000_000.0;

/// The congestion table.
#[derive(Clone, Debug)]
pub struct CongestionTable {
    client: Client,
    table: Arc<str>,
}

impl CongestionTable {
    /// The table with this name.
    #[must_use]
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.into() }
    }

    /// The note about a group; a row that cannot be read counts as none.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn row(&self, group: &str) -> Result<Option<GroupRow>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&*self.table)
            .key("scope", text(own_scope(group)))
            .key("groupId", text(group))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::of_call("GetItem of a congestion"))?;
        Ok(output.item.and_then(|item| read_row(&item).map_err(|row| warn(group, row)).ok()))
    }

    /// Writes a group's row in place of the one before. Only the group's one consumer does so.
    ///
    /// # Errors
    /// When the table does not take it.
    pub async fn put(&self, group: &str, row: &GroupRow) -> Result<(), StoreError> {
        if row.cut.is_some() {
            self.put_in(SCOPE, group, row).await?;
        }
        self.put_in(&own_scope(group), group, row).await
    }

    async fn put_in(&self, scope: &str, group: &str, row: &GroupRow) -> Result<(), StoreError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&*self.table)
            .item("scope", text(scope))
            .item("groupId", text(group))
            .item("seenAt", number(row.sight.seen_at))
            .item("queuedAt", number(row.sight.queued_at))
            .item("depth", number(row.sight.depth))
            .item("expiresAt", number(row.ends_at() / 1_000 + 1));
        if let Some(cut) = row.cut {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
            let fraction = (cut.fraction * MILLION).ceil() as u64;
            put =
                put.item("fraction", number(fraction)).item("since", number(cut.since)).item("hold", number(cut.hold));
        }
        put.send().await.map_err(StoreError::of_call("PutItem of a congestion"))?;
        Ok(())
    }

    /// The cuts of all groups, in one query, eventually consistent. One page of it holds some 8,000 groups.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn cuts(&self) -> Result<Vec<(String, Cut)>, StoreError> {
        let page = self
            .client
            .query()
            .table_name(&*self.table)
            // "scope" is a reserved word for DynamoDB.
            .key_condition_expression("#scope = :scope")
            .expression_attribute_names("#scope", "scope")
            .expression_attribute_values(":scope", text(SCOPE))
            .send()
            .await
            .map_err(StoreError::of_call("Query of the congestion"))?;
        if page.last_evaluated_key.is_some() {
            tracing::error!("more groups are behind than one query reads: the cuts of the others are not known");
        }
        let read = |item: &Item| {
            // The group is the sort key: it is there, and a text.
            let group = read_text(item, "groupId").ok()?;
            let cut = read_cut(item).map_err(|row| warn(group, row)).ok()??;
            Some((group.to_owned(), cut))
        };
        Ok(page.items().iter().filter_map(read).collect())
    }
}

fn read_row(item: &Item) -> Result<GroupRow, Unreadable> {
    let sight = Sight {
        seen_at: read_number(item, "seenAt")?,
        queued_at: read_number(item, "queuedAt")?,
        depth: read_number(item, "depth")?,
    };
    Ok(GroupRow { sight, cut: read_cut(item)? })
}

fn read_cut(item: &Item) -> Result<Option<Cut>, Unreadable> {
    let Some(millionths) = read_optional_number(item, "fraction")? else { return Ok(None) };
    let millionths = u32::try_from(millionths).map_err(|_| Unreadable("fraction"))?;
    let fraction = f64::from(millionths) / MILLION;
    Ok(Some(Cut { fraction, since: read_number(item, "since")?, hold: read_number(item, "hold")? }))
}

fn warn(group: &str, Unreadable(attribute): Unreadable) {
    tracing::warn!(group, attribute, "a row of congestion that cannot be read is left out");
}

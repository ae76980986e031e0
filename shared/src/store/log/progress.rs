//! Progress: how far a room's broadcasts have been posted, kept beside its log so that a later invocation can go on.

use std::num::NonZeroU16;

use aws_sdk_dynamodb::types::AttributeValue;

use super::LogTable;
use crate::{
    clock::Clock,
    item::{Item, Unreadable, UnreadableRows, number, read_number, text},
    room::RoomId,
    store::StoreError,
};

/// Progress: how far one FIFO group has posted the numbers of a room. What a row says stays true for ever, so even an
/// old row is of use.
///
/// `{done: 7, up_to: 9, slot: 40, missing: [12]}`: every connection of the group has been posted the numbers up to 7,
/// and those in slots below 40, but for slot 12, have been posted 8 and 9 besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number up to which every slot has everything.
    pub done: u64,
    /// The number up to which the slots below `slot` have everything.
    pub up_to: u64,
    /// The slot from which on none is sure to have anything beyond `done`.
    pub slot: u16,
    /// The slots below `slot` of which the same is true, because their connections took too long.
    pub missing: Vec<u16>,
}

/// The FIFO group whose progress it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProgressOf {
    /// The room's own group.
    Room,
    /// The group of one shard, counted from 0.
    Shard(u16),
}

impl ProgressOf {
    /// The row's sort key, below those of entries and fence.
    fn sort_key(self) -> i64 {
        match self {
            Self::Room => -1,
            Self::Shard(shard) => -2 - i64::from(shard),
        }
    }
}

impl<C: Clock> LogTable<C> {
    /// A group's progress, if it has saved it. A row that cannot be read counts as none: then all is posted again.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn progress(&self, room: &RoomId, of: ProgressOf) -> Result<Option<Progress>, StoreError> {
        let Some(item) = self.row(room, of.sort_key(), "GetItem of a progress").await? else { return Ok(None) };
        let mut unreadable = UnreadableRows::default();
        let progress = read_progress(&item).map_err(|row| unreadable.add(row)).ok();
        unreadable.warn(room);
        Ok(progress)
    }

    /// Saves how far a group got, in place of what it saved before, unless more is done by that: a consumer that was
    /// given up while it saved may be later than the next one. `expires_at` is in seconds since the Unix epoch: when no
    /// record of these numbers can come again.
    ///
    /// # Errors
    /// When the table does not take it.
    pub async fn save_progress(
        &self,
        room: &RoomId,
        of: ProgressOf,
        progress: &Progress,
        expires_at: u64,
    ) -> Result<(), StoreError> {
        let mut put = self
            .client
            .put_item()
            .table_name(&*self.table)
            .item("roomId", text(room.as_str()))
            .item("seq", number(of.sort_key()))
            .item("done", number(progress.done))
            .item("upTo", number(progress.up_to))
            .item("slot", number(progress.slot))
            .item("expiresAt", number(expires_at));
        if !progress.missing.is_empty() {
            put = put.item("missing", AttributeValue::Ns(progress.missing.iter().map(u16::to_string).collect()));
        }
        let put = put
            // A row that cannot be read has a `done` of another type, which is not above a number.
            .condition_expression("NOT done > :done")
            .expression_attribute_values(":done", number(progress.done));
        StoreError::unless_condition_failed("PutItem of a progress", put.send().await).map(drop)
    }

    /// The number up to which all of the first `shards` shards have posted everything; 0 if one of them has saved
    /// nothing.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn shards_done(&self, room: &RoomId, shards: NonZeroU16) -> Result<u64, StoreError> {
        let last = ProgressOf::Shard(shards.get() - 1);
        let (mut lowest, mut rows, mut start) = (u64::MAX, 0, None);
        let mut unreadable = UnreadableRows::default();
        // One call for up to some thousands of shards: it reads 1 MiB.
        loop {
            let page = self
                .client
                .query()
                .table_name(&*self.table)
                .key_condition_expression("roomId = :room AND seq BETWEEN :last AND :first")
                .expression_attribute_values(":room", text(room.as_str()))
                .expression_attribute_values(":last", number(last.sort_key()))
                .expression_attribute_values(":first", number(ProgressOf::Shard(0).sort_key()))
                .projection_expression("done")
                .consistent_read(true)
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(StoreError::of_call("Query of the shards' progress"))?;
            for item in page.items() {
                rows += 1;
                let done = read_number(item, "done").map_err(|row| unreadable.add(row));
                lowest = lowest.min(done.unwrap_or(0));
            }
            start = page.last_evaluated_key;
            if start.is_none() {
                break;
            }
        }
        unreadable.warn(room);
        Ok(if rows == u32::from(shards.get()) { lowest } else { 0 })
    }
}

fn read_progress(item: &Item) -> Result<Progress, Unreadable> {
    let slot = u16::try_from(read_number(item, "slot")?).map_err(|_| Unreadable("slot"))?;
    let missing = match item.get("missing") {
        None => Vec::new(),
        Some(slots) => {
            let slots = slots.as_ns().map_err(|_| Unreadable("missing"))?;
            let mut slots: Vec<u16> =
                slots.iter().map(|slot| slot.parse()).collect::<Result<_, _>>().map_err(|_| Unreadable("missing"))?;
            slots.sort_unstable();
            slots
        }
    };
    Ok(Progress { done: read_number(item, "done")?, up_to: read_number(item, "upTo")?, slot, missing })
}

//! Reading a log, a page at a time.

use std::{ops::RangeInclusive, time::Duration};

use aws_sdk_dynamodb::{
    operation::query::builders::QueryFluentBuilder,
    types::{ConsumedCapacity, ReturnConsumedCapacity},
};

use super::{
    LogEntry, LogPage, LogTable, UNIT_BYTES,
    append::{FENCE, Fence},
    row::read_entry,
};
use crate::{
    backoff::Backoff,
    clock::Clock,
    item::{Item, Unreadable, UnreadableRows, bytes, number, read_number, read_optional_number, text},
    room::RoomId,
    store::StoreError,
};

/// The number of the first entry that a log can have.
const FIRST: u64 = 1;

/// The direction of a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

/// Whether a read sees everything that was written before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Consistency {
    Strong,
    Eventual,
}

/// A row's number, and whether it has not expired yet.
#[derive(Clone, Copy)]
struct Row {
    seq: u64,
    is_living: bool,
}

/// The number of times that a page is read again because an append is there only in part, which is a matter of
/// milliseconds. With the waits it is at most 0.7 s.
const READS_AGAIN: u32 = 7;
const IN_PART: Backoff = Backoff { base: Duration::from_millis(10), cap: Duration::from_millis(200) };

/// Entries of a range that are asked for at once.
const PAGE: u32 = 250;

const QUERY: &str = "Query of a log";

/// The result of one query.
struct ReadPage {
    page: LogPage,
    /// The last number in it, expired or not.
    last_read: Option<u64>,
    /// Whether an append is there, and not from its start on.
    is_in_part: bool,
}

/// Whether one of the numbers from `first` up to, but not including, `last` is missing among `numbers`, which are
/// ascending.
fn lacks_some(numbers: &[u64], first: u64, last: u64) -> bool {
    let there = numbers.partition_point(|number| *number < last) - numbers.partition_point(|number| *number < first);
    u64::try_from(there).is_ok_and(|there| there < last.saturating_sub(first))
}

/// The bytes that so many read units stand for, strongly consistent.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
#[expect(clippy::cast_precision_loss, reason = "a small number")]
fn bytes_of_units(units: f64) -> usize {
    (units * UNIT_BYTES as f64).ceil() as usize
}

impl<C: Clock> LogTable<C> {
    /// The newest entries with a smaller seq than `before`, descending.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn latest(&self, room: &RoomId, before: Option<u64>, limit: u32) -> Result<LogPage, StoreError> {
        self.before(room, before, limit, Consistency::Strong).await
    }

    /// As [`LogTable::latest`], but eventually consistent: at half the price, the newest entries may be missing.
    /// Entries just before `before` are not.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn history(&self, room: &RoomId, before: Option<u64>, limit: u32) -> Result<LogPage, StoreError> {
        self.before(room, before, limit, Consistency::Eventual).await
    }

    /// The newest entries before a number. Numbers are consecutive, so if a page does not begin with the one below
    /// `before`, the entry `before` is looked at, which waits until all of its append is there, and the page is read
    /// again, strongly consistent. What is still missing then is gone, or the log was started anew after it.
    async fn before(
        &self,
        room: &RoomId,
        before: Option<u64>,
        limit: u32,
        consistency: Consistency,
    ) -> Result<LogPage, StoreError> {
        let last = before.map_or(u64::MAX, |before| before.saturating_sub(1));
        let page = self.descending(room, last, limit, consistency).await?;
        let is_next =
            page.entries.first().is_some_and(|newest| newest.seq() == last) || page.unreadable.contains(&last);
        let Some(before) = before.filter(|_| !is_next && last >= FIRST) else { return Ok(page) };
        let look = self.descending(room, before, 2, Consistency::Strong).await?;
        let again = self.descending(room, last, limit, Consistency::Strong).await?;
        Ok(LogPage { bytes: page.bytes + look.bytes + again.bytes, ..again })
    }

    /// The newest entries up to a number.
    async fn descending(
        &self,
        room: &RoomId,
        mut last: u64,
        limit: u32,
        consistency: Consistency,
    ) -> Result<LogPage, StoreError> {
        let mut found = LogPage::default();
        while last >= FIRST {
            let (page, last_read) = self.page(room, (FIRST, last), Direction::Descending, limit, consistency).await?;
            found.add(page);
            match last_read {
                // The page had nothing but unreadable rows.
                Some(last_read) if found.entries.is_empty() && found.more => last = last_read - 1,
                _ => break,
            }
        }
        Ok(found)
    }

    /// The oldest entries from `seq` on, ascending.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn since(&self, room: &RoomId, seq: u64, limit: u32) -> Result<LogPage, StoreError> {
        let mut first = seq.max(FIRST);
        let mut found = LogPage::default();
        loop {
            let (page, last_read) =
                self.page(room, (first, u64::MAX), Direction::Ascending, limit, Consistency::Strong).await?;
            let has_expired_only = page.unreadable.is_empty();
            found.add(page);
            let Some(last_read) = last_read.filter(|_| found.entries.is_empty() && found.more) else {
                return Ok(found);
            };
            first = last_read + 1;
            // Going up, living rows come after expired ones, of which the table may still have any number.
            if has_expired_only {
                let living = self.first_living(room, first, &mut found.bytes).await?;
                let Some(living) = living else { return Ok(LogPage { more: false, ..found }) };
                first = living;
            }
        }
    }

    /// Hands over the entries with the numbers of a range, ascending, as far as the log has them.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn for_each_in(
        &self,
        room: &RoomId,
        numbers: RangeInclusive<u64>,
        mut take: impl FnMut(LogEntry),
    ) -> Result<(), StoreError> {
        let (mut first, last) = numbers.into_inner();
        while first <= last {
            let limit = u32::try_from(last - first + 1).unwrap_or(PAGE).min(PAGE);
            // Large messages take more than one page.
            let page = self.since(room, first, limit).await?;
            let Some(read) = page.entries.last().map(LogEntry::seq) else { break };
            page.entries.into_iter().take_while(|entry| entry.seq() <= last).for_each(&mut take);
            first = read + 1;
        }
        Ok(())
    }

    /// The fence: where the room's log was started last, or carried on, if it is still known.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn fence(&self, room: &RoomId) -> Result<Option<Fence>, StoreError> {
        const OPERATION: &str = "GetItem of a log's fence";
        let row = self.row(room, FENCE, OPERATION).await?;
        // A writer needs what the row says for its condition.
        let unreadable =
            |_: Unreadable| StoreError::Unavailable { operation: OPERATION, source: "the row cannot be read".into() };
        let read = |item: &Item| {
            Ok(Fence { start: read_number(item, "start")?, appended_at: read_optional_number(item, "appendedAt")? })
        };
        row.as_ref().map(read).transpose().map_err(unreadable)
    }

    fn query(&self, room: &RoomId, (first, last): (u64, u64), direction: Direction, limit: u32) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(&*self.table)
            .key_condition_expression("roomId = :room AND seq BETWEEN :first AND :last")
            .expression_attribute_values(":room", text(room.as_str()))
            .expression_attribute_values(":first", number(first))
            .expression_attribute_values(":last", number(last))
            .consistent_read(true)
            .scan_index_forward(direction == Direction::Ascending)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
    }

    /// The page of a range, and the last number in it, expired or not.
    async fn page(
        &self,
        room: &RoomId,
        range: (u64, u64),
        direction: Direction,
        limit: u32,
        mut consistency: Consistency,
    ) -> Result<(LogPage, Option<u64>), StoreError> {
        for attempt in 0..=READS_AGAIN {
            if attempt > 0 {
                tokio::time::sleep(IN_PART.delay(attempt - 1)).await;
                consistency = Consistency::Strong;
            }
            let ReadPage { page, last_read, is_in_part } =
                self.read_page(room, range, direction, limit, consistency).await?;
            if !is_in_part {
                return Ok((page, last_read));
            }
        }
        Err(StoreError::Unavailable { operation: QUERY, source: "the table shows only a part of an append".into() })
    }

    /// The page that one query reads.
    async fn read_page(
        &self,
        room: &RoomId,
        range: (u64, u64),
        direction: Direction,
        limit: u32,
        consistency: Consistency,
    ) -> Result<ReadPage, StoreError> {
        let query = self.query(room, range, direction, limit).consistent_read(consistency == Consistency::Strong);
        let output = query.send().await;
        let output = output.map_err(StoreError::of_call(QUERY))?;
        let now = self.clock.unix_seconds();
        let items = output.items.unwrap_or_default();
        let (mut page, mut unreadable) = (LogPage::default(), UnreadableRows::default());
        let (mut last_read, mut has_expired) = (None, false);
        let mut numbers = Vec::with_capacity(items.len());
        for item in &items {
            page.bytes += bytes(item);
            last_read = read_number(item, "seq").ok();
            numbers.extend(last_read);
            if read_number(item, "expiresAt").is_ok_and(|expires_at| expires_at <= now) {
                has_expired = true;
                continue;
            }
            match read_entry(room, item) {
                Ok(entry) => page.entries.push(entry),
                Err(row) => {
                    unreadable.add(row);
                    page.unreadable.extend(last_read);
                }
            }
        }
        unreadable.warn(room);
        // Entries expire in order: going down, nothing lives below the first expired one.
        page.more = output.last_evaluated_key.is_some() && (direction == Direction::Ascending || !has_expired);
        numbers.sort_unstable();
        // Going down, the page ends with the last row that was read, and may be continued below that.
        let lowest = last_read.filter(|_| direction == Direction::Descending && page.more).unwrap_or(range.0);
        let is_in_part = page.entries.iter().any(|entry| {
            self.may_be_in_part(entry.appended_at) && lacks_some(&numbers, entry.append_start.max(lowest), entry.seq())
        });
        Ok(ReadPage { page, last_read, is_in_part })
    }

    /// The number from which on rows live, behind any number of expired ones. Entries expire in order, so it is found
    /// by halving: among a hundred thousand rows in about twenty small reads. `bytes_read` grows by the bytes of the
    /// rows that were read.
    async fn first_living(&self, room: &RoomId, first: u64, bytes_read: &mut usize) -> Result<Option<u64>, StoreError> {
        let newest = self.outermost(room, (first, u64::MAX), Direction::Descending, bytes_read).await?;
        let Some(newest) = newest.filter(|row| row.is_living) else { return Ok(None) };
        // The first row from `high` on lives; the first living one is not below `low`.
        let (mut low, mut high) = (first, newest.seq);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.outermost(room, (middle, high), Direction::Ascending, bytes_read).await? {
                Some(row) if !row.is_living => low = row.seq + 1,
                _ => high = middle,
            }
        }
        Ok(Some(low))
    }

    /// The first row of a range in a direction. A row that does not say when it expires counts as living.
    async fn outermost(
        &self,
        room: &RoomId,
        range: (u64, u64),
        direction: Direction,
        bytes_read: &mut usize,
    ) -> Result<Option<Row>, StoreError> {
        let query = self.query(room, range, direction, 1).projection_expression("seq, expiresAt");
        // Attributes that are not returned are read and paid for all the same.
        let query = query.return_consumed_capacity(ReturnConsumedCapacity::Total);
        let output = query.send().await.map_err(StoreError::of_call(QUERY))?;
        let units = output.consumed_capacity().and_then(ConsumedCapacity::capacity_units).unwrap_or(1.0);
        *bytes_read += bytes_of_units(units);
        let now = self.clock.unix_seconds();
        let row = output.items().first().and_then(|item| {
            let is_living = read_number(item, "expiresAt").map_or(true, |expires_at| expires_at > now);
            Some(Row { seq: read_number(item, "seq").ok()?, is_living })
        });
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_unit_stands_for_four_kib() {
        assert_eq!([0.5, 1.0, 2.5].map(bytes_of_units), [2_048, 4_096, 10_240]);
    }
}

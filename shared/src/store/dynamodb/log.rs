//! The `Messages` table: PK `roomId`, SK `seq`. The row with `seq` 0 is not a message: it says where the log was started
//! last, or carried on near its end, so that of two writers who find it so only one writes.

use std::sync::Arc;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{Put, TransactWriteItem},
};
use serde_json::value::RawValue;

use super::{
    failed,
    item::{Item, number, read_number, read_text, text},
};
use crate::{
    clock::Clock,
    message::{LoggedMessage, Message},
    room::RoomId,
    store::{
        StoreError,
        log::{Append, AppendError, LogEntry, LogPage, LogStore},
    },
};

/// The sort key of the row that says where the log starts.
const START_ROW: u64 = 0;

/// The log table in DynamoDB.
#[derive(Clone, Debug)]
pub struct DynamoLog<C> {
    client: Client,
    table: Arc<str>,
    clock: C,
}

/// Which way a page goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ascending,
    Descending,
}

impl<C: Clock> DynamoLog<C> {
    /// A store over a table.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), clock }
    }

    /// One query's worth of a log, and the last number that it read, expired or not.
    async fn page(
        &self,
        room: &RoomId,
        (first, last): (u64, u64),
        direction: Direction,
        limit: u32,
    ) -> Result<(LogPage, Option<u64>), StoreError> {
        let output = self
            .client
            .query()
            .table_name(&*self.table)
            .key_condition_expression("roomId = :room AND seq BETWEEN :first AND :last")
            .expression_attribute_values(":room", text(room.as_str()))
            .expression_attribute_values(":first", number(first))
            .expression_attribute_values(":last", number(last))
            .consistent_read(true)
            .scan_index_forward(direction == Direction::Ascending)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .send()
            .await
            .map_err(failed("Query of a log"))?;
        let items = output.items.unwrap_or_default();
        let read = items.len();
        let mut entries = items.iter().map(|item| read_entry(room, item)).collect::<Result<Vec<_>, _>>()?;
        let last_read = entries.last().map(LogEntry::seq);
        let now = self.clock.unix_seconds();
        entries.retain(|entry| entry.expires_at > now);
        // Entries expire in order: going down, nothing lives below the first expired one.
        let more = output.last_evaluated_key.is_some() && (direction == Direction::Ascending || entries.len() == read);
        Ok((LogPage { entries, more }, last_read))
    }

    /// The oldest living entries from `first` on, beyond many that have expired. Entries expire in order, so the first
    /// living one is found by halving: in about twenty small reads where there may be a hundred thousand rows.
    async fn oldest_living(&self, room: &RoomId, first: u64, limit: u32) -> Result<LogPage, StoreError> {
        let (newest, _) = self.page(room, (first, u64::MAX), Direction::Descending, 1).await?;
        let Some(newest) = newest.entries.first() else { return Ok(LogPage { entries: Vec::new(), more: false }) };
        // The first row from `high` on lives; the first living one is not below `low`.
        let (mut low, mut high) = (first, newest.seq());
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, row) = self.page(room, (middle, high), Direction::Ascending, 1).await?;
            match row {
                Some(row) if found.entries.is_empty() => low = row + 1,
                _ => high = middle,
            }
        }
        let (page, _) = self.page(room, (low, u64::MAX), Direction::Ascending, limit).await?;
        Ok(page)
    }

    fn put(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&*self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(seq)")
            .build()
            .map_err(failed("TransactWriteItems of a log"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The row that starts the log, on condition that nobody has started it since `previous` was read.
    fn put_start(
        &self,
        room: &RoomId,
        first: &LogEntry,
        previous: Option<u64>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut put = Put::builder()
            .table_name(&*self.table)
            .item("roomId", text(room.as_str()))
            .item("seq", number(START_ROW))
            .item("start", number(first.seq()))
            .item("expiresAt", number(first.expires_at));
        put = match previous {
            None => put.condition_expression("attribute_not_exists(seq)"),
            Some(previous) => put
                // "start" is a reserved word for DynamoDB.
                .condition_expression("attribute_not_exists(seq) OR #start = :previous")
                .expression_attribute_names("#start", "start")
                .expression_attribute_values(":previous", number(previous)),
        };
        let put = put.build().map_err(failed("TransactWriteItems of a log"))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    async fn append_one(&self, entry: &LogEntry) -> Result<(), AppendError> {
        let result = self
            .client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(to_item(entry)))
            .condition_expression("attribute_not_exists(seq)")
            .send()
            .await;
        match result {
            Ok(_) => Ok(()),
            Err(error) if is_put_conflict(&error) => Err(AppendError::Conflict),
            Err(error) => Err(failed("PutItem of a log")(error).into()),
        }
    }

    async fn append_together(&self, puts: Vec<TransactWriteItem>) -> Result<(), AppendError> {
        match self.client.transact_write_items().set_transact_items(Some(puts)).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_transaction_conflict(&error) => Err(AppendError::Conflict),
            Err(error) => Err(failed("TransactWriteItems of a log")(error).into()),
        }
    }
}

fn is_put_conflict(error: &SdkError<PutItemError>) -> bool {
    matches!(
        error.as_service_error(),
        Some(PutItemError::ConditionalCheckFailedException(_) | PutItemError::TransactionConflictException(_))
    )
}

/// Whether another writer is why the transaction was cancelled. A cancellation names a reason for each entry;
/// `TransactionConflict` means that another transaction on one of the rows was under way.
fn is_transaction_conflict(error: &SdkError<TransactWriteItemsError>) -> bool {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error.as_service_error() else {
        return false;
    };
    let codes = || cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
    codes().any(|code| matches!(code, "ConditionalCheckFailed" | "TransactionConflict"))
}

fn to_item(entry: &LogEntry) -> Item {
    let LoggedMessage { seq, message } = &entry.logged;
    let mut item = Item::from([
        ("roomId".into(), text(message.room.as_str())),
        ("seq".into(), number(*seq)),
        ("id".into(), text(&message.id)),
        ("from".into(), text(&message.from)),
        ("sentAt".into(), number(message.sent_at)),
        ("data".into(), text(message.data.get())),
        ("appendedAt".into(), number(entry.appended_at)),
        ("expiresAt".into(), number(entry.expires_at)),
    ]);
    if let Some(key) = &message.key {
        item.insert("key".into(), text(key));
    }
    if let Some(version) = message.version {
        item.insert("version".into(), number(version));
    }
    item
}

fn read_entry(room: &RoomId, item: &Item) -> Result<LogEntry, StoreError> {
    let optional = |attribute: &'static str| item.contains_key(attribute).then_some(attribute);
    let data = RawValue::from_string(read_text(item, "data")?.to_owned())
        .map_err(|error| StoreError { operation: "reading a row", source: error.into() })?;
    let message = Message {
        room: room.clone(),
        id: read_text(item, "id")?.to_owned(),
        from: read_text(item, "from")?.to_owned(),
        sent_at: read_number(item, "sentAt")?,
        data,
        key: optional("key").map(|name| read_text(item, name).map(str::to_owned)).transpose()?,
        version: optional("version").map(|name| read_number(item, name)).transpose()?,
    };
    Ok(LogEntry {
        logged: LoggedMessage { seq: read_number(item, "seq")?, message },
        appended_at: read_number(item, "appendedAt")?,
        expires_at: read_number(item, "expiresAt")?,
    })
}

impl<C: Clock> LogStore for DynamoLog<C> {
    async fn latest(&self, room: &RoomId, before: Option<u64>, limit: u32) -> Result<LogPage, StoreError> {
        let last = before.map_or(u64::MAX, |before| before.saturating_sub(1));
        if last == START_ROW {
            return Ok(LogPage { entries: Vec::new(), more: false });
        }
        let (page, _) = self.page(room, (START_ROW + 1, last), Direction::Descending, limit).await?;
        Ok(page)
    }

    async fn from(&self, room: &RoomId, seq: u64, limit: u32) -> Result<LogPage, StoreError> {
        let first = seq.max(START_ROW + 1);
        let (page, last_read) = self.page(room, (first, u64::MAX), Direction::Ascending, limit).await?;
        match last_read {
            // Going up, the living come after the expired, however many of those the table has not deleted yet.
            Some(last_read) if page.entries.is_empty() && page.more => {
                self.oldest_living(room, last_read + 1, limit).await
            }
            _ => Ok(page),
        }
    }

    async fn start(&self, room: &RoomId) -> Result<Option<u64>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&*self.table)
            .key("roomId", text(room.as_str()))
            .key("seq", number(START_ROW))
            .consistent_read(true)
            .send()
            .await
            .map_err(failed("GetItem of a log's start"))?;
        output.item.map(|item| read_number(&item, "start")).transpose()
    }

    async fn append(&self, room: &RoomId, entries: &[LogEntry], how: Append) -> Result<(), AppendError> {
        match (entries, how) {
            ([], _) => Ok(()),
            ([entry], Append::Continue) => self.append_one(entry).await,
            (entries, Append::Continue) => {
                let puts = entries.iter().map(|entry| self.put(to_item(entry))).collect::<Result<_, _>>()?;
                self.append_together(puts).await
            }
            (entries @ [first, ..], Append::Start { previous }) => {
                let start = self.put_start(room, first, previous);
                let puts = entries.iter().map(|entry| self.put(to_item(entry)));
                self.append_together(std::iter::once(start).chain(puts).collect::<Result<_, _>>()?).await
            }
        }
    }
}

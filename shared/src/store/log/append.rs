//! Appending to a log: all entries or none, on condition that no other writer has appended.

use aws_sdk_dynamodb::{
    config::{
        Builder,
        interceptors::InterceptorContext,
        retry::{ClassifyRetry, RetryAction},
    },
    error::{DisplayErrorContext, SdkError},
    operation::{put_item::PutItemError, transact_write_items::TransactWriteItemsError},
    types::{Put, TransactWriteItem},
};

use super::{Append, LogEntry, LogTable, LogTableError, row::to_item};
use crate::{
    aws::operation_error,
    clock::Clock,
    item::{Item, number, text},
    room::RoomId,
    store::StoreError,
};

/// The sort key of the fence: the row that says where the log was started last, or carried on near its end.
pub(super) const FENCE: u64 = 0;

/// The fence: where a log was started last, or carried on near its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The first number of the log since then.
    pub start: u64,
    /// When that was appended, in milliseconds since the Unix epoch. Unknown in a fence that an older version has
    /// written.
    pub appended_at: Option<u64>,
}

const TRANSACTION: &str = "TransactWriteItems of a log";

impl<C: Clock> LogTable<C> {
    /// Appends all entries or none; their numbers must be free. A transaction takes 100 rows, the fence among them.
    ///
    /// A throttled append is tried again by the SDK, as often as any call, before it is an error.
    ///
    /// # Errors
    /// When another writer was quicker, or the table does not take it.
    pub async fn append(&self, room: &RoomId, entries: &[LogEntry], how: Append) -> Result<(), LogTableError> {
        match (entries, how) {
            ([], _) => Ok(()),
            ([entry], Append::Continue) => self.append_one(entry).await,
            (entries, Append::Continue) => {
                let puts = entries.iter().map(|entry| self.put(to_item(entry))).collect::<Result<_, _>>()?;
                self.append_together(puts).await
            }
            (entries @ [first, ..], Append::Fenced { expected }) => {
                let fence = self.put_fence(room, first, expected);
                let puts = entries.iter().map(|entry| self.put(to_item(entry)));
                self.append_together(std::iter::once(fence).chain(puts).collect::<Result<_, _>>()?).await
            }
        }
    }

    fn put(&self, item: Item) -> Result<TransactWriteItem, StoreError> {
        let put = Put::builder()
            .table_name(&*self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(seq)")
            .build()
            .map_err(StoreError::not_built(TRANSACTION))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    /// The fence, on condition that it is still where `expected` says.
    fn put_fence(
        &self,
        room: &RoomId,
        first: &LogEntry,
        expected: Option<u64>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut put = Put::builder()
            .table_name(&*self.table)
            .item("roomId", text(room.as_str()))
            .item("seq", number(FENCE))
            .item("start", number(first.seq()))
            .item("appendedAt", number(first.appended_at))
            .item("expiresAt", number(first.expires_at));
        put = match expected {
            None => put.condition_expression("attribute_not_exists(seq)"),
            Some(expected) => put
                // "start" is a reserved word for DynamoDB.
                .condition_expression("attribute_not_exists(seq) OR #start = :expected")
                .expression_attribute_names("#start", "start")
                .expression_attribute_values(":expected", number(expected)),
        };
        let put = put.build().map_err(StoreError::not_built(TRANSACTION))?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    async fn append_one(&self, entry: &LogEntry) -> Result<(), LogTableError> {
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
            Err(error) if is_put_conflict(&error) => Err(LogTableError::Conflict),
            Err(error) => Err(StoreError::of_call("PutItem of a log")(error).into()),
        }
    }

    async fn append_together(&self, puts: Vec<TransactWriteItem>) -> Result<(), LogTableError> {
        let transaction = self.client.transact_write_items().set_transact_items(Some(puts)).customize();
        let transaction = transaction.config_override(Builder::new().retry_classifier(ThrottledTransaction));
        let Err(error) = transaction.send().await else { return Ok(()) };
        match error.as_service_error().and_then(Cancellation::of) {
            Some(Cancellation::Conflict) => Err(LogTableError::Conflict),
            Some(Cancellation::Throttled) => {
                Err(StoreError::throttled(TRANSACTION, DisplayErrorContext(error).to_string()).into())
            }
            None => Err(StoreError::of_call(TRANSACTION)(error).into()),
        }
    }
}

fn is_put_conflict(error: &SdkError<PutItemError>) -> bool {
    matches!(
        error.as_service_error(),
        Some(PutItemError::ConditionalCheckFailedException(_) | PutItemError::TransactionConflictException(_))
    )
}

/// The reason why a transaction was cancelled, as far as anything can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cancellation {
    /// Another writer was quicker: the head must be read again.
    Conflict,
    /// The table or one of its partitions takes no more for now.
    Throttled,
}

impl Cancellation {
    /// A cancellation names a reason for each row; `TransactionConflict` means that another transaction on one of the
    /// rows was under way. A conflict counts for more than a throttle: the same transaction would never succeed.
    fn of(error: &TransactWriteItemsError) -> Option<Self> {
        let TransactWriteItemsError::TransactionCanceledException(cancelled) = error else { return None };
        let is_any_of = |wanted: &[&str]| {
            let codes = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
            codes.into_iter().any(|code| wanted.contains(&code))
        };
        if is_any_of(&["ConditionalCheckFailed", "TransactionConflict"]) {
            Some(Self::Conflict)
        } else if is_any_of(&["ThrottlingError", "ProvisionedThroughputExceeded"]) {
            Some(Self::Throttled)
        } else {
            None
        }
    }
}

/// Has the SDK try a throttled transaction again as it does a throttled put; by itself it takes every cancellation for
/// final.
#[derive(Debug)]
struct ThrottledTransaction;

impl ClassifyRetry for ThrottledTransaction {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match operation_error(context).and_then(Cancellation::of) {
            Some(Cancellation::Throttled) => RetryAction::throttling_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "throttled transactions"
    }
}

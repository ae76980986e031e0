//! A table or partition that takes no more for now.

use shared::store::StoreError;
use shared::store::connections::ConnectionTable;
use shared::store::log::{Append, Layout, LogEntry, LogTableError};
use shared::{ConnectionId, LoggedMessage, clock::Clock};
use testkit::aws_endpoint::{Fault, Rule};
use testkit::dynamodb::{CONNECTIONS_TABLE, ConnectionRow};

use super::writer::{Log, client, message, room, rows};

/// The SDK's attempts.
const ATTEMPTS: usize = 3;

impl Log {
    async fn append(&self, first: u64, count: u64) -> Result<(), LogTableError> {
        let entry = |seq| LogEntry {
            logged: LoggedMessage { seq, message: message(&format!("m{seq}"), &self.clock) },
            append_start: seq,
            previous: None,
            appended_at: 1,
            expires_at: self.clock.unix_seconds() + 60,
            layout: Layout::Direct,
            floor: 0,
            state_at: None,
        };
        let entries: Vec<_> = (first..first + count).map(entry).collect();
        self.table.append(&room(), &entries, Append::Continue).await
    }
}

fn is_throttled<T>(result: &Result<T, LogTableError>) -> bool {
    matches!(result, Err(LogTableError::Store(StoreError::Throttled { .. })))
}

fn cancelled(codes: &[&str]) -> Fault {
    Fault::transaction_cancelled(codes)
}

#[tokio::test]
async fn a_throttled_transaction_is_tried_again_as_a_throttled_put_is() {
    for code in ["ThrottlingError", "ProvisionedThroughputExceeded"] {
        let log = Log::new();
        log.dynamodb.fault(Rule::on("TransactWriteItems", cancelled(&["None", code])).times(ATTEMPTS - 1));
        log.append(1, 2).await.unwrap();
        assert_eq!((log.dynamodb.count("TransactWriteItems"), rows(&log.dynamodb).len()), (ATTEMPTS, 2));
    }
    let log = Log::new();
    log.dynamodb.fault(Rule::on("PutItem", Fault::throughput_exceeded()).times(ATTEMPTS - 1));
    log.append(1, 1).await.unwrap();
    assert_eq!((log.dynamodb.count("PutItem"), rows(&log.dynamodb).len()), (ATTEMPTS, 1));
}

#[tokio::test]
async fn beyond_the_sdks_patience_the_caller_is_told_that_it_is_a_throttle() {
    let log = Log::new();
    for code in ["ThrottlingError", "ProvisionedThroughputExceeded"] {
        log.dynamodb.endpoint().clear_calls();
        log.dynamodb.fault(Rule::on("TransactWriteItems", cancelled(&[code, "None"])).times(ATTEMPTS));
        let error = log.append(1, 2).await;
        assert!(is_throttled(&error), "{error:?}");
        assert!(format!("{error:?}").contains(code), "{error:?}");
        assert_eq!(log.dynamodb.count("TransactWriteItems"), ATTEMPTS);
    }
    for fault in [Fault::throughput_exceeded(), Fault::throttling()] {
        log.dynamodb.fault(Rule::on("PutItem", fault.clone()).times(ATTEMPTS));
        assert!(is_throttled(&log.append(1, 1).await));
        log.dynamodb.fault(Rule::on("Query", fault).times(ATTEMPTS));
        let read = log.table.latest(&room(), None, 1).await;
        assert!(matches!(read, Err(StoreError::Throttled { .. })), "{read:?}");
    }
    assert!(rows(&log.dynamodb).is_empty());
    log.append(1, 2).await.unwrap();
}

#[tokio::test]
async fn a_conflict_is_one_though_another_row_was_throttled() {
    let log = Log::new();
    log.dynamodb.fault(Rule::on("TransactWriteItems", cancelled(&["ThrottlingError", "ConditionalCheckFailed"])));
    assert!(matches!(log.append(1, 2).await, Err(LogTableError::Conflict)));
    assert_eq!(log.dynamodb.count("TransactWriteItems"), 1, "it would never succeed");
}

#[tokio::test]
async fn what_is_no_throttle_is_told_apart() {
    let log = Log::new();
    for code in ["ItemCollectionSizeLimitExceeded", "ValidationError"] {
        log.dynamodb.endpoint().clear_calls();
        log.dynamodb.fault(Rule::on("TransactWriteItems", cancelled(&["None", code])).times(1));
        let error = log.append(1, 2).await;
        assert!(matches!(error, Err(LogTableError::Store(StoreError::Unavailable { .. }))), "{error:?}");
        assert_eq!(log.dynamodb.count("TransactWriteItems"), 1);
    }
    log.dynamodb.fault(Rule::on("PutItem", Fault::access_denied()).times(1));
    let error = log.append(1, 1).await;
    assert!(matches!(error, Err(LogTableError::Store(StoreError::Unavailable { .. }))), "{error:?}");
}

#[tokio::test]
async fn deletes_that_stay_unprocessed_are_a_throttle() {
    let log = Log::new();
    let table = ConnectionTable::new(client(&log.dynamodb), CONNECTIONS_TABLE, log.clock.clone());
    log.dynamodb.seed([ConnectionRow::new("c", "room")]);
    log.dynamodb.fault(Rule::on("BatchWriteItem", Fault::unprocessed_after(0)));
    let removed = table.remove(&room(), &[ConnectionId::new("c")]).await;
    assert!(matches!(removed, Err(StoreError::Throttled { .. })), "{removed:?}");
    log.dynamodb.endpoint().clear_faults();
    table.remove(&room(), &[ConnectionId::new("c")]).await.unwrap();
    assert!(log.dynamodb.rows().is_empty());
}

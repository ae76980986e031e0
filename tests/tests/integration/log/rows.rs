//! Entries as rows: their layouts, the bytes that a page has read, and rows that cannot be read.

use std::num::NonZeroU16;

use serde_json::{Value, json};
use shared::clock::Clock;
use shared::store::log::{Append, Layout, LogEntry, LogTableError};
use shared::{LoggedMessage, RoomId};

use super::writer::{Log, ROOM, append, batch, message, numbers, room, writer};

const RETENTION: u64 = 3_600;

impl Log {
    fn entry(&self, seq: u64, layout: Layout, floor: u64) -> LogEntry {
        let logged = LoggedMessage { seq, message: message(&format!("m{seq}"), &self.clock) };
        let now = self.clock.unix_seconds();
        LogEntry {
            logged,
            append_start: seq,
            previous: None,
            appended_at: now * 1_000,
            expires_at: now + RETENTION,
            layout,
            floor,
            state_at: None,
        }
    }

    /// A row of the log, with fields of its own.
    fn row(&self, seq: u64, own: Value) -> Value {
        let mut row = json!({
            "roomId": ROOM, "seq": seq, "id": format!("m{seq}"), "from": "alice", "sentAt": 1, "data": "1",
            "appendedAt": 1, "expiresAt": self.clock.unix_seconds() + RETENTION,
        });
        row.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        row
    }
}

fn seqs(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(LogEntry::seq).collect()
}

#[tokio::test]
async fn how_an_entry_goes_out_stands_in_it() {
    let log = Log::new();
    let shards = Layout::Shards(NonZeroU16::new(16).unwrap());
    let entries = [log.entry(1, Layout::Direct, 0), log.entry(2, shards, 2), log.entry(3, Layout::Direct, 3)];
    log.table.append(&room(), &entries, Append::Fenced { expected: None }).await.unwrap();
    let read = log.table.since(&room(), 1, 10).await.unwrap().entries;
    let facts: Vec<_> = read.iter().map(|entry| (entry.layout, entry.floor)).collect();
    assert_eq!(facts, [(Layout::Direct, 0), (shards, 2), (Layout::Direct, 3)]);
    let rows = log.dynamodb.log(ROOM);
    assert_eq!((rows[0].get("shards"), rows[0].get("floor")), (None, None), "a small room pays nothing");
    assert_eq!((&rows[1]["shards"], &rows[1]["floor"]), (&json!(16), &json!(2)));
}

#[tokio::test]
async fn of_two_that_move_the_fence_from_the_same_place_one_does() {
    let log = Log::new();
    let append = async |seq, expected| {
        log.table.append(&room(), &[log.entry(seq, Layout::Direct, 0)], Append::Fenced { expected }).await
    };
    append(5, None).await.unwrap();
    assert_eq!(log.table.fence(&room()).await.unwrap().unwrap().start, 5);
    assert!(matches!(append(6, None).await, Err(LogTableError::Conflict)));
    append(6, Some(5)).await.unwrap();
    assert!(matches!(append(7, Some(5)).await, Err(LogTableError::Conflict)));
    assert_eq!(log.table.fence(&room()).await.unwrap().unwrap().start, 6);
    assert_eq!(log.table.fence(&RoomId::parse("other").unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_page_says_about_how_much_was_read_for_it() {
    let log = Log::new();
    let large = format!("\"{}\"", "x".repeat(10_000));
    let expired = json!({ "expiresAt": 1, "data": large });
    log.dynamodb.seed_log([log.row(1, expired), log.row(2, json!({ "data": large })), log.row(3, json!({}))]);
    let page = log.table.since(&room(), 1, 10).await.unwrap();
    assert_eq!(seqs(&page.entries), [2, 3]);
    assert!((20_000..20_500).contains(&page.bytes), "{}", page.bytes);
    let page = log.table.latest(&room(), None, 1).await.unwrap();
    assert!((50..200).contains(&page.bytes), "{}", page.bytes);
    assert_eq!(log.table.latest(&RoomId::parse("other").unwrap(), None, 9).await.unwrap().bytes, 0);
}

/// A row may have been written by somebody else or by a later version: the other rows are read all the same.
#[tokio::test]
async fn a_row_that_cannot_be_read_is_left_out() {
    let log = Log::new();
    let unreadable = [json!({ "data": "{" }), json!({ "shards": 0 }), json!({ "sentAt": "noon" })];
    for own in unreadable {
        let log = Log::new();
        log.dynamodb.seed_log([log.row(1, json!({})), log.row(2, own), log.row(3, json!({}))]);
        let page = log.table.since(&room(), 1, 10).await.unwrap();
        assert_eq!((seqs(&page.entries), page.unreadable, page.more), (vec![1, 3], vec![2], false));
        let page = log.table.latest(&room(), None, 2).await.unwrap();
        assert_eq!((seqs(&page.entries), page.unreadable, page.more), (vec![3], vec![2], true));
    }
    log.dynamodb.seed_log([log.row(1, json!({ "data": "{", "expiresAt": 1 })), log.row(2, json!({}))]);
    let page = log.table.since(&room(), 1, 10).await.unwrap();
    assert_eq!((seqs(&page.entries), page.unreadable), (vec![2], vec![]), "what has expired is nobody's concern");
}

/// A reader that goes on from the last entry of a page always gets further.
#[tokio::test]
async fn a_page_of_which_there_is_more_has_an_entry_however_many_cannot_be_read() {
    let log = Log::new();
    let own = |seq| match seq {
        1..=20 => json!({ "expiresAt": 1 }),
        21..=60 => json!({ "data": "{" }),
        _ => json!({}),
    };
    log.dynamodb.seed_log((1..=62).map(|seq| log.row(seq, own(seq))));
    let page = log.table.since(&room(), 1, 10).await.unwrap();
    assert_eq!((seqs(&page.entries), page.more, page.unreadable.len()), (vec![61, 62], false, 40));
    log.dynamodb.seed_log([log.row(63, json!({}))]);
    let page = log.table.since(&room(), 25, 2).await.unwrap();
    assert_eq!((seqs(&page.entries), page.more), (vec![61, 62], true));
    log.dynamodb.seed_log([log.row(20, json!({}))]);
    let page = log.table.latest(&room(), Some(61), 10).await.unwrap();
    assert_eq!((seqs(&page.entries), page.more, page.unreadable.len()), (vec![20], false, 40));
}

/// The row's number is taken, so the log goes on after it.
#[tokio::test]
async fn a_log_goes_on_after_a_row_that_cannot_be_read() {
    let log = Log::new();
    let (warm, cold) = (writer(&log.dynamodb, &log.clock, RETENTION), writer(&log.dynamodb, &log.clock, RETENTION));
    let first = numbers(&warm, &batch(&["a"], &log.clock)).await[0];
    log.dynamodb.seed_log([log.row(first + 1, json!({ "data": "{" }))]);
    assert_eq!(numbers(&warm, &batch(&["b"], &log.clock)).await, [first + 2], "met as a conflict");
    log.dynamodb.seed_log([log.row(first + 3, json!({ "data": "{" }))]);
    assert_eq!(numbers(&cold, &batch(&["c", "d"], &log.clock)).await, [first + 4, first + 5], "found at the head");
}

#[tokio::test]
async fn a_log_of_nothing_but_unreadable_rows_starts_anew() {
    let log = Log::new();
    log.dynamodb.seed_log((1..=40).map(|seq| log.row(seq, json!({ "data": "{" }))));
    for page in [log.table.since(&room(), 1, 15).await.unwrap(), log.table.latest(&room(), None, 15).await.unwrap()] {
        assert_eq!((page.entries.len(), page.more, page.unreadable.len()), (0, false, 40));
    }
    let writer = writer(&log.dynamodb, &log.clock, RETENTION);
    let logged = append(&writer, &batch(&["a"], &log.clock)).await.unwrap();
    assert!(logged[0].seq > 1_000_000, "at the time");
}

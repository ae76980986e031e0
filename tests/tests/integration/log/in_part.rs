//! Appends that the table shows only in part, as it may do for a moment: everybody sees all of an append or none of it.

use std::future::{Future, pending};
use std::time::Duration;

use fanout::log::{AppendError, Batch};
use futures::future::join;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::Message;
use testkit::aws_endpoint::Call;
use testkit::clock::TestClock;
use testkit::dynamodb::{DynamoDb, InPart, MESSAGES_TABLE};

use super::reads::{RETENTION, Room};
use super::rooms::{facts, seqs};
use super::writer::{ROOM, append, append_with_head, batch, batch_of, ids, message, numbers, redelivered, writer};

/// The result of something that reads the log while an append is there in part, which is finished as soon as the log
/// has been read twice.
pub(crate) async fn finished_meanwhile<T>(dynamodb: &DynamoDb, in_part: &InPart, read: impl Future<Output = T>) -> T {
    finished_after(2, dynamodb, in_part, read).await
}

/// The same, with another number of reads.
async fn finished_after<T>(reads: usize, dynamodb: &DynamoDb, in_part: &InPart, read: impl Future<Output = T>) -> T {
    in_part.begun().await;
    let queries = |calls: &[Call]| {
        calls.iter().filter(|call| call.operation == "Query" && call.body["TableName"] == MESSAGES_TABLE).count()
    };
    let before = queries(&dynamodb.endpoint().calls());
    let finish = async {
        dynamodb.endpoint().wait_until("the reads", |calls| queries(calls) >= before + reads).await;
        in_part.finish();
        pending().await
    };
    let read = tokio::select! {
        read = read => read,
        never = finish => never,
    };
    in_part.finish();
    read
}

impl Room {
    /// The result of `read`, with the numbers of two messages that are logged together and are there in part when it
    /// reads.
    async fn read_in_part<T>(&self, unwritten: &[usize], read: impl Future<Output = T>) -> (T, Vec<u64>) {
        self.read_of(&["y", "z"], unwritten, 2, read).await
    }

    async fn read_of<T>(
        &self,
        ids: &[&str],
        unwritten: &[usize],
        reads: usize,
        read: impl Future<Output = T>,
    ) -> (T, Vec<u64>) {
        let log = writer(&self.dynamodb, &self.clock, RETENTION);
        let in_part = self.dynamodb.next_in_part(unwritten);
        let batch = batch(ids, &self.clock);
        join(finished_after(reads, &self.dynamodb, in_part, read), append_with_head(&log, &batch)).await
    }
}

#[tokio::test]
async fn a_reader_misses_nothing_of_an_append() {
    for way in ["sync", "join"] {
        let room = Room::new();
        let log = room.log(&["a", "b"]).await;
        let after = log[0];
        let read = async { if way == "sync" { room.sync(after).await } else { room.join(Some(after)).await } };
        let (page, new) = room.read_in_part(&[0], read).await;
        assert_eq!(facts(&page), (new[1], vec![log[1], new[0], new[1]], false, false), "{way}");
    }
}

/// Whoever asks for all that there is has no number before it which would show that something is missing.
#[tokio::test]
async fn whoever_asks_for_everything_gets_the_beginning() {
    let room = Room::new();
    let (page, new) = room.read_in_part(&[1], room.join(Some(0))).await;
    assert_eq!(facts(&page), (new[1], new, false, false));
}

/// An append whose end is not there yet looks like a shorter one: the rest is posted later.
#[tokio::test]
async fn the_beginning_of_an_append_is_told_as_such() {
    let room = Room::new();
    let log = room.log(&["a", "b"]).await;
    // It is finished when the reply is there.
    let (page, new) = room.read_of(&["y", "z"], &[1], usize::MAX / 2, room.sync(log[0])).await;
    assert_eq!(facts(&page), (new[0], vec![log[1], new[0]], false, false));
}

#[tokio::test]
async fn history_has_all_of_an_append() {
    let room = Room::new();
    let log = room.log(&["a"]).await;
    let (page, new) = room.read_in_part(&[0], room.history(None, 10)).await;
    assert_eq!(seqs(&page), [log[0], new[0], new[1]]);
    // It is eventually consistent at first.
    let queries = room.dynamodb.calls_of("Query");
    let is_strong = |call: &Call| call.body["ConsistentRead"] == true;
    let is_of_a_writer = |call: &&Call| call.body["Limit"] == 25;
    let of_history: Vec<_> = queries.iter().filter(|call| !is_of_a_writer(call)).map(is_strong).collect();
    assert_eq!(of_history[..2], [false, true]);
}

/// The first page of history ends within the append.
#[tokio::test]
async fn history_has_an_append_that_is_longer_than_a_page() {
    for unwritten in 0..5 {
        let room = Room::new();
        let log = room.log(&["a"]).await;
        let reading = room.history(None, 10);
        let (page, new) = room.read_of(&["u", "v", "x", "y", "z"], &[unwritten], 4, reading).await;
        // The end of an append may be missing.
        let told = if unwritten == 4 { &new[..4] } else { &new };
        assert_eq!(seqs(&page), [&log, told].concat(), "{unwritten}");
    }
}

/// A log that starts anew shows its entries before its fence.
#[tokio::test]
async fn nobody_is_told_of_a_loss_where_a_log_is_starting() {
    let room = Room::new();
    let old = room.log(&["a"]).await;
    room.clock.advance(Duration::from_secs(RETENTION));
    let (page, new) = room.read_in_part(&[0], room.join(Some(old[0]))).await;
    assert_eq!(facts(&page), (new[1], new, false, false));
}

/// A consumer gets a batch while the append of the one that had it before is still under way, as after a deadline.
async fn redelivered_in_part(
    dynamodb: &DynamoDb,
    clock: &TestClock,
    batch: Batch,
    unwritten: &[usize],
    reads: usize,
) -> [Vec<u64>; 2] {
    let (before, after) = (writer(dynamodb, clock, RETENTION), writer(dynamodb, clock, RETENTION));
    let in_part = dynamodb.next_in_part(unwritten);
    let again = redelivered(&batch);
    let numbers_again = finished_after(reads, dynamodb, in_part, numbers(&after, &again));
    let (second, first) = join(numbers_again, numbers(&before, &batch)).await;
    [first, second]
}

#[tokio::test]
async fn a_batch_whose_append_is_under_way_is_logged_once() {
    for unwritten in [&[0][..], &[1], &[0, 1]] {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        append(&writer(&dynamodb, &clock, RETENTION), &batch(&["a"], &clock)).await.unwrap();
        let [first, second] = redelivered_in_part(&dynamodb, &clock, batch(&["y", "z"], &clock), unwritten, 2).await;
        assert_eq!((first, ids(&dynamodb).as_slice()), (second, ["a", "y", "z"].map(String::from).as_slice()));
    }
}

/// A consumer reads 25 entries of a log first, or 1 MB of it.
#[tokio::test]
async fn a_batch_that_is_larger_than_a_page_is_logged_once() {
    for unwritten in 0..6 {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        append(&writer(&dynamodb, &clock, RETENTION), &batch(&["a"], &clock)).await.unwrap();
        let large = RawValue::from_string(format!("\"{}\"", "x".repeat(115_000))).unwrap();
        let messages = (0..12).map(|number| Message { data: large.clone(), ..message(&number.to_string(), &clock) });
        let [first, second] =
            redelivered_in_part(&dynamodb, &clock, batch_of(messages.collect()), &[unwritten], 4).await;
        assert_eq!((first, dynamodb.log(ROOM).len()), (second, 13), "{unwritten}");
    }
}

/// Of such an append the fence is a row too.
#[tokio::test]
async fn a_batch_that_starts_a_log_is_logged_once() {
    for unwritten in [&[0][..], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]] {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let [first, second] = redelivered_in_part(&dynamodb, &clock, batch(&["y", "z"], &clock), unwritten, 2).await;
        assert_eq!((first, ids(&dynamodb)), (second, vec!["y".to_owned(), "z".to_owned()]), "{unwritten:?}");
    }
}

/// A row that is missing after half a minute was deleted by somebody.
#[tokio::test]
async fn what_stays_away_is_an_error_and_then_gone() {
    let room = Room::new();
    let log = room.log(&["a", "b"]).await;
    let in_part = room.dynamodb.next_in_part(&[0]);
    let first = writer(&room.dynamodb, &room.clock, RETENTION);
    let batch = batch(&["y", "z"], &room.clock);
    let missing = async {
        in_part.begun().await;
        let reply: Value = room.join(Some(log[0])).await;
        assert_eq!((&reply["type"], &reply["code"]), (&"error".into(), &"unavailable".into()), "{reply}");
        let other = writer(&room.dynamodb, &room.clock, RETENTION);
        let refused = append(&other, &redelivered(&batch)).await.unwrap_err();
        assert!(refused.to_string().contains("part of an append"), "{refused}");
        assert_eq!(ids(&room.dynamodb), ["a", "b", "z"]);
        room.clock.advance(Duration::from_secs(30));
        let (head, seqs, more, truncated) = facts(&room.join(Some(log[0])).await);
        assert_eq!((head, seqs, more, truncated), (log[1] + 2, vec![log[1], log[1] + 2], false, true));
        in_part.finish();
    };
    join(missing, numbers(&first, &batch)).await;
    assert_eq!(room.dynamodb.log(ROOM).len(), 4);
}

/// The rows of a log were deleted, but for its fence.
#[tokio::test]
async fn a_fence_without_a_log_holds_nobody_up_for_long() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = || writer(&dynamodb, &clock, RETENTION);
    let first = numbers(&log(), &batch(&["a"], &clock)).await[0];
    dynamodb.expire_log(ROOM, first);
    clock.advance(Duration::from_millis(29_999));
    let refused = append(&log(), &batch(&["b"], &clock)).await.unwrap_err();
    assert!(matches!(refused, AppendError::Contended), "{refused}");
    clock.advance(Duration::from_millis(1));
    assert!(numbers(&log(), &batch(&["b"], &clock)).await[0] > first);
}

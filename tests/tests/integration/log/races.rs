//! Several writers on one room, and calls that end in every way they can.

use std::time::Duration;

use futures::future::{join, join_all, join3};
use serde_json::value::RawValue;
use shared::Message;
use shared::clock::Clock;
use testkit::aws_endpoint::{Fault, Hold, Rule};
use testkit::clock::TestClock;
use testkit::dynamodb::DynamoDb;

use super::writer::{append, batch, batch_of, ids, numbers, redelivered, room, rows, writer};

const RETENTION: u64 = 86_400;

fn assert_consecutive(dynamodb: &DynamoDb) {
    let numbers: Vec<_> = rows(dynamodb).into_iter().map(|row| row.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[tokio::test]
async fn an_empty_log_that_two_start_at_once_does_not_fork() {
    for ahead in [-2_000, 0, 2_000] {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let logs = [clock.clone(), clock.ahead_by_millis(ahead)].map(|clock| writer(&dynamodb, &clock, RETENTION));
        let hold = Hold::default();
        dynamodb.fault(Rule::on("TransactWriteItems", Fault::Held(hold.clone())));
        let both_write = async {
            // Both writers have found the log empty before either writes.
            dynamodb.endpoint().wait_for("TransactWriteItems", 2).await;
            hold.release();
        };
        let (mine, theirs) = (batch(&["a", "b"], &clock), batch(&["c", "d"], &clock));
        let (mine, theirs, ()) = join3(numbers(&logs[0], &mine), numbers(&logs[1], &theirs), both_write).await;
        assert_eq!((mine.len(), theirs.len()), (2, 2));
        assert_eq!(rows(&dynamodb).len(), 4);
        assert_consecutive(&dynamodb);
    }
}

/// Near its end a log could fork when one writer goes on with it while the other starts it anew.
#[tokio::test]
async fn a_log_that_ends_by_one_clock_and_not_by_the_other_does_not_fork() {
    for left in (1_190..1_210).chain(0..12) {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let behind = writer(&dynamodb, &clock.ahead_by_millis(-1_500), RETENTION);
        let ahead = writer(&dynamodb, &clock.ahead_by_millis(1_500), RETENTION);
        append(&behind, &batch(&["a"], &clock)).await.unwrap();
        clock.advance(Duration::from_secs(RETENTION - left));
        let second = numbers(&ahead, &batch(&["b"], &clock)).await[0];
        let third = numbers(&behind, &batch(&["c"], &clock)).await[0];
        assert!(second < third, "{left} s before its end, {third} was given after {second}");
        assert_eq!(ids(&dynamodb), ["a", "b", "c"]);
    }
}

/// The same holds while a deployment makes retention longer, and a long time for one writer is short for the other.
#[tokio::test]
async fn a_log_that_writers_keep_for_different_times_does_not_fork() {
    for left in (0..60).step_by(3) {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let (short, long) = (writer(&dynamodb, &clock, 60), writer(&dynamodb, &clock, RETENTION));
        append(&short, &batch(&["a"], &clock)).await.unwrap();
        clock.advance(Duration::from_secs(60 - left));
        let second = numbers(&long, &batch(&["b"], &clock)).await[0];
        let third = numbers(&short, &batch(&["c"], &clock)).await[0];
        assert!(second < third, "{left} s before its end, {third} was given after {second}");
        assert!(ids(&dynamodb).ends_with(&["b".to_owned(), "c".to_owned()]));
    }
}

#[tokio::test]
async fn a_stale_head_is_corrected() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let (log, other) = (writer(&dynamodb, &clock, RETENTION), writer(&dynamodb, &clock, RETENTION));
    append(&log, &batch(&["a"], &clock)).await.unwrap();
    let theirs = batch(&["b", "c"], &clock);
    append(&other, &theirs).await.unwrap();
    // The first writer's head is still `a`, and it recognises what the other one has logged.
    append(&log, &batch(&["d"], &clock)).await.unwrap();
    append(&other, &batch(&["e", "f"], &clock)).await.unwrap();
    append(&log, &redelivered(&theirs)).await.unwrap();
    append(&log, &batch(&["g"], &clock)).await.unwrap();
    assert_eq!(ids(&dynamodb), ["a", "b", "c", "d", "e", "f", "g"]);
    assert_consecutive(&dynamodb);
}

#[tokio::test]
async fn many_writers_at_once_make_one_log() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let logs: Vec<_> = (0..4).map(|_| writer(&dynamodb, &clock, RETENTION)).collect();
    join_all(logs.iter().enumerate().map(|(writer, log)| {
        let clock = &clock;
        async move {
            for round in 0..5 {
                let name = |place| format!("{writer}-{round}-{place}");
                append(log, &batch(&[&name(0), &name(1)], clock)).await.unwrap();
            }
        }
    }))
    .await;
    assert_eq!(rows(&dynamodb).len(), 40);
    assert_consecutive(&dynamodb);
    // Each writer's messages are in its order.
    for writer in 0..4 {
        let ids = ids(&dynamodb);
        let mine: Vec<_> = ids.iter().filter(|id| id.starts_with(&format!("{writer}-"))).collect();
        assert!(mine.is_sorted(), "{mine:?}");
    }
}

#[tokio::test]
async fn the_same_batch_at_two_writers_at_once_is_logged_once() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let (log, other) = (writer(&dynamodb, &clock, RETENTION), writer(&dynamodb, &clock, RETENTION));
    let mine = batch(&["a", "b", "c"], &clock);
    let again = redelivered(&mine);
    let (first, second) = join(numbers(&log, &mine), numbers(&other, &again)).await;
    assert_eq!(first, second);
    assert_eq!(ids(&dynamodb), ["a", "b", "c"]);
}

#[tokio::test]
async fn reasons_that_name_another_writer_are_conflicts_whichever_entry_they_stand_at() {
    for codes in [["None", "ConditionalCheckFailed"], ["TransactionConflict", "None"]] {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let log = writer(&dynamodb, &clock, RETENTION);
        append(&log, &batch(&["a"], &clock)).await.unwrap();
        dynamodb.fault(Rule::on("TransactWriteItems", Fault::transaction_cancelled(&codes)).times(2));
        append(&log, &batch(&["b", "c"], &clock)).await.unwrap();
        assert_eq!(ids(&dynamodb), ["a", "b", "c"]);
        assert_consecutive(&dynamodb);
    }
}

#[tokio::test]
async fn a_reason_that_is_nobodys_doing_is_an_error_and_nothing_is_logged() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    append(&log, &batch(&["a"], &clock)).await.unwrap();
    let fault = Fault::transaction_cancelled(&["None", "ItemCollectionSizeLimitExceeded"]);
    dynamodb.fault(Rule::on("TransactWriteItems", fault).times(1));
    let mine = batch(&["b", "c"], &clock);
    assert!(append(&log, &mine).await.is_err());
    assert_eq!(ids(&dynamodb), ["a"]);
    append(&log, &redelivered(&mine)).await.unwrap();
    assert_eq!(ids(&dynamodb), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_throttled_write_is_tried_again_and_logged_once() {
    for code in ["ThrottlingError", "ProvisionedThroughputExceeded"] {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let log = writer(&dynamodb, &clock, RETENTION);
        append(&log, &batch(&["a"], &clock)).await.unwrap();
        // This is more often than the SDK retries a throttled call.
        dynamodb.fault(Rule::on("TransactWriteItems", Fault::transaction_cancelled(&["None", code])).times(5));
        append(&log, &batch(&["b", "c"], &clock)).await.unwrap();
        dynamodb.fault(Rule::on("PutItem", Fault::throughput_exceeded()).times(5));
        append(&log, &batch(&["d"], &clock)).await.unwrap();
        assert_eq!(ids(&dynamodb), ["a", "b", "c", "d"]);
        assert_consecutive(&dynamodb);
    }
}

#[tokio::test]
async fn a_log_that_throttles_for_longer_than_anybody_waits_fails_its_room_for_now() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    append(&log, &batch(&["a"], &clock)).await.unwrap();
    dynamodb.fault(Rule::on("TransactWriteItems", Fault::transaction_cancelled(&["None", "ThrottlingError"])));
    let mine = batch(&["b", "c"], &clock);
    let error = append(&log, &mine).await.unwrap_err();
    assert!(error.to_string().contains("throttled"), "{error}");
    dynamodb.endpoint().clear_faults();
    append(&log, &redelivered(&mine)).await.unwrap();
    assert_eq!(ids(&dynamodb), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_writer_that_always_loses_gives_up() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    append(&log, &batch(&["a"], &clock)).await.unwrap();
    dynamodb.fault(Rule::on("PutItem", Fault::condition_failed()));
    let error = append(&log, &batch(&["b"], &clock)).await.unwrap_err();
    assert!(error.to_string().contains("another writer"), "{error}");
    assert_eq!(ids(&dynamodb), ["a"]);
}

/// The write is applied and its answer lost: the SDK writes again, and meets its own entries.
#[tokio::test]
async fn a_lost_answer_does_not_log_twice() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    dynamodb.fault(Rule::on("TransactWriteItems", Fault::DropAfter).times(1));
    let start = numbers(&log, &batch(&["a", "b"], &clock)).await[0];
    dynamodb.fault(Rule::on("PutItem", Fault::DropAfter).times(1));
    assert_eq!(numbers(&log, &batch(&["c"], &clock)).await, [start + 2]);
    dynamodb.fault(Rule::on("TransactWriteItems", Fault::DropAfter).times(3));
    let mine = batch(&["d", "e"], &clock);
    // The batch comes again, whatever the result.
    let _ = append(&log, &mine).await;
    assert_eq!(numbers(&log, &redelivered(&mine)).await, [start + 3, start + 4]);
    assert_eq!(ids(&dynamodb), ["a", "b", "c", "d", "e"]);
    assert_consecutive(&dynamodb);
}

/// A writer is stopped between looking at the log and writing to it, for as long as an invocation may last. Meanwhile
/// the log comes near its end, and another writer goes on with it.
#[tokio::test]
async fn a_writer_that_slept_never_gives_a_number_below_one_that_was_given_meanwhile() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let (sleeper, other) = (writer(&dynamodb, &clock, 3_600), writer(&dynamodb, &clock, 3_600));
    append(&sleeper, &batch(&["a"], &clock)).await.unwrap();
    clock.advance(Duration::from_secs(3_600 - 1_202));
    let hold = Hold::default();
    dynamodb.fault(Rule::on("PutItem", Fault::Held(hold.clone())).times(1));
    let sleeping = async { numbers(&sleeper, &batch(&["slept"], &clock)).await[0] };
    let meanwhile = async {
        dynamodb.endpoint().wait_for("PutItem", 1).await;
        clock.advance(Duration::from_secs(890));
        let new = numbers(&other, &batch(&["b"], &clock)).await[0];
        hold.release();
        new
    };
    let (slept, new) = join(sleeping, meanwhile).await;
    assert!(new < slept, "{slept} was given after {new}");
    assert_eq!(ids(&dynamodb), ["a", "b", "slept"]);
    assert_consecutive(&dynamodb);
}

/// The messages of others since may be hours of a busy room: their end is read, and not all of them.
#[tokio::test]
async fn a_writer_that_is_far_behind_reads_the_end_of_the_log_only() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let (behind, ahead) = (writer(&dynamodb, &clock, RETENTION), writer(&dynamodb, &clock, RETENTION));
    let first = numbers(&behind, &batch(&["first"], &clock)).await[0];
    for hundred in 0..10 {
        let said: Vec<_> = (0..100).map(|number| format!("{hundred}-{number}")).collect();
        let said: Vec<_> = said.iter().map(String::as_str).collect();
        numbers(&ahead, &batch(&said[..50], &clock)).await;
        numbers(&ahead, &batch(&said[50..], &clock)).await;
    }
    let queries = dynamodb.count("Query");
    assert_eq!(numbers(&behind, &batch(&["last"], &clock)).await, [first + 1_001]);
    assert_eq!(dynamodb.count("Query") - queries, 2, "what comes next, of which there is too much, and the end");
    assert_consecutive(&dynamodb);
}

/// A batch that may be logged is looked for in what others have said since, however far back within the search.
#[tokio::test]
async fn a_writer_that_is_far_behind_recognises_what_comes_again() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let (behind, ahead) = (writer(&dynamodb, &clock, RETENTION), writer(&dynamodb, &clock, RETENTION));
    append(&behind, &batch(&["first"], &clock)).await.unwrap();
    let again = batch(&["again"], &clock);
    let number = numbers(&ahead, &again).await;
    for fifty in 0..12 {
        let said: Vec<_> = (0..50).map(|number| format!("{fifty}-{number}")).collect();
        numbers(&ahead, &batch(&said.iter().map(String::as_str).collect::<Vec<_>>(), &clock)).await;
    }
    assert_eq!(numbers(&behind, &redelivered(&again)).await, number);
}

/// A page of large messages ends at 1 MB, in the middle of a batch that somebody else has logged.
#[tokio::test]
async fn a_batch_of_large_messages_that_another_writer_has_logged_is_recognised() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let (behind, ahead) = (writer(&dynamodb, &clock, RETENTION), writer(&dynamodb, &clock, RETENTION));
    append(&behind, &batch(&["first"], &clock)).await.unwrap();
    let data = || RawValue::from_string(format!("\"{}\"", "x".repeat(110_000))).unwrap();
    let large = |number: u32| Message::new(room(), number.to_string(), "alice", clock.unix_millis(), data());
    let batch = batch_of((0..10).map(large).collect());
    let given = numbers(&ahead, &batch).await;
    assert_eq!(numbers(&behind, &batch).await, given);
    assert_eq!(rows(&dynamodb).len(), 11);
}

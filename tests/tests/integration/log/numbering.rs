//! The numbers of messages, which are consecutive and kept in a redelivery, and the calls that they cost.

use std::num::NonZeroU16;
use std::time::Duration;

use serde_json::json;
use shared::clock::Clock;
use shared::store::log::Layout;
use testkit::clock::TestClock;
use testkit::dynamodb::DynamoDb;

use super::writer::{
    ROOM, append, append_with_head, batch, batch_of, ids, message, numbers, redelivered, room, rows, writer,
};

const RETENTION: u64 = 86_400;

#[tokio::test]
async fn an_empty_log_starts_at_the_time_and_continues_without_gaps() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    let before = clock.unix_micros();
    let first = numbers(&log, &batch(&["a", "b"], &clock)).await;
    assert!((before..clock.unix_micros()).contains(&first[0]));
    clock.advance(Duration::from_secs(10));
    let second = numbers(&log, &batch(&["c"], &clock)).await;
    assert_eq!([first.clone(), second].concat(), [first[0], first[0] + 1, first[0] + 2]);
    assert_eq!(ids(&dynamodb), ["a", "b", "c"]);
}

#[tokio::test]
async fn one_message_is_one_put_several_are_one_transaction_and_a_warm_environment_reads_nothing() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    append(&log, &batch(&["a"], &clock)).await.unwrap();
    // The log is looked at, found empty, and looked at once more after its start and its last head were read.
    assert_eq!(dynamodb.endpoint().operations(), ["Query", "GetItem", "GetItem", "Query", "TransactWriteItems"]);
    dynamodb.endpoint().clear_calls();

    append(&log, &batch(&["b"], &clock)).await.unwrap();
    assert_eq!(dynamodb.endpoint().operations(), ["PutItem"]);
    dynamodb.endpoint().clear_calls();
    append(&log, &batch(&["c", "d", "e", "f", "g", "h", "i", "j", "k", "l"], &clock)).await.unwrap();
    assert_eq!(dynamodb.endpoint().operations(), ["TransactWriteItems"]);
    dynamodb.endpoint().clear_calls();

    // The environment that logged a batch recognises it without a look, and writes nothing.
    append(&log, &redelivered(&batch(&["d", "e"], &clock))).await.unwrap();
    assert!(dynamodb.count("PutItem") + dynamodb.count("TransactWriteItems") == 0);

    let cold = writer(&dynamodb, &clock, RETENTION);
    dynamodb.endpoint().clear_calls();
    append(&cold, &batch(&["m"], &clock)).await.unwrap();
    assert_eq!(dynamodb.endpoint().operations(), ["Query", "PutItem"]);
}

/// A layout other than before waits until the shards have posted everything; the same layout does not.
#[tokio::test]
async fn a_room_that_stays_in_shards_is_logged_without_a_look_at_them() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    let append = async |id, layout| {
        let batch = batch(&[id], &clock);
        let tail = log.tail(&room(), &batch).await.unwrap();
        dynamodb.endpoint().clear_calls();
        let logged = log.append(&room(), &batch, tail, |_| layout).await.unwrap();
        (logged.places[0].layout, dynamodb.endpoint().operations())
    };
    let shards = Layout::Shards(NonZeroU16::new(4).unwrap());
    assert_eq!(append("a", shards).await.0, shards);
    assert_eq!(append("b", shards).await, (shards, vec!["PutItem".to_owned()]));
    let (layout, mut operations) = append("c", Layout::Direct).await;
    assert_eq!((layout, operations.pop()), (shards, Some("PutItem".to_owned())), "nothing was posted yet");
    assert!(!operations.is_empty() && operations.iter().all(|operation| operation == "Query"), "{operations:?}");
}

#[tokio::test]
async fn what_comes_again_keeps_its_number_and_what_is_new_follows_the_head() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    let first = batch(&["a", "b", "c"], &clock);
    let start = numbers(&log, &first).await[0];
    let cold = writer(&dynamodb, &clock, RETENTION);
    assert_eq!(numbers(&cold, &redelivered(&first)).await, [start, start + 1, start + 2]);
    // A part of the batch comes again, with a message that has come since.
    let mixed = redelivered(&batch(&["b", "c", "d"], &clock));
    assert_eq!(numbers(&cold, &mixed).await, [start + 1, start + 2, start + 3]);
    assert_eq!(numbers(&log, &mixed).await, [start + 1, start + 2, start + 3]);
    assert_eq!(ids(&dynamodb), ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn a_message_that_stands_in_a_batch_twice_is_logged_once() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    assert_eq!(numbers(&log, &batch(&["a", "b", "a"], &clock)).await.len(), 2);
    assert_eq!(ids(&dynamodb), ["a", "b"]);
}

#[tokio::test]
async fn the_same_id_of_another_sender_is_another_message() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    let mut both = batch(&["a", "a"], &clock);
    both.messages[1].from = "bob".to_owned();
    assert_eq!(numbers(&log, &both).await.len(), 2);
    assert_eq!(numbers(&log, &redelivered(&both)).await.len(), 2);
    assert_eq!(rows(&dynamodb).len(), 2);
}

/// A redrive hands a record out as if for the first time; only the time at which its message was accepted says that it
/// may have been logged.
#[tokio::test]
async fn a_record_that_comes_back_from_the_dead_letter_queue_is_recognised() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, RETENTION);
    let buried = batch(&["buried"], &clock);
    let number = numbers(&log, &buried).await;
    // Meanwhile the room goes on, by more than is remembered and more than one page.
    for round in 0..40 {
        clock.advance(Duration::from_secs(30));
        let others: Vec<_> = (0..10).map(|place| message(&format!("{round}-{place}"), &clock)).collect();
        append(&log, &batch_of(others)).await.unwrap();
    }
    assert_eq!(numbers(&log, &buried).await, number, "by the environment that is warm");
    assert_eq!(numbers(&writer(&dynamodb, &clock, RETENTION), &buried).await, number, "by one that is cold");
    assert_eq!(rows(&dynamodb).len(), 401);
}

/// A record is recognised also when the log is about to end, and is looked at anew before it is started again.
#[tokio::test]
async fn a_record_that_comes_back_while_the_log_is_ending_is_recognised() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, 3_600);
    let buried = batch(&["buried"], &clock);
    let number = numbers(&log, &buried).await;
    for round in 0..10 {
        let others: Vec<_> = (0..10).map(|place| message(&format!("{round}-{place}"), &clock)).collect();
        append(&log, &batch_of(others)).await.unwrap();
    }
    clock.advance(Duration::from_secs(3_590));
    let mut mixed = buried.clone();
    mixed.messages.push(message("new", &clock));
    let again = numbers(&log, &redelivered(&mixed)).await;
    assert_eq!(again[0], number[0]);
    assert_eq!(ids(&dynamodb).iter().filter(|id| *id == "buried").count(), 1);
}

#[tokio::test]
async fn a_log_that_retention_emptied_starts_anew_above_every_number_before() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let log = writer(&dynamodb, &clock, 60);
    let mut random = fastrand::Rng::with_seed(7);
    let mut last = 0;
    // The rows that marked the log's end are there, partly gone, or gone.
    for (round, share) in [0.0, 0.5, 1.0, 0.0].into_iter().enumerate() {
        let before = clock.unix_micros();
        let first = numbers(&log, &batch(&[&format!("{round}-a"), &format!("{round}-b")], &clock)).await;
        assert!(first[0] >= before && first[0] > last, "starts at the time");
        last = first[1];
        clock.advance(Duration::from_secs(61));
        dynamodb.delete_expired(ROOM, clock.unix_seconds(), share, &mut random);
    }
}

/// The table's clock may be ahead of the writer's: the table has deleted the last entry, but not yet those before it.
#[tokio::test]
async fn a_number_is_not_given_again_when_the_last_entry_is_deleted_first() {
    // By the writer's clock the log starts anew, or is carried on near its end.
    for left in [2, 20] {
        let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
        let log = writer(&dynamodb, &clock, 60);
        let mut given = Vec::new();
        for id in ["a", "b"] {
            given.extend(append_with_head(&log, &batch(&[id], &clock)).await);
        }
        clock.advance(Duration::from_secs(60 - left));
        dynamodb.expire_log(ROOM, given[1]);
        let row = json!({
            "roomId": ROOM, "seq": given[0], "id": "a", "from": "alice", "sentAt": 1, "data": "1", "appendedAt": 1,
            "expiresAt": clock.unix_seconds() + left,
        });
        dynamodb.seed_log([row]);
        let next = numbers(&writer(&dynamodb, &clock, 60), &batch(&["c"], &clock)).await;
        assert!(next[0] > given[1], "{next:?} after {given:?}, {left} s before the end");
    }
}

#[tokio::test]
async fn an_entry_never_expires_before_the_one_ahead_of_it() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    append(&writer(&dynamodb, &clock, 3_600), &batch(&["long"], &clock)).await.unwrap();
    append(&writer(&dynamodb, &clock, 60), &batch(&["short"], &clock)).await.unwrap();
    append(&writer(&dynamodb, &clock, 7_200), &batch(&["longer"], &clock)).await.unwrap();
    let expiries: Vec<_> = dynamodb.log(ROOM).iter().map(|row| row["expiresAt"].as_u64().unwrap()).collect();
    assert!(expiries.is_sorted(), "{expiries:?}");
    assert_eq!(expiries[0], expiries[1], "as long as what is ahead of it");
    assert!(expiries[2] >= expiries[1] + 3_599);
}

/// The clock of the writer of the newest entry was ahead.
#[tokio::test]
async fn a_log_that_ends_with_a_number_beyond_the_time_goes_on_after_it() {
    let (dynamodb, clock) = (DynamoDb::start(), TestClock::start());
    let ahead = clock.unix_micros() + 60_000_000;
    dynamodb.seed_log([json!({
        "roomId": ROOM, "seq": ahead, "id": "z", "from": "alice", "sentAt": 1, "data": "1", "appendedAt": 1,
        "expiresAt": clock.unix_seconds() + 2,
    })]);
    assert_eq!(numbers(&writer(&dynamodb, &clock, RETENTION), &batch(&["a"], &clock)).await, [ahead + 1]);
}

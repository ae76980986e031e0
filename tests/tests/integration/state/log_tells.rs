//! `stateAt`, the number up to which state is complete by the log; and the environments that write what state lacks.

use serde_json::Value;
use shared::Message;
use testkit::aws_endpoint::{Call, Fault, Rule};
use testkit::dynamodb::{MESSAGES_TABLE, STATE_TABLE};

use super::{ROOM, Tables, batch, redelivered, room};

impl Tables {
    /// `stateAt` of the room's entries, counted from the log's first number.
    fn state_at(&self) -> Vec<Option<u64>> {
        let log = self.dynamodb.log(ROOM);
        let Some(first) = log.first().and_then(|row| row["seq"].as_u64()) else { return Vec::new() };
        log.iter().map(|row| row["stateAt"].as_u64().map(|at| at + 1 - first)).collect()
    }

    /// The room's values: keys with the ids of their messages.
    fn values(&self) -> Vec<(String, String)> {
        let text = |text: &Value| text.as_str().unwrap().to_owned();
        let rows = self.dynamodb.state(ROOM);
        rows.iter().map(|row| (text(&row["key"]), text(&row["data"]).trim_matches('"').to_owned())).collect()
    }

    fn puts_of_state(&self) -> usize {
        self.dynamodb.calls_of("PutItem").iter().filter(|call| call.body["TableName"] == STATE_TABLE).count()
    }

    fn queries_of_the_log(&self) -> usize {
        self.dynamodb.calls_of("Query").iter().filter(|call| call.body["TableName"] == MESSAGES_TABLE).count()
    }

    fn keyed(&self, numbers: std::ops::RangeInclusive<u32>) -> Vec<Message> {
        numbers.map(|number| self.message(&format!("m{number}"), &format!("k{number}"))).collect()
    }
}

fn pairs(numbers: impl IntoIterator<Item = u32>) -> Vec<(String, String)> {
    numbers.into_iter().map(|number| (format!("k{number}"), format!("m{number}"))).collect()
}

#[tokio::test]
async fn every_entry_of_an_append_with_keys_says_what_state_had_before_it() {
    let tables = Tables::new();
    let writer = tables.environment();
    writer.bring(&batch(vec![tables.plain("a")])).await.unwrap();
    writer.bring(&batch(vec![tables.message("b", "k"), tables.plain("c")])).await.unwrap();
    writer.bring(&batch(vec![tables.plain("d")])).await.unwrap();
    writer.bring(&batch(vec![tables.message("e", "k")])).await.unwrap();
    assert_eq!(tables.state_at(), [None, Some(1), Some(1), None, Some(4)]);
    // The empty log is read twice; once its end is known, it is not read again.
    assert_eq!((tables.puts_of_state(), tables.queries_of_the_log()), (2, 2));
}

#[tokio::test]
async fn what_a_killed_writer_has_left_out_the_next_one_takes_up() {
    let tables = Tables::new();
    drop(tables.environment().append(&batch(tables.keyed(1..=3))).await.unwrap());
    assert_eq!(tables.values(), []);
    let cold = tables.environment();
    // The next writer does so even for a message without a key, whose entry still says that state lacks the others.
    cold.bring(&batch(vec![tables.plain("x")])).await.unwrap();
    assert_eq!((tables.values(), tables.state_at()), (pairs(1..=3), vec![Some(0); 4]));
    cold.bring(&batch(vec![tables.plain("y")])).await.unwrap();
    cold.bring(&batch(tables.keyed(4..=4))).await.unwrap();
    assert_eq!(tables.state_at()[4..], [None, Some(5)]);
    assert_eq!((tables.values(), tables.puts_of_state()), (pairs(1..=4), 4));
}

#[tokio::test]
async fn what_comes_again_is_written_though_it_is_found_in_the_log() {
    let tables = Tables::new();
    let first = batch(tables.keyed(1..=2));
    let writer = tables.environment();
    drop(writer.append(&first).await.unwrap());
    writer.bring(&redelivered(&first)).await.unwrap();
    assert_eq!((tables.values(), tables.dynamodb.log(ROOM).len()), (pairs(1..=2), 2));
    // The writer knows by now that nothing is lacking in state.
    writer.bring(&batch(tables.keyed(3..=3))).await.unwrap();
    assert_eq!((tables.state_at()[2], tables.puts_of_state()), (Some(2), 3));
}

#[tokio::test]
async fn what_comes_again_is_not_written_again_by_whoever_has_written_it() {
    let tables = Tables::new();
    let writer = tables.environment();
    let (first, second) = (batch(tables.keyed(1..=2)), batch(tables.keyed(3..=4)));
    for batch in [&first, &second] {
        writer.bring(batch).await.unwrap();
    }
    for _ in 0..3 {
        writer.bring(&redelivered(&second)).await.unwrap();
        writer.bring(&redelivered(&first)).await.unwrap();
    }
    assert_eq!(tables.puts_of_state(), 4);
    // An environment that has not written these numbers itself believes the log only where something is lacking: so a
    // redrive repairs keys that were never written.
    tables.environment().bring(&redelivered(&first)).await.unwrap();
    assert_eq!(tables.puts_of_state(), 4 + 2 + 2);
    // Of a batch that comes again together with a new message, only the new one is written.
    let more = batch([second.messages.clone(), tables.keyed(5..=5)].concat());
    writer.bring(&redelivered(&more)).await.unwrap();
    assert_eq!(tables.puts_of_state(), 8 + 1);
}

#[tokio::test]
async fn a_redrive_mends_what_an_older_version_has_left_out() {
    let tables = Tables::new();
    let before = batch(tables.keyed(1..=3));
    tables.environment_of("", None).bring(&before).await.unwrap();
    let writer = tables.environment();
    // The new writer believes the log about 1 and 2, and writes 3 and 4.
    writer.bring(&batch(tables.keyed(4..=4))).await.unwrap();
    assert_eq!(tables.values(), pairs(3..=4));
    writer.bring(&redelivered(&before)).await.unwrap();
    assert_eq!((tables.values(), tables.puts_of_state()), (pairs(1..=4), 4));
}

#[tokio::test]
async fn a_write_that_failed_is_told_by_what_comes_next() {
    let tables = Tables::new();
    let writer = tables.environment();
    writer.bring(&batch(tables.keyed(1..=1))).await.unwrap();
    let of_state = |call: &Call| call.body["TableName"] == STATE_TABLE;
    tables.dynamodb.fault(Rule::on("PutItem", Fault::access_denied()).when(of_state));
    assert!(writer.bring(&batch(tables.keyed(2..=3))).await.is_err());
    tables.dynamodb.endpoint().clear_faults();
    // The writer is warm, and knows that state is not complete that far.
    writer.bring(&batch(vec![tables.plain("x")])).await.unwrap();
    assert_eq!((tables.values(), tables.state_at()), (pairs(1..=3), vec![Some(0), Some(1), Some(1), Some(1)]));
}

#[tokio::test]
async fn a_writer_that_was_outrun_takes_up_what_the_other_has_appended() {
    let tables = Tables::new();
    let (one, other) = (tables.environment(), tables.environment());
    one.bring(&batch(tables.keyed(1..=1))).await.unwrap();
    other.bring(&batch(tables.keyed(2..=2))).await.unwrap();
    // The other is stopped before it has written.
    drop(other.append(&batch(tables.keyed(3..=3))).await.unwrap());
    one.bring(&batch(tables.keyed(4..=4))).await.unwrap();
    assert_eq!((tables.values(), tables.state_at()), (pairs(1..=4), vec![Some(0), Some(0), Some(2), Some(2)]));
}

/// Brings ten batches of two keys with two writers in turn.
async fn alternate(tables: &Tables, rooms: &str) {
    let writers = [tables.environment_of(rooms, None), tables.environment_of(rooms, None)];
    for round in 1..=10 {
        let messages = tables.keyed(2 * round - 1..=2 * round);
        writers[round as usize % 2].bring(&batch(messages)).await.unwrap();
    }
}

#[tokio::test]
async fn alternating_writers_write_each_key_twice_and_read_nothing_for_it() {
    let (with, without) = (Tables::new(), Tables::new());
    alternate(&with, "*").await;
    alternate(&without, "").await;
    assert_eq!(with.values().len(), 20);
    // The values of the last round have not been repeated yet.
    assert_eq!(with.puts_of_state(), 2 * 20 - 2);
    assert_eq!(with.queries_of_the_log(), without.queries_of_the_log());
}

#[tokio::test]
async fn what_was_not_seen_of_a_long_stretch_is_read() {
    let tables = Tables::new();
    for first in [1, 11, 21, 31] {
        // Each environment is cold, and is stopped before it has written: the part that state lacks grows beyond the
        // page that is read for the numbers.
        drop(tables.environment().append(&batch(tables.keyed(first..=first + 9))).await.unwrap());
    }
    assert_eq!(tables.state_at(), vec![Some(0); 40]);
    tables.environment().bring(&batch(vec![tables.plain("x")])).await.unwrap();
    assert_eq!(tables.values().len(), 40);
}

#[tokio::test]
async fn rooms_without_state_pay_nothing() {
    let tables = Tables::new();
    let (with, without) = (tables.environment_of("other", None), tables.environment_of("", None));
    for writer in [&with, &without] {
        writer.bring(&batch(tables.keyed(1..=3))).await.unwrap();
    }
    assert_eq!((tables.puts_of_state(), tables.values()), (0, vec![]));
    assert!(tables.dynamodb.log(ROOM).iter().all(|row| row.get("stateAt").is_none()));
}

/// State was switched on for a log that has keys: it gets all later keys, and that of the last message before.
#[tokio::test]
async fn a_log_of_older_writers_is_taken_for_complete_but_for_its_head() {
    let tables = Tables::new();
    tables.environment_of("", None).bring(&batch(tables.keyed(1..=3))).await.unwrap();
    tables.environment().bring(&batch(tables.keyed(4..=4))).await.unwrap();
    assert_eq!((tables.values(), tables.state_at()[3]), (pairs(3..=4), Some(2)));
}

#[tokio::test]
async fn the_stacks_default_is_said_in_log_and_state() {
    let tables = Tables::new();
    let own = Message { ttl_seconds: Some(5), ..tables.message("b", "b") };
    let messages = vec![tables.message("a", "a"), own, tables.removal("c", "c", None), tables.plain("d")];
    tables.environment_of("*", Some(60)).bring(&batch(messages)).await.unwrap();
    let log = tables.dynamodb.log(ROOM);
    let ttl: Vec<_> = log.iter().map(|row| row["ttlSeconds"].as_u64()).collect();
    assert_eq!(ttl, [Some(60), Some(5), None, None]);
    let lasts = |row: &Value| row["until"].as_u64().map(|until| until - row["sentAt"].as_u64().unwrap());
    let state = tables.dynamodb.state(ROOM);
    assert_eq!(state.iter().map(lasts).collect::<Vec<_>>(), [Some(60_000), Some(5_000), None]);
}

#[tokio::test]
async fn a_log_from_before_state_was_kept_is_folded_into_it() {
    let tables = Tables::new();
    let before = tables.environment_of("", None);
    for round in 0..30 {
        let messages =
            (0..10).map(|place| tables.versioned(&format!("m{round}-{place}"), &format!("k{place}"), 100 - round));
        before.bring(&batch(messages.collect())).await.unwrap();
    }
    before.bring(&batch(vec![tables.removal("gone", "k0", Some(200)), tables.plain("x")])).await.unwrap();
    let after = tables.environment_of("*", Some(60));
    after.bring(&batch(vec![tables.versioned("new", "k1", 300)])).await.unwrap();
    let folded = after.state.fold(after.log.table(), &room()).await.unwrap();
    assert_eq!((folded.messages, folded.written, folded.superseded), (302, 9, 1));
    let rows = tables.dynamodb.state(ROOM);
    let values: Vec<_> =
        rows.iter().map(|row| (row["version"].as_u64().unwrap(), row.get("removed").is_some())).collect();
    assert_eq!(values, [vec![(200, true), (300, false)], vec![(100, false); 8]].concat());
    assert!(rows[2]["until"].is_u64(), "values last as long as others of the stack: {}", rows[2]);
    let again = after.state.fold(after.log.table(), &room()).await.unwrap();
    assert_eq!((again.written, again.superseded), (0, 10));
}

#[tokio::test]
async fn one_key_is_looked_up() {
    let tables = Tables::new();
    tables.environment().bring(&batch(vec![tables.versioned("a", "k", 7)])).await.unwrap();
    let value = tables.state().get(&room(), "k").await.unwrap().unwrap();
    assert_eq!((value.rank.version, value.data.unwrap().get()), (7, "\"a\""));
    assert!(tables.state().get(&room(), "l").await.unwrap().is_none());
}

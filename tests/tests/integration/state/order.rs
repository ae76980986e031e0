//! The order of a key's messages decides what its value is, not the order in which they were put.

use std::cell::Cell;
use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use serde_json::json;
use shared::clock::Clock;
use shared::order::greatest;
use shared::store::state::{Put, StateValue};
use shared::{LoggedMessage, Message};
use testkit::aws_endpoint::{Call, Fault, Hold, Rule};
use testkit::dynamodb::STATE_TABLE;
use testkit::seeds::for_each_seed;

use super::{RETENTION, ROOM, Tables, batch, room};

const SEEDS: usize = 100;

#[test]
fn writes_in_any_order_and_repetition_are_the_fold_of_the_log() {
    for_each_seed("the order of state", SEEDS, |seed| async move {
        let (mut random, tables) = (Rng::with_seed(seed), Tables::new());
        let messages: Vec<_> =
            (1..=20).map(|seq| LoggedMessage { seq, message: any(&tables, seq, &mut random) }).collect();
        let mut puts: Vec<_> = messages.iter().flat_map(|logged| vec![logged; random.usize(1..=3)]).collect();
        random.shuffle(&mut puts);
        let (table, log_expires_at) = (tables.state(), tables.clock.unix_seconds() + RETENTION);
        for some in puts.chunks(4) {
            let put = some.iter().filter_map(|logged| StateValue::of(logged)).map(|value| {
                let table = &table;
                async move { table.put(&room(), &value, log_expires_at, RETENTION).await.unwrap() }
            });
            join_all(put).await;
        }
        let rows = tables.dynamodb.state(ROOM);
        let stored: Vec<_> =
            rows.iter().map(|row| (row["key"].as_str().unwrap(), row["seq"].as_u64().unwrap())).collect();
        let mut expected: Vec<_> = greatest(&messages).into_iter().map(|(key, logged)| (key, logged.seq)).collect();
        expected.sort_unstable();
        assert_eq!(stored, expected);
    });
}

fn any(tables: &Tables, seq: u64, random: &mut Rng) -> Message {
    let (id, key) = (format!("m{seq}"), format!("k{}", random.u32(..3)));
    let version = random.bool().then(|| random.u64(..4));
    let ttl_seconds = random.bool().then(|| random.u64(1..100));
    match random.u32(..4) {
        0 => tables.removal(&id, &key, version),
        _ => Message { version, ttl_seconds, ..tables.message(&id, &key) },
    }
}

fn value(seq: u64, message: Message) -> StateValue {
    StateValue::of(&LoggedMessage { seq, message }).unwrap()
}

#[tokio::test]
async fn a_removal_is_remembered_for_as_long_as_the_log_and_then_the_key_starts_afresh() {
    let tables = Tables::new();
    let table = tables.state();
    let log_expires_at = tables.clock.unix_seconds() + RETENTION;
    let put = async |value: &StateValue| table.put(&room(), value, log_expires_at, RETENTION).await.unwrap();
    let removal = value(9, tables.removal("a", "k", Some(5)));
    let older = value(10, tables.versioned("b", "k", 4));
    assert_eq!(
        (put(&removal).await, put(&removal).await, put(&older).await),
        (Put::Written, Put::Superseded, Put::Superseded)
    );
    assert_eq!(tables.dynamodb.state(ROOM)[0]["expiresAt"], log_expires_at);
    // The table has not deleted the row yet, but it counts as deleted, and later messages are new.
    tables.clock.advance(Duration::from_secs(RETENTION));
    assert!(table.page(&room(), "", 1).await.unwrap().values.is_empty());
    let newer = value(11, tables.versioned("c", "k", 4));
    assert_eq!(table.put(&room(), &newer, log_expires_at + RETENTION, RETENTION).await.unwrap(), Put::Written);
}

/// An older version that comes late stays in the log for longer than what it met, a removal or a value with an end.
/// That must be remembered for as long: otherwise a fold of the log would bring the older value back.
#[tokio::test]
async fn what_an_older_version_met_is_remembered_for_as_long_as_the_log_has_that() {
    let brief = |tables: &Tables| Message { ttl_seconds: Some(60), ..tables.versioned("a", "k", 5) };
    let removal = |tables: &Tables| tables.removal("a", "k", Some(5));
    for gone in [brief, removal] {
        let tables = Tables::new();
        let writer = tables.environment();
        let puts = || tables.dynamodb.calls_of("PutItem").iter().filter(|call| is_of_state(call)).count();
        writer.bring(&batch(vec![gone(&tables)])).await.unwrap();
        tables.clock.advance(Duration::from_secs(RETENTION / 2));
        let before = puts();
        writer.bring(&batch(vec![tables.versioned("b", "k", 4)])).await.unwrap();
        assert_eq!(puts() - before, 2, "it is put, and then what it met again, with a later expiry");
        let log = tables.dynamodb.log(ROOM);
        let row = &tables.dynamodb.state(ROOM)[0];
        assert_eq!((&row["seq"], &row["expiresAt"]), (&log[0]["seq"], &log[1]["expiresAt"]));
        writer.bring(&batch(vec![tables.versioned("c", "k", 3)])).await.unwrap();
        assert_eq!(puts() - before, 3, "once a second");

        tables.clock.advance(Duration::from_secs(RETENTION / 2 + 120));
        let join = json!({"action": "joinRoom", "roomId": ROOM, "state": true});
        let joined = tables.session().request("c=", "ann", &join).await;
        assert_eq!(joined["state"], json!([]), "{joined}");
        let cold = tables.environment();
        cold.bring(&batch(vec![tables.plain("x")])).await.unwrap();
        cold.state.fold(cold.log.table(), &room()).await.unwrap();
        assert_eq!(tables.dynamodb.state(ROOM)[0]["version"], 5);
    }
}

/// Of the messages of one key in a batch, or applied together, only the greatest is put: it speaks for the others.
#[tokio::test]
async fn what_is_put_again_is_remembered_for_as_long_as_what_it_speaks_for() {
    let tables = Tables::new();
    let table = tables.state();
    let log_expires_at = tables.clock.unix_seconds() + RETENTION;
    let removal = value(9, tables.removal("a", "k", Some(5)));
    for (expires_at, put) in [(0, Put::Written), (90, Put::Superseded), (30, Put::Superseded)] {
        assert_eq!(table.put(&room(), &removal, log_expires_at + expires_at, RETENTION).await.unwrap(), put);
    }
    assert_eq!(tables.dynamodb.state(ROOM)[0]["expiresAt"], log_expires_at + 90);
}

/// Another environment writes the row between the two calls, and then what it wrote counts.
#[tokio::test]
async fn what_changes_before_it_is_remembered_for_longer_is_left_as_it_is() {
    let tables = Tables::new();
    let table = tables.state();
    let log_expires_at = tables.clock.unix_seconds() + RETENTION;
    let put =
        async |seq, message, later| table.put(&room(), &value(seq, message), log_expires_at + later, RETENTION).await;
    put(9, tables.removal("a", "k", Some(5)), 0).await.unwrap();
    let hold = Hold::default();
    tables.dynamodb.fault(Rule::on("PutItem", Fault::Held(hold.clone())).after(1).times(1));
    let is_done = Cell::new(false);
    let older = async {
        assert_eq!(put(11, tables.versioned("b", "k", 4), 60).await.unwrap(), Put::Superseded);
        is_done.set(true);
    };
    let other = async {
        while tables.dynamodb.count("PutItem") < 3 {
            assert!(!is_done.get(), "the row is not put again");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        put(12, tables.versioned("c", "k", 6), 90).await.unwrap();
        hold.release();
    };
    futures::join!(older, other);
    assert_eq!(tables.dynamodb.state(ROOM)[0]["version"], 6);
    assert_eq!(tables.dynamodb.state(ROOM)[0].get("expiresAt"), None);
}

fn is_of_state(call: &Call) -> bool {
    call.body["TableName"] == STATE_TABLE
}

#[tokio::test]
async fn a_value_that_does_not_last_is_remembered_beyond_its_end() {
    let tables = Tables::new();
    let table = tables.state();
    let log_expires_at = tables.clock.unix_seconds() + RETENTION;
    let message = Message { ttl_seconds: Some(60), ..tables.message("a", "k") };
    let (until, timed) = (message.until().unwrap(), value(9, message));
    let lasting = value(10, tables.message("b", "l"));
    for value in [&timed, &lasting] {
        table.put(&room(), value, log_expires_at, RETENTION).await.unwrap();
    }
    let rows = tables.dynamodb.state(ROOM);
    assert_eq!(
        (rows[0]["until"].as_u64(), rows[0]["expiresAt"].as_u64()),
        (Some(until), Some(until.div_ceil(1_000) + RETENTION))
    );
    assert_eq!((rows[1].get("until"), rows[1].get("expiresAt")), (None, None), "until another takes its place");
}

//! The order of a key's messages decides what its value is, not the order in which they were put.

use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use shared::clock::Clock;
use shared::order::greatest;
use shared::store::state::{Put, StateValue};
use shared::{LoggedMessage, Message};
use tests::seeds::for_each_seed;

use super::{RETENTION, ROOM, Tables, room};

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
    // The table has not deleted it yet: it counts as deleted all the same.
    tables.clock.advance(Duration::from_secs(RETENTION));
    assert!(table.page(&room(), "").await.unwrap().values.is_empty());
    assert_eq!(put(&older).await, Put::Written);
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

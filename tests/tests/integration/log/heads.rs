//! The row that says where a log stands.

use std::time::Duration;

use serde_json::{Value, json};
use shared::RoomId;
use shared::clock::Clock;
use shared::store::log::LogHead;
use testkit::application::RoomView;

use super::reads::Room;
use super::writer::{Log, ROOM, append, batch, numbers, room, writer};

const RETENTION: u64 = 3_600;

fn head(seq: u64, at: u64) -> LogHead {
    LogHead { seq, appended_at: at, expires_at: at / 1000 + RETENTION }
}

#[tokio::test]
async fn an_older_head_never_replaces_a_newer_one() {
    let log = Log::new();
    let now = log.clock.unix_millis();
    assert_eq!(log.table.head(&room()).await.unwrap(), None);
    for (seq, expected) in [(5, 5), (9, 9), (7, 9), (9, 9)] {
        log.table.save_head(&room(), head(seq, now + seq)).await.unwrap();
        assert_eq!(log.table.head(&room()).await.unwrap(), Some(head(expected, now + expected)));
    }
    assert_eq!(log.table.since(&room(), 0, 10).await.unwrap().entries.len(), 0, "it is no entry");
    assert_eq!(log.dynamodb.log(ROOM).len(), 0);
}

#[tokio::test]
async fn the_heads_of_many_logs_are_one_read() {
    let log = Log::new();
    let rooms: Vec<_> = (0..60).map(|number| RoomId::parse(&format!("r{number}")).unwrap()).collect();
    for (number, room) in rooms.iter().enumerate().skip(10) {
        log.table.save_head(room, head(number as u64, 1_000)).await.unwrap();
    }
    let heads = log.table.heads(&rooms).await.unwrap();
    assert_eq!((heads.found.len(), heads.unread.len(), log.dynamodb.count("BatchGetItem")), (50, 0, 1));
    assert_eq!((heads.found.get(&rooms[59]), heads.found.get(&rooms[9])), (Some(&head(59, 1_000)), None));
}

#[tokio::test]
async fn a_log_that_starts_anew_says_where_the_one_before_it_ended() {
    let log = Log::new();
    let writer = writer(&log.dynamodb, &log.clock, RETENTION);
    let first = append(&writer, &batch(&["a", "b"], &log.clock)).await.unwrap();
    let last = first[1].seq;
    assert_eq!(log.table.fence(&room()).await.unwrap().map(|fence| fence.start), Some(first[0].seq));
    log.table.save_head(&room(), head(last, log.clock.unix_millis())).await.unwrap();
    log.clock.advance(Duration::from_secs(RETENTION + 1));
    let next = numbers(&writer, &batch(&["c"], &log.clock)).await[0];
    assert!(next > last + 1);
    assert_eq!(log.table.fence(&room()).await.unwrap().map(|fence| fence.start), Some(next));
    let rows = log.dynamodb.log(ROOM);
    let previous: Vec<_> = rows.iter().map(|row| row.get("previous").and_then(Value::as_u64)).collect();
    assert_eq!(previous, [None, None, Some(last)]);
}

/// A session's environment remembers for half a second that there was no log.
#[tokio::test]
async fn a_client_that_asks_while_its_log_is_remembered_as_empty_loses_nothing() {
    let room = Room::new();
    let mut view = RoomView::new(ROOM);
    view.page(None, &room.join(None).await);
    let ask = async |view: &mut RoomView| {
        let after = view.ask().unwrap();
        view.page(Some(after), &room.sync(after).await);
    };
    // It is a member by now, whose beats look at heads.
    ask(&mut view).await;

    let writer = writer(&room.dynamodb, &room.clock, RETENTION);
    let messages = append(&writer, &batch(&["a", "b"], &room.clock)).await.unwrap();
    let (first, second) = (messages[0].seq, messages[1].seq);
    writer.table().save_head(&super::writer::room(), head(second, room.clock.unix_millis())).await.unwrap();
    view.broadcast(&json!({ "type": "messages", "roomId": ROOM, "messages": [{ "seq": second, "id": "b" }] }));
    ask(&mut view).await;
    assert!(view.is_incomplete() && view.gives_up().is_empty(), "{view:?}");

    room.clock.advance(Duration::from_secs(1));
    ask(&mut view).await;
    assert_eq!(view.seen().iter().map(|seen| seen.seq).collect::<Vec<_>>(), [first, second]);
    assert!(!view.is_incomplete() && view.gives_up().is_empty(), "{view:?}");
}

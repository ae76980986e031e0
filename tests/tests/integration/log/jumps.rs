//! The answers to clients about a log whose numbers jump, because it starts anew or because messages are gone.

use std::time::Duration;

use super::reads::{RETENTION, Room};
use super::rooms::facts;
use super::writer::{ROOM, append_with_head, batch, writer};

#[tokio::test]
async fn a_log_that_began_anew_is_read_across_the_jump() {
    let room = Room::new();
    let old = room.log(&["a", "b"]).await;
    room.clock.advance(Duration::from_secs(RETENTION));
    let new = room.log(&["c", "d"]).await;
    assert!(new[0] > old[1] + 1_000_000);
    assert_eq!(facts(&room.sync(old[1]).await), (new[1], new.clone(), false, false), "nothing came between");
    assert_eq!(facts(&room.join(Some(old[1])).await), (new[1], new.clone(), false, false));
    assert_eq!(facts(&room.sync(old[0]).await), (new[1], new.clone(), false, true), "b is gone");
    assert_eq!(facts(&room.join(Some(old[0])).await), (new[1], new.clone(), false, true));
    assert_eq!(facts(&room.sync(0).await), (new[1], new.clone(), false, false));
    assert_eq!(facts(&room.sync(new[0] - 1).await), (new[1], new.clone(), false, false));
}

/// A log goes on without a jump until shortly before its last message expires, so nobody is told that something was
/// dropped.
#[tokio::test]
async fn a_log_that_goes_on_shortly_before_its_end_has_no_jump() {
    let room = Room::new();
    let old = room.log(&["a"]).await;
    room.clock.advance(Duration::from_secs(RETENTION - 60 - 10));
    let new = room.log(&["b"]).await;
    assert_eq!(new, [old[0] + 1]);
    assert_eq!(facts(&room.sync(old[0]).await), (new[0], new.clone(), false, false));
}

/// By the table's clock, which is ahead of the writer's by seconds, all of the log has expired: the table has deleted
/// the newest message, and not yet the one before.
#[tokio::test]
async fn a_message_that_was_deleted_before_an_older_one_is_told_to_be_gone() {
    // The older message is there, or has expired, when the reader asks.
    for later in [0, 3] {
        let room = Room::new();
        let log = || writer(&room.dynamodb, &room.clock, RETENTION);
        let old = append_with_head(&log(), &batch(&["a", "b"], &room.clock)).await;
        room.clock.advance(Duration::from_secs(RETENTION - 3));
        let oldest = room.dynamodb.log(ROOM).swap_remove(0);
        room.dynamodb.expire_log(ROOM, old[1]);
        room.dynamodb.seed_log([oldest]);
        let new = append_with_head(&log(), &batch(&["c", "d"], &room.clock)).await;
        room.clock.advance(Duration::from_secs(later));
        for page in [room.sync(old[1]).await, room.join(Some(old[1])).await] {
            assert_eq!(facts(&page), (new[1], new.clone(), false, false), "nothing was after b, {later} s later");
        }
        for page in [room.sync(old[0]).await, room.join(Some(old[0])).await] {
            assert_eq!(facts(&page), (new[1], new.clone(), false, true), "b is gone, {later} s later");
        }
    }
}

#[tokio::test]
async fn a_log_that_starts_anew_beside_its_last_messages_lacks_none_of_them() {
    let room = Room::new();
    let log = writer(&room.dynamodb, &room.clock, RETENTION);
    let old = append_with_head(&log, &batch(&["a", "b"], &room.clock)).await;
    room.clock.advance(Duration::from_secs(RETENTION - 3));
    let new = append_with_head(&log, &batch(&["c"], &room.clock)).await;
    assert!(new[0] > old[1] + 1, "{new:?} after {old:?}");
    for page in [room.sync(old[0]).await, room.join(Some(old[0])).await] {
        assert_eq!(facts(&page), (new[0], vec![old[1], new[0]], false, false));
    }
}

/// The table deletes expired rows in any order, and a reader may have read one of them a moment before.
#[tokio::test]
async fn a_message_that_was_deleted_from_between_others_is_told_to_be_gone() {
    let room = Room::new();
    let log = room.log(&["a", "b", "c", "d"]).await;
    let rows = room.dynamodb.log(ROOM);
    room.dynamodb.expire_log(ROOM, log[2]);
    room.dynamodb.seed_log(rows.into_iter().take(2));
    for after in [log[0], log[1]] {
        let rest: Vec<_> = [log[1], log[3]].into_iter().filter(|seq| *seq > after).collect();
        for page in [room.sync(after).await, room.join(Some(after)).await] {
            assert_eq!(facts(&page), (log[3], rest.clone(), false, true), "c is gone");
        }
    }
    assert_eq!(facts(&room.sync(log[2]).await), (log[3], vec![log[3]], false, false));
}

/// A log that was started anew lacks its first message, or the one after that.
#[tokio::test]
async fn a_hole_at_the_start_of_a_log_is_no_part_of_the_jump() {
    for lost in [0, 1] {
        let room = Room::new();
        let old = room.log(&["a", "b"]).await;
        room.clock.advance(Duration::from_secs(RETENTION - 60 - 3));
        let mut new = room.log(&["c", "d", "e"]).await;
        assert!(new[0] > old[1] + 1, "{new:?} after {old:?}");
        let rows = room.dynamodb.log(ROOM);
        let lost = new.remove(lost);
        room.dynamodb.expire_log(ROOM, lost);
        room.dynamodb.seed_log(rows.into_iter().filter(|row| row["seq"].as_u64() < Some(lost)));
        for page in [room.sync(old[1]).await, room.join(Some(old[1])).await] {
            assert_eq!(facts(&page), (new[1], new.clone(), false, true), "{lost} is gone");
        }
    }
}

#[tokio::test]
async fn a_message_whose_row_cannot_be_read_is_told_to_be_gone() {
    let room = Room::new();
    let log = room.log(&["a", "b", "c"]).await;
    let mut row = room.dynamodb.log(ROOM).swap_remove(1);
    row["data"] = "{".into();
    room.dynamodb.seed_log([row]);
    for page in [room.sync(log[0]).await, room.join(Some(log[0])).await] {
        assert_eq!(facts(&page), (log[2], vec![log[2]], false, true));
    }
}

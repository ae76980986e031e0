//! The answers to clients about a log that starts anew while some of its old messages are still there.

use std::time::Duration;

use super::reads::{RETENTION, Room, facts};
use super::writer::{ROOM, append_with_head, batch, writer};

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

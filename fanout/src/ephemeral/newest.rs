//! The messages of a batch that are still worth a post: the newest of each room, sender and key, if it is not too old.

use std::cmp::Reverse;

use aws_lambda_events::sqs::SqsMessage;
use shared::{Ephemeral, RoomId, json::FieldError, metrics::Metrics, queue::Receipt};

use super::dropped::Dropped;

/// The greatest age of a message that is posted, in milliseconds: an older typing indicator is of no use.
pub const STALE_AFTER: u64 = 5_000;

/// A room's messages, newest first, one of each sender and key. None has a later time than that at which the queue took
/// it.
#[derive(Debug)]
pub struct RoomMessages {
    /// The room.
    pub room: RoomId,
    /// The messages to be posted.
    pub messages: Vec<Ephemeral>,
}

/// Reads a batch, given the time in milliseconds since the Unix epoch, and counts the messages that it leaves out.
#[must_use]
pub fn by_room(records: Vec<SqsMessage>, now: u64, metrics: &Metrics) -> Vec<RoomMessages> {
    let mut messages = Vec::with_capacity(records.len());
    let mut broken = None;
    for record in records {
        match read(&record) {
            Ok(message) if now > message.sent_at.saturating_add(STALE_AFTER) => metrics.add(Dropped::Old.counter(), 1),
            Ok(message) => messages.push(message),
            Err(error) => {
                metrics.add(Dropped::Broken.counter(), 1);
                broken.get_or_insert(error);
            }
        }
    }
    // One warning for a batch: a faulty producer sends many such records.
    if let Some(error) = broken {
        tracing::warn!(%error, "a record is no ephemeral message");
    }
    let count = messages.len();
    // Of two messages with the same time the later one in the batch counts: sorting keeps the order of equals.
    messages.reverse();
    messages.sort_by(|one, other| {
        let same = identity(one).cmp(&identity(other));
        same.then(other.sent_at.cmp(&one.sent_at))
    });
    messages.dedup_by(|one, kept| identity(one) == identity(kept));
    metrics.add(Dropped::Superseded.counter(), (count - messages.len()) as u64);
    let rooms = messages.chunk_by(|one, next| one.room == next.room);
    rooms
        .map(|messages| {
            let (room, mut messages) = (messages[0].room.clone(), messages.to_vec());
            messages.sort_by_key(|message| Reverse(message.sent_at));
            RoomMessages { room, messages }
        })
        .collect()
}

/// The fields that are the same in two messages when one supersedes the other. The room comes first, so that sorting by
/// them groups the rooms.
fn identity(message: &Ephemeral) -> (&RoomId, &str, Option<&str>) {
    (&message.room, &message.from, message.key.as_deref())
}

fn read(record: &SqsMessage) -> Result<Ephemeral, FieldError> {
    let queued_at = Some(Receipt::of(None, &record.attributes).queued_at).filter(|told| *told > 0).unwrap_or(u64::MAX);
    let mut message = Ephemeral::read(record.body.as_deref().unwrap_or_default(), queued_at)?;
    // A `sentAt` in the future would outdo all messages of the sender until then.
    message.sent_at = message.sent_at.min(queued_at);
    Ok(message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn record(body: impl ToString, queued_at: u64) -> SqsMessage {
        let record = json!({"body": body.to_string(), "attributes": {"SentTimestamp": queued_at.to_string()}});
        serde_json::from_value(record).unwrap()
    }

    fn body(room: &str, from: &str, key: Option<&str>, sent_at: u64, data: u64) -> Value {
        json!({"v": 1, "roomId": room, "from": from, "sentAt": sent_at, "key": key, "data": data})
    }

    /// A room with its messages' data.
    type Read = (String, Vec<String>);

    /// The rooms of a batch, and how many messages were dropped for a cause.
    fn sort(records: Vec<SqsMessage>) -> (Vec<Read>, impl Fn(Dropped) -> u64) {
        let metrics = Metrics::default();
        let rooms = by_room(records, NOW, &metrics);
        let data = |room: &RoomMessages| room.messages.iter().map(|one| one.data.get().to_owned()).collect();
        let rooms = rooms.iter().map(|room| (room.room.to_string(), data(room))).collect();
        (rooms, move |cause: Dropped| metrics.count(cause.counter()))
    }

    #[test]
    fn of_each_sender_and_key_the_newest_is_kept() {
        let messages = [
            body("r", "ann", Some("typing"), NOW - 30, 1),
            body("r", "ann", Some("typing"), NOW - 10, 2),
            body("r", "ann", Some("typing"), NOW - 20, 3),
            body("r", "ann", Some("cursor"), NOW - 40, 4),
            body("r", "ann", None, NOW - 50, 5),
            body("r", "bob", Some("typing"), NOW - 5, 6),
            body("s", "ann", Some("typing"), NOW - 60, 7),
            body("r", "cy", None, NOW - 1, 8),
            body("r", "cy", None, NOW - 1, 9),
        ];
        let (rooms, dropped) = sort(messages.into_iter().map(|body| record(body, NOW)).collect());
        let expected = [("r", vec!["9", "6", "2", "4", "5"]), ("s", vec!["7"])];
        let texts = |data: Vec<&str>| data.into_iter().map(str::to_owned).collect();
        assert_eq!(rooms, expected.map(|(room, data)| (room.to_owned(), texts(data))));
        assert_eq!((dropped(Dropped::Superseded), dropped(Dropped::Old)), (3, 0));
    }

    #[test]
    fn what_is_older_than_five_seconds_is_dropped_by_either_clock() {
        let old = NOW - STALE_AFTER - 1;
        let records = vec![
            record(body("r", "a", None, old, 1), NOW),
            record(body("r", "b", None, NOW, 2), old),
            record(body("r", "c", None, NOW + 3_600_000, 3), old),
            record(json!({"roomId": "r", "data": 4}), old),
            record(body("r", "d", None, NOW - STALE_AFTER, 5), NOW - STALE_AFTER),
            record(body("r", "e", None, NOW + 3_600_000, 6), NOW),
            record(json!({"roomId": "r", "data": 7}), NOW),
        ];
        let (rooms, dropped) = sort(records);
        assert_eq!(rooms, [("r".to_owned(), ["6", "7", "5"].map(str::to_owned).to_vec())]);
        assert_eq!(dropped(Dropped::Old), 4);
    }

    #[test]
    fn a_time_that_lies_ahead_is_no_newer_than_the_queues() {
        let ahead = body("r", "ann", Some("typing"), NOW + 3_600_000, 1);
        let then = body("r", "ann", Some("typing"), NOW - 10, 2);
        let (rooms, _) = sort(vec![record(ahead.clone(), NOW - 20), record(then, NOW)]);
        assert_eq!(rooms, [("r".to_owned(), vec!["2".to_owned()])]);
        let read = by_room(vec![record(ahead, NOW - 20)], NOW, &Metrics::default());
        assert_eq!(read[0].messages[0].sent_at, NOW - 20, "clients compare it too");
    }

    #[test]
    fn what_is_no_message_is_dropped_and_holds_up_nothing() {
        let bodies =
            ["", "[]", r#"{"roomId":"r"}"#, r#"{"roomId":"a b","data":1}"#, r#"{"roomId":"r","data":1,"version":1}"#];
        let mut records: Vec<_> = bodies.iter().map(|body| record(body, NOW)).collect();
        records.push(serde_json::from_value(json!({})).unwrap());
        records.push(record(body("r", "a", None, NOW, 1), NOW));
        let (rooms, dropped) = sort(records);
        assert_eq!((rooms.len(), dropped(Dropped::Broken)), (1, 6));
    }
}

//! A batch of the queue of ticks, sorted by room.

use aws_lambda_events::sqs::SqsMessage;
use serde::Deserialize;
use shared::{
    RoomId,
    json::{self, required},
    queue::{NotARecord, Receipt, Received},
};

/// A room's ticks in a batch, in their order. They are one FIFO group, so no other consumer has ticks of the room
/// meanwhile.
#[derive(Debug)]
pub struct RoomTicks {
    /// The room.
    pub room: RoomId,
    /// Its ticks, at least one.
    pub ticks: Vec<Tick>,
}

/// A tick: something may have changed in the room.
#[derive(Clone, Debug)]
pub struct Tick {
    /// Its id in the queue.
    pub id: String,
    /// Its receipt.
    pub receipt: Receipt,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(deserialize_with = "required")]
    room_id: RoomId,
}

/// Reads a batch. A record that is no tick is of no use to anybody, and dropped.
///
/// # Errors
/// When the event is none of a queue's: the function is wired wrongly.
pub fn read(records: Vec<SqsMessage>) -> Result<Vec<RoomTicks>, NotARecord> {
    let mut rooms: Vec<RoomTicks> = Vec::new();
    for record in records {
        let Received { id, receipt, body, .. } = record.try_into()?;
        let room = match json::read(&body) {
            Ok(Body { room_id }) => room_id,
            Err(error) => {
                tracing::warn!(record = id, %error, "a record of the queue of ticks is no tick");
                continue;
            }
        };
        let tick = Tick { id, receipt };
        match rooms.iter_mut().find(|other| other.room == room) {
            Some(other) => other.ticks.push(tick),
            None => rooms.push(RoomTicks { room, ticks: vec![tick] }),
        }
    }
    Ok(rooms)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(id: &str, body: &str) -> SqsMessage {
        let attributes = json!({"ApproximateReceiveCount": "2", "SentTimestamp": "77"});
        serde_json::from_value(json!({"messageId": id, "body": body, "receiptHandle": "h", "attributes": attributes}))
            .unwrap()
    }

    #[test]
    fn ticks_are_sorted_by_room_and_keep_their_order() {
        let tick = |room: &str| format!(r#"{{"v":1,"roomId":"{room}"}}"#);
        let rooms =
            read(vec![record("1", &tick("a")), record("2", &tick("b")), record("3", &tick("a")), record("4", "{}")]);
        let rooms = rooms.unwrap();
        let ids: Vec<(&str, Vec<&str>)> = rooms
            .iter()
            .map(|room| (room.room.as_str(), room.ticks.iter().map(|tick| tick.id.as_str()).collect()))
            .collect();
        assert_eq!(ids, [("a", vec!["1", "3"]), ("b", vec!["2"])]);
        let Receipt { handle, receives, queued_at, .. } = &rooms[0].ticks[0].receipt;
        assert_eq!((*receives, *queued_at, handle.as_str()), (2, 77, "h"));
    }
}

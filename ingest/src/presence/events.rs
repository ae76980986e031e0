//! Lifecycle events: what backends are told of a publication.

use std::future::Future;

use serde::Serialize;
use shared::{
    RoomId,
    presence::ListedMember,
    queue::{
        QueueError,
        eventbridge::{BusEvent, EventBus},
    },
    store::presence::PresenceRow,
    text::escape_noncharacters,
};

use super::{config::EventKinds, row::entries};

/// The source of the events. The rule for messages does not match it.
const SOURCE: &str = "roomcast";

/// Members in one event: with the longest names and data some 160 KB, and an event has 256 KB ("Amazon EventBridge
/// quotas").
const MEMBERS: usize = 100;

/// The place where lifecycle events go.
pub trait Bus {
    /// Puts events; says for each whether it is there.
    fn put(&self, events: &[BusEvent]) -> impl Future<Output = Vec<Result<(), QueueError>>>;
}

impl Bus for EventBus {
    async fn put(&self, events: &[BusEvent]) -> Vec<Result<(), QueueError>> {
        self.put_all(events).await
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail<'a> {
    room_id: &'a RoomId,
    rev: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<&'a [ListedMember]>,
}

/// The events of a publication.
#[must_use]
pub fn of_publication(room: &RoomId, row: &PresenceRow, kinds: EventKinds) -> Vec<BusEvent> {
    let detail = Detail { room_id: room, rev: row.rev, count: Some(row.everybody), members: None };
    let mut events = Vec::new();
    if kinds.room && row.last.was == 0 && row.everybody > 0 {
        events.push(event("roomcast.room.occupied", &detail));
    }
    if kinds.member {
        for (detail_type, ids) in
            [("roomcast.member.joined", &row.last.entered), ("roomcast.member.left", &row.last.exited)]
        {
            for members in entries(row, ids).chunks(MEMBERS) {
                events.push(event(detail_type, &Detail { members: Some(members), ..detail }));
            }
        }
    }
    if kinds.room && row.last.was > 0 && row.everybody == 0 {
        events.push(event("roomcast.room.vacated", &Detail { count: None, ..detail }));
    }
    events
}

fn event(detail_type: &'static str, detail: &Detail<'_>) -> BusEvent {
    // Strings, integers and raw JSON always serialize.
    let detail = escape_noncharacters(serde_json::to_string(detail).unwrap_or_default());
    BusEvent { source: SOURCE, detail_type, detail }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};
    use shared::presence::MemberData;

    use super::{
        super::{config::Kept, members::Present, row},
        *,
    };

    const ALL: EventKinds = EventKinds { room: true, member: true };

    fn published(previous: Option<&PresenceRow>, listed: &[(&str, &str)]) -> PresenceRow {
        let listed = listed.iter().map(|(id, data)| ((*id).to_owned(), MemberData::parse(data))).collect();
        let kept = Kept { presence: true, events: ALL };
        let row = row::next(previous, Present::of_names(listed, BTreeSet::new()), kept, 500).unwrap();
        PresenceRow { rev: previous.map_or(5, |row| row.rev + 1), ..row }
    }

    fn events(row: &PresenceRow, kinds: EventKinds) -> Vec<(&'static str, Value)> {
        let events = of_publication(&RoomId::parse("r").unwrap(), row, kinds);
        events.iter().map(|event| (event.detail_type, serde_json::from_str(&event.detail).unwrap())).collect()
    }

    #[test]
    fn events_say_who_came_and_went_and_whether_anybody_is_there() {
        let first = published(None, &[("ann", "[1]"), ("bob", "null")]);
        let members = json!([{"id": "ann", "data": [1]}, {"id": "bob"}]);
        assert_eq!(
            events(&first, ALL),
            [
                ("roomcast.room.occupied", json!({"roomId": "r", "rev": 5, "count": 2})),
                ("roomcast.member.joined", json!({"roomId": "r", "rev": 5, "count": 2, "members": members})),
            ]
        );
        let update = published(Some(&first), &[("ann", "[2]"), ("bob", "null")]);
        assert_eq!(events(&update, ALL), [], "other data is neither");
        let end = published(Some(&update), &[]);
        let members = json!([{"id": "ann"}, {"id": "bob"}]);
        assert_eq!(
            events(&end, ALL),
            [
                ("roomcast.member.left", json!({"roomId": "r", "rev": 7, "count": 0, "members": members})),
                ("roomcast.room.vacated", json!({"roomId": "r", "rev": 7})),
            ]
        );
        let of_room = EventKinds { room: true, member: false };
        assert_eq!((events(&first, of_room).len(), events(&update, of_room).len()), (1, 0));
    }

    #[test]
    fn an_event_has_a_hundred_members() {
        let ids: Vec<String> = (0..250).map(|n| format!("m{n}")).collect();
        let listed: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "null")).collect();
        let events = events(&published(None, &listed), ALL);
        let counts: Vec<_> =
            events[1..].iter().map(|(_, detail)| detail["members"].as_array().unwrap().len()).collect();
        assert_eq!(counts, [100, 100, 50]);
    }
}

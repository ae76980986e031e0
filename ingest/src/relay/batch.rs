//! A batch of events: read, and sorted into what goes to the rooms' queue and what is a dead letter.

use std::collections::HashMap;

use aws_lambda_events::sqs::SqsMessage;
use shared::{
    Message, RoomId,
    queue::{NotARecord, Received, Record},
};

use super::event;

/// The dead-letter queue's group of events that name no valid room.
const NO_ROOM: &str = "no-room";

/// A record as its queue delivered it. Its trace is that of the invocation that put the event: a batch has events of
/// many, and a trace of its own.
#[derive(Debug)]
pub(super) struct Source {
    /// The record, whose body is an event.
    pub received: Received,
    /// The id of the message that the event was read as, if it was.
    pub message_id: Option<String>,
}

/// Records to send, each with the one that it comes from.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    sources: Vec<Source>,
    records: Vec<Record>,
}

impl Outgoing {
    fn push_message(&mut self, mut source: Source, message: &Message) {
        source.message_id = Some(message.id.clone());
        self.records.push(Record::of_message(message, source.received.trace.clone()));
        self.sources.push(source);
    }

    /// Adds a record as it came. Its own id is the deduplication id, so that only a second delivery of the same record
    /// is dropped.
    pub(super) fn push_dead_letter(&mut self, source: Source, group_id: String, reason: String) {
        let Received { id, body, trace, .. } = &source.received;
        self.records.push(Record {
            group_id,
            deduplication_id: id.clone(),
            body: body.clone(),
            reason: Some(reason),
            trace: trace.clone(),
        });
        self.sources.push(source);
    }

    /// Takes out the messages of rooms for which `is_held` is true; returns the ids of the records that they come from.
    pub(super) fn hold(&mut self, mut is_held: impl FnMut(&RoomId) -> bool) -> Vec<String> {
        let mut held = Vec::new();
        for (source, record) in std::mem::take(self).into_iter() {
            // A message's group is its room.
            if RoomId::parse(&record.group_id).is_ok_and(|room| is_held(&room)) {
                held.push(source.received.id);
            } else {
                self.sources.push(source);
                self.records.push(record);
            }
        }
        held
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// When the queue took the records, in milliseconds since the Unix epoch, of those of which that is known.
    pub(super) fn queued_at(&self) -> impl Iterator<Item = u64> + '_ {
        self.sources.iter().map(|source| source.received.receipt.queued_at).filter(|queued_at| *queued_at > 0)
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Source, Record)> {
        self.sources.into_iter().zip(self.records)
    }
}

/// The work for the records of a batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Messages, those of a room by their version.
    pub messages: Outgoing,
    /// Events that can never be messages.
    pub dead_letters: Outgoing,
}

impl Batch {
    pub(super) fn read(records: Vec<SqsMessage>) -> Result<Self, NotARecord> {
        let mut batch = Self::default();
        let mut messages = Vec::with_capacity(records.len());
        for record in records {
            let source = Source { received: record.try_into()?, message_id: None };
            match event::read(&source.received.body, source.received.receipt.queued_at) {
                Ok(message) => messages.push((source, message)),
                Err(refused) => {
                    let group_id = refused.room.map_or_else(|| NO_ROOM.to_owned(), |room| room.to_string());
                    batch.dead_letters.push_dead_letter(source, group_id, refused.error.to_string());
                }
            }
        }
        sort_by_version(&mut messages);
        for (source, message) in messages {
            batch.messages.push_message(source, &message);
        }
        Ok(batch)
    }
}

/// Sorts each room's messages by their version. Messages of one version keep their order, and those without a version
/// keep their place.
fn sort_by_version(messages: &mut Vec<(Source, Message)>) {
    let mut places: HashMap<RoomId, Vec<usize>> = HashMap::new();
    for (place, (_, message)) in messages.iter().enumerate().filter(|(_, (_, message))| message.version.is_some()) {
        places.entry(message.room.clone()).or_default().push(place);
    }
    let mut unsorted: Vec<_> = messages.drain(..).map(Some).collect();
    let mut order: Vec<usize> = (0..unsorted.len()).collect();
    for places in places.into_values() {
        let mut sorted = places.clone();
        sorted.sort_by_key(|&place| unsorted[place].as_ref().and_then(|(_, message)| message.version));
        for (place, from) in places.into_iter().zip(sorted) {
            order[place] = from;
        }
    }
    messages.extend(order.into_iter().filter_map(|from| unsorted[from].take()));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(id: usize, body: &Value) -> SqsMessage {
        let attributes = json!({"SentTimestamp": "1800000000000"});
        serde_json::from_value(json!({"messageId": id.to_string(), "body": body.to_string(), "attributes": attributes}))
            .unwrap()
    }

    fn event(detail: &Value) -> Value {
        json!({"id": "e", "detail-type": "roomcast.message", "source": "s", "detail": detail})
    }

    /// The ids of the records in the order in which they are sent.
    fn order(details: &[Value]) -> Vec<usize> {
        let records = details.iter().enumerate().map(|(id, detail)| record(id, &event(detail))).collect();
        let messages = Batch::read(records).unwrap().messages;
        messages.into_iter().map(|(source, _)| source.received.id.parse().unwrap()).collect()
    }

    #[test]
    fn a_rooms_messages_are_sorted_by_version() {
        let version = |room: &str, version: u64| json!({"roomId": room, "data": 1, "key": "k", "version": version});
        assert_eq!(order(&[version("a", 3), version("a", 1), version("a", 2)]), [1, 2, 0]);
        // Rooms have nothing to do with one another, equal versions keep their order.
        assert_eq!(order(&[version("a", 9), version("b", 5), version("a", 9), version("b", 4)]), [0, 3, 2, 1]);
    }

    #[test]
    fn messages_without_a_version_keep_their_place() {
        let plain = json!({"roomId": "a", "data": 1});
        let version = |version: u64| json!({"roomId": "a", "data": 1, "version": version});
        assert_eq!(order(&[plain.clone(), version(2), plain.clone(), version(1), plain]), [0, 3, 2, 1, 4]);
    }

    #[test]
    fn a_message_has_its_rooms_group_and_a_dead_letter_that_of_the_room_it_names() {
        let records = [
            event(&json!({"roomId": "r", "data": 1})),
            event(&json!({"roomId": "r"})),
            event(&json!({"roomId": "a b", "data": 1})),
            json!("no event"),
        ];
        let records = records.iter().enumerate().map(|(id, body)| record(id, body)).collect();
        let Batch { messages, dead_letters } = Batch::read(records).unwrap();
        assert_eq!((messages.records().len(), messages.records()[0].group_id.as_str()), (1, "r"));
        let letters = dead_letters.records();
        assert_eq!(letters.iter().map(|letter| letter.group_id.as_str()).collect::<Vec<_>>(), ["r", NO_ROOM, NO_ROOM]);
        assert_eq!(letters.iter().map(|letter| letter.deduplication_id.as_str()).collect::<Vec<_>>(), ["1", "2", "3"]);
        assert_eq!(letters[2].body, "\"no event\"");
        assert!(letters.iter().all(|letter| letter.reason.is_some()));
    }
}

//! Decoding: a batch of the queue becomes each room's work. Records stay in their group's order.

use aws_lambda_events::sqs::SqsMessage;
use shared::{
    Message,
    fields::{FieldError, Fields},
    message::Defaults,
    queue,
};

use crate::shard::ShardJob;

/// The sender of messages that producers write to the queue themselves without naming one.
const PRODUCER: &str = "producer";

/// One FIFO group's records in a batch. There is no other consumer of the group meanwhile.
#[derive(Debug)]
pub struct Group {
    /// The group's id.
    pub id: String,
    /// Its records, in order.
    pub records: Vec<Record>,
}

/// A record of the queue.
#[derive(Debug)]
pub struct Record {
    /// Its id, by which it is reported as failed.
    pub id: String,
    /// Whether the queue has delivered it before.
    pub redelivered: bool,
    /// What it says.
    pub content: Content,
}

/// What a record says.
#[derive(Debug)]
pub enum Content {
    /// A message for the group's room.
    Message(Message),
    /// A part of a broadcast to a large room.
    Shard(ShardJob),
    /// Nothing that could ever be broadcast.
    Poison {
        /// The record as it came.
        body: String,
        /// Why.
        reason: String,
    },
}

/// A record that the queue cannot have delivered.
#[derive(Debug, thiserror::Error)]
#[error("a record has no messageId: is the function's event source an SQS queue?")]
pub struct NotARecord;

impl Group {
    /// What of the group can never be broadcast, with its position.
    pub fn dead_letters(&self) -> impl Iterator<Item = (usize, queue::Record)> {
        self.records.iter().enumerate().filter_map(|(position, record)| match &record.content {
            Content::Message(_) | Content::Shard(_) => None,
            Content::Poison { body, reason } => Some((
                position,
                queue::Record {
                    group_id: self.id.clone(),
                    deduplication_id: record.id.clone(),
                    body: body.clone(),
                    reason: Some(reason.clone()),
                },
            )),
        })
    }
}

/// Sorts a batch into its groups.
///
/// # Errors
/// When the event is none of a queue's: the function is wired wrongly.
pub fn decode(records: Vec<SqsMessage>) -> Result<Vec<Group>, NotARecord> {
    let mut groups: Vec<Group> = Vec::new();
    for record in records {
        let id = record.message_id.clone().ok_or(NotARecord)?;
        let attribute = |name: &str| record.attributes.get(name).map(String::as_str);
        let group_id = attribute("MessageGroupId").unwrap_or_default().to_owned();
        let redelivered = attribute("ApproximateReceiveCount").is_some_and(|count| count != "1");
        let sent_at = attribute("SentTimestamp").and_then(|millis| millis.parse().ok()).unwrap_or_default();
        let body = record.body.unwrap_or_default();
        let content = match read(&body, &group_id, Defaults { id: &id, from: PRODUCER, sent_at }) {
            Ok(content) => content,
            Err(error) => Content::Poison { body, reason: error.to_string() },
        };
        let record = Record { id, redelivered, content };
        // At most ten groups: looking through them is quicker than hashing.
        match groups.iter_mut().find(|group| group.id == group_id) {
            Some(group) => group.records.push(record),
            None => groups.push(Group { id: group_id, records: vec![record] }),
        }
    }
    Ok(groups)
}

/// Reads a body. The group must be the room's: another one could be consumed at the same time, out of order.
fn read(body: &str, group_id: &str, defaults: Defaults<'_>) -> Result<Content, FieldError> {
    let fields = Fields::parse(body)?;
    if let Some(job) = ShardJob::read(&fields, group_id) {
        return job.map(Content::Shard);
    }
    let message = Message::from_producer(&fields, defaults)?;
    if message.room.as_str() == group_id {
        return Ok(Content::Message(message));
    }
    Err(FieldError::Invalid("roomId", format!("is not the record's MessageGroupId, {group_id:?}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(id: &str, group: &str, count: &str, body: &str) -> SqsMessage {
        let record = json!({
            "messageId": id, "body": body,
            "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": count, "SentTimestamp": "77"},
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn groups_keep_their_order() {
        let body = |room: &str| format!(r#"{{"roomId":"{room}","data":1}}"#);
        let groups = decode(vec![
            record("1", "a", "1", &body("a")),
            record("2", "b", "3", &body("b")),
            record("3", "a", "1", &body("a")),
        ])
        .unwrap();
        let ids: Vec<Vec<&str>> =
            groups.iter().map(|group| group.records.iter().map(|record| record.id.as_str()).collect()).collect();
        assert_eq!(ids, [vec!["1", "3"], vec!["2"]]);
        assert!(!groups[0].records[0].redelivered && groups[1].records[0].redelivered);
    }

    #[test]
    fn the_record_stands_in_for_what_the_body_leaves_out() {
        let groups = decode(vec![record("m-1", "r", "1", r#"{"roomId":"r","data":1}"#)]).unwrap();
        let Content::Message(message) = &groups[0].records[0].content else { panic!() };
        assert_eq!((message.id.as_str(), message.from.as_str(), message.sent_at), ("m-1", "producer", 77));
    }

    #[test]
    fn what_can_never_be_broadcast_says_why() {
        let bodies = ["", "[]", r#"{"data":1}"#, r#"{"roomId":"r"}"#, r#"{"roomId":"x","data":1}"#];
        let records = bodies.iter().map(|body| record("m", "r", "1", body)).collect();
        let groups = decode(records).unwrap();
        let letters: Vec<_> = groups[0].dead_letters().collect();
        let reasons: Vec<_> = letters.iter().map(|(_, letter)| letter.reason.as_deref().unwrap()).collect();
        assert_eq!(letters.len(), 5);
        assert!(reasons[0].starts_with("not a JSON object"));
        assert!(reasons[1].starts_with("not a JSON object"));
        assert_eq!(
            reasons[2..],
            ["`roomId` is missing", "`data` is missing", "`roomId` is not the record's MessageGroupId, \"r\""]
        );
    }

    #[test]
    fn a_record_without_an_id_is_no_record() {
        assert!(decode(vec![serde_json::from_value(json!({"body": "{}"})).unwrap()]).is_err());
    }
}

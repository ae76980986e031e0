//! A batch of the queue: its records, read and sorted into their groups.

use aws_lambda_events::sqs::SqsMessage;
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use shared::{
    Message,
    json::{self, FieldError},
    limits::MESSAGE_AGE_MS,
    message::draft::{Origin, PRODUCER, ProducerDraft},
    queue::{NotARecord, Receipt, Received, Record},
    trace::TraceHeader,
};

use crate::{log, presence::PresenceJob, shard::ShardJob};

/// One FIFO group's records in a batch. There is no other consumer of the group meanwhile.
#[derive(Debug)]
pub struct Group {
    /// The group's id.
    pub id: String,
    /// Its records, in order.
    pub records: Vec<JobRecord>,
}

/// A record of the queue, and the job that it asks for.
#[derive(Debug)]
pub struct JobRecord {
    /// Its id, by which it is reported as failed.
    pub id: String,
    /// Its receipt.
    pub receipt: Receipt,
    /// Whether it was sent again from the dead-letter queue.
    pub is_redriven: bool,
    /// The trace that it belongs to.
    pub trace: Option<TraceHeader>,
    /// The work that it asks for.
    pub job: Job,
}

/// The work that a record asks for.
#[derive(Debug)]
pub enum Job {
    /// Log a message for the group's room, and post it.
    Message(Message),
    /// Post frames to a shard of a room.
    Shard(ShardJob),
    /// Post a publication of presence, which says who is in the room, to the room or to a shard of it.
    Presence(PresenceJob),
    /// Put it into the dead-letter queue: it can never be broadcast.
    DeadLetter {
        /// The record as it came.
        body: String,
        /// The reason why it can never be broadcast.
        reason: String,
    },
}

/// The fields that tell the kinds of bodies apart. A publication of presence has `presence` but neither `data` nor
/// `remove`: a message may have a field `presence` of its producer's own. Of the other bodies, those with `shard` are
/// shard jobs.
#[derive(Deserialize)]
struct Kind {
    shard: Option<IgnoredAny>,
    presence: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "is_there")]
    data: bool,
    #[serde(default, deserialize_with = "is_there")]
    remove: bool,
}

/// Whether a field is there at all, for `deserialize_with`: a field that is `null` counts as well.
fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Reads a batch and sorts its records into groups.
///
/// # Errors
/// When the event does not come from a queue: the function has the wrong trigger.
pub fn read(records: Vec<SqsMessage>) -> Result<Vec<Group>, NotARecord> {
    let mut groups: Vec<Group> = Vec::new();
    for record in records {
        let Received { id, group_id, receipt, is_redriven, trace, body } = record.try_into()?;
        let job = match read_job(&body, &group_id, Origin { id: &id, from: PRODUCER, sent_at: receipt.queued_at }) {
            Ok(job) => job,
            Err(error) => Job::DeadLetter { body, reason: error.to_string() },
        };
        let record = JobRecord { id, receipt, is_redriven, trace, job };
        // At most ten groups: looking through them is quicker than hashing.
        match groups.iter_mut().find(|group| group.id == group_id) {
            Some(group) => group.records.push(record),
            None => groups.push(Group { id: group_id, records: vec![record] }),
        }
    }
    Ok(groups)
}

/// Reads a body. A message's group must be its room: a record in another group could be consumed at the same time as
/// the room's own, and out of order.
fn read_job(body: &str, group_id: &str, origin: Origin<'_>) -> Result<Job, FieldError> {
    let Kind { shard, presence, data, remove } = json::read(body)?;
    if presence.is_some() && !data && !remove {
        return PresenceJob::read(body, group_id).map(Job::Presence);
    }
    if shard.is_some() {
        return ShardJob::read(body, group_id).map(Job::Shard);
    }
    let message = ProducerDraft::read(body)?.accept(origin)?;
    if message.room.as_str() == group_id {
        return Ok(Job::Message(message));
    }
    Err(FieldError::invalid("roomId", "is not the record's MessageGroupId"))
}

impl Group {
    /// The receipts of its records.
    pub fn receipts(&self) -> impl Iterator<Item = &Receipt> + Clone {
        self.records.iter().map(|record| &record.receipt)
    }

    /// The group's messages, which are logged together; `None` when there are none.
    #[must_use]
    pub fn messages(&self) -> Option<log::Batch> {
        let messages = || self.records.iter().filter_map(|record| Some((record, record.message()?)));
        Some(log::Batch {
            messages: messages().map(|(_, message)| message.clone()).collect(),
            redelivered: messages().any(|(record, _)| record.receipt.receives > 1 || record.is_redriven),
            oldest: messages().map(|(record, message)| record.accepted_at(message)).min()?,
        })
    }

    /// The group's shard jobs.
    pub fn shard_jobs(&self) -> impl Iterator<Item = &ShardJob> {
        self.records.iter().filter_map(|record| match &record.job {
            Job::Shard(job) => Some(job),
            _ => None,
        })
    }

    /// The group's publications of presence.
    pub fn presence_jobs(&self) -> impl Iterator<Item = &PresenceJob> {
        self.records.iter().filter_map(|record| match &record.job {
            Job::Presence(job) => Some(job),
            _ => None,
        })
    }

    /// The position of the first message or shard job, searched from `first` on.
    #[must_use]
    pub fn next_numbered(&self, first: usize) -> Option<usize> {
        let is_numbered = |record: &JobRecord| matches!(record.job, Job::Message(_) | Job::Shard(_));
        self.records[first..].iter().position(is_numbered).map(|place| first + place)
    }

    /// The run of dead letters that starts at a position, as records for the dead-letter queue.
    #[must_use]
    pub fn dead_letters_from(&self, first: usize) -> Vec<Record> {
        self.records[first..].iter().map_while(|record| record.dead_letter(&self.id)).collect()
    }
}

impl JobRecord {
    fn message(&self) -> Option<&Message> {
        match &self.job {
            Job::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The time when a message was accepted: its own `sentAt` where that is possible, else the time when the queue took
    /// it. A producer's `sentAt` in seconds would otherwise have the room's whole log searched for the message. Of one
    /// that was redriven without a `sentAt`, nothing is known but how old it may be.
    fn accepted_at(&self, message: &Message) -> u64 {
        let queued_at = self.receipt.queued_at;
        let oldest = queued_at.saturating_sub(MESSAGE_AGE_MS);
        match message.sent_at {
            sent_at if self.is_redriven && sent_at == queued_at => oldest,
            sent_at if (oldest..=queued_at).contains(&sent_at) => sent_at,
            _ => queued_at,
        }
    }

    fn dead_letter(&self, group_id: &str) -> Option<Record> {
        let Job::DeadLetter { body, reason } = &self.job else { return None };
        Some(Record {
            group_id: group_id.to_owned(),
            // The record's own id: should the record be delivered again, the dead-letter queue drops the second letter.
            deduplication_id: self.id.clone(),
            body: body.clone(),
            reason: Some(reason.clone()),
            trace: self.trace.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(id: &str, group: &str, count: &str, body: &str) -> SqsMessage {
        let record = json!({
            "messageId": id, "body": body, "receiptHandle": format!("handle-{id}"),
            "attributes": {"MessageGroupId": group, "ApproximateReceiveCount": count, "SentTimestamp": "2000000000077"},
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn groups_keep_their_order() {
        let body = |room: &str| format!(r#"{{"roomId":"{room}","data":1}}"#);
        let groups = read(vec![
            record("1", "a", "1", &body("a")),
            record("2", "b", "3", &body("b")),
            record("3", "a", "1", &body("a")),
        ])
        .unwrap();
        let ids: Vec<Vec<&str>> =
            groups.iter().map(|group| group.records.iter().map(|record| record.id.as_str()).collect()).collect();
        assert_eq!(ids, [vec!["1", "3"], vec!["2"]]);
        let receipt = &groups[1].records[0].receipt;
        assert_eq!((groups[0].records[0].receipt.receives, receipt.receives), (1, 3));
        assert_eq!((receipt.handle.as_str(), receipt.queued_at), ("handle-2", 2_000_000_000_077));
        let batches: Vec<_> = groups.iter().map(|group| group.messages().unwrap()).collect();
        assert_eq!((batches[0].messages.len(), batches[0].redelivered, batches[1].redelivered), (2, false, true));
    }

    #[test]
    fn the_record_stands_in_for_what_the_body_leaves_out() {
        let groups = read(vec![record("m-1", "r", "1", r#"{"roomId":"r","data":1}"#)]).unwrap();
        let batch = groups[0].messages().unwrap();
        let message = &batch.messages[0];
        assert_eq!(
            (message.id.as_str(), message.from.as_str(), message.sent_at),
            ("m-1", "producer", 2_000_000_000_077)
        );
    }

    #[test]
    fn an_impossible_time_of_acceptance_counts_for_nothing() {
        let oldest = |sent_at: u64| {
            let body = format!(r#"{{"roomId":"r","data":1,"sentAt":{sent_at}}}"#);
            read(vec![record("m", "r", "1", &body)]).unwrap()[0].messages().unwrap().oldest
        };
        let queued_at = 2_000_000_000_077;
        let day = 86_400_000;
        assert_eq!(oldest(queued_at - day), queued_at - day, "a day with EventBridge");
        assert_eq!(oldest(queued_at - 43 * day), queued_at - 43 * day, "and as long as possible in three queues");
        for impossible in [0, 2_000_000_000, queued_at + 1, queued_at - MESSAGE_AGE_MS - 1] {
            assert_eq!(oldest(impossible), queued_at);
        }
    }

    #[test]
    fn what_was_redriven_may_have_been_logged_at_any_time() {
        let batch = |id: &str, body: &str| {
            let mut record = record("m", "r", "1", body);
            record.attributes.insert("MessageDeduplicationId".into(), id.into());
            let batch = read(vec![record]).unwrap()[0].messages().unwrap();
            (batch.redelivered, batch.oldest)
        };
        let (queued_at, sent) = (2_000_000_000_077, r#"{"roomId":"r","data":1,"sentAt":1999999999000}"#);
        assert_eq!(batch("redriven/letter", r#"{"roomId":"r","data":1}"#), (true, queued_at - MESSAGE_AGE_MS));
        assert_eq!(batch("redriven/letter", sent), (true, 1_999_999_999_000));
        assert_eq!(batch("letter", r#"{"roomId":"r","data":1}"#), (false, queued_at));
    }

    #[test]
    fn what_can_never_be_broadcast_says_why() {
        let bodies = ["", "[]", r#"{"data":1}"#, r#"{"roomId":"r"}"#, r#"{"roomId":"x","data":1}"#];
        let records = bodies.iter().map(|body| record("m", "r", "1", body)).collect();
        let groups = read(records).unwrap();
        let letters = groups[0].dead_letters_from(0);
        let reasons: Vec<_> = letters.iter().map(|letter| letter.reason.as_deref().unwrap()).collect();
        assert_eq!((letters.len(), groups[0].messages().is_none()), (5, true));
        assert!(reasons[0].starts_with("not a JSON object"));
        assert!(reasons[1].starts_with("not a JSON object"));
        assert_eq!(
            reasons[2..],
            ["`roomId` is missing", "`data` is missing", "`roomId` is not the record's MessageGroupId"]
        );
    }

    #[test]
    fn a_producers_own_field_presence_makes_no_publication() {
        let job = |body: &str| read(vec![record("m", "r", "1", body)]).unwrap().remove(0).records.remove(0).job;
        for body in [
            r#"{"roomId":"r","data":1,"presence":"away"}"#,
            r#"{"roomId":"r","data":null,"presence":{"rev":1,"count":1}}"#,
            r#"{"roomId":"r","key":"k","remove":true,"presence":1}"#,
        ] {
            assert!(matches!(job(body), Job::Message(_)), "{body}: {:?}", job(body));
        }
        assert!(matches!(job(r#"{"v":1,"roomId":"r","presence":{"rev":1,"count":1}}"#), Job::Presence(_)));
        assert!(matches!(job(r#"{"roomId":"r","presence":{"rev":1}}"#), Job::DeadLetter { .. }));
    }
}

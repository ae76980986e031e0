//! Redriving: sending dead letters back to the queues that they came from.

use std::collections::HashSet;

use aws_sdk_sqs::Client as Sqs;
use serde_json::Value;
use shared::queue::{Queue, REDRIVEN, Record, sqs::SqsQueue};

use crate::{
    failure::{Causes, Failure},
    letters::{Kind, Letter},
    stack::Stack,
};

/// The queues that letters came from.
pub(super) struct Destinations {
    client: Sqs,
    rooms: SqsQueue,
    shards: SqsQueue,
    events: String,
}

impl Destinations {
    /// The queues of a stack.
    ///
    /// # Errors
    /// When it lacks one.
    pub(super) fn of(stack: &Stack) -> Result<Self, Failure> {
        let client = Sqs::new(&stack.sdk);
        let queue = |output| Ok::<_, Failure>(SqsQueue::new(client.clone(), stack.output(output)?));
        let (rooms, shards) = (queue("QueueUrl")?, queue("ShardQueueUrl")?);
        Ok(Self { rooms, shards, events: stack.output("EventQueueUrl")?.to_owned(), client })
    }

    /// Sends letters, those of a group in their order. Returns those that the queues have confirmed, and the others
    /// with the reason.
    pub(super) async fn send(&self, letters: Vec<Letter>) -> (Vec<Letter>, Vec<(Letter, String)>) {
        let (events, records): (Vec<_>, Vec<_>) = letters.into_iter().partition(|letter| letter.kind == Kind::Event);
        let (jobs, messages): (Vec<_>, Vec<_>) = records.into_iter().partition(|letter| letter.kind == Kind::Shard);
        let (mut sent, mut failed) = (Vec::new(), Vec::new());
        for (queue, letters) in [(&self.shards, jobs), (&self.rooms, messages)] {
            let records: Vec<_> = letters.iter().map(record).collect();
            for (letter, result) in letters.into_iter().zip(queue.send(&records).await) {
                match result {
                    Ok(()) => sent.push(letter),
                    Err(error) => failed.push((letter, error.to_string())),
                }
            }
        }
        for event in events {
            let call = self.client.send_message().queue_url(&self.events).message_body(&event.body);
            match call.send().await {
                Ok(_) => sent.push(event),
                Err(error) => failed.push((event, Causes(&error).to_string())),
            }
        }
        (sent, failed)
    }
}

/// The letter as its queue had it, in the same group, but with the letter's own id for deduplication: a second redrive
/// of the letter is dropped as a duplicate, while the letter itself is not taken for the record that was sent first. (A
/// letter moved by SQS would keep that record's id.)
fn record(letter: &Letter) -> Record {
    Record {
        group_id: letter.group_id.clone().unwrap_or_default(),
        deduplication_id: format!("{REDRIVEN}{}", letter.letter_id),
        body: with_id(letter),
        reason: None,
        trace: None,
    }
}

/// The letter's body. A message without an id has that of its record, which a letter moved by SQS keeps: it may have
/// been logged under this id.
fn with_id(letter: &Letter) -> String {
    let body: Value = serde_json::from_str(&letter.body).unwrap_or_default();
    match letter.body.split_once('{') {
        Some((before, fields)) if letter.kind == Kind::Message && body.get("id").is_none() => {
            format!("{before}{{\"id\":{},{fields}", Value::from(letter.letter_id.as_str()))
        }
        _ => letter.body.clone(),
    }
}

/// The letters that this command has redriven. Those that come back meanwhile are not sent again, or the command would
/// never end.
#[derive(Default)]
pub(super) struct Redriven(HashSet<(Option<String>, String)>);

impl Redriven {
    /// Sorts out letters that would be sent in vain, with the reason.
    pub(super) fn sort(&mut self, letters: Vec<Letter>) -> (Vec<Letter>, Vec<(Letter, String)>) {
        let (mut sendable, mut kept) = (Vec::new(), Vec::new());
        for letter in letters {
            let why = if letter.is_cut() {
                "its body is cut, so it cannot be sent again"
            } else if letter.kind == Kind::Unreadable {
                "its body is no JSON object: it would come back"
            } else if !self.0.insert((letter.group_id.clone(), letter.body.clone())) {
                "it came back: what its reason says is still so"
            } else {
                sendable.push(letter);
                continue;
            };
            kept.push((letter, why.to_owned()));
        }
        (sendable, kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(kind: Kind, body: &str) -> Letter {
        Letter {
            letter_id: "l".into(),
            kind,
            room: None,
            id: None,
            reason: None,
            queued_at: 0,
            group_id: Some("r".into()),
            body: body.into(),
            receipt_handle: String::new(),
        }
    }

    #[test]
    fn a_letter_keeps_its_group_and_is_sent_under_its_own_id() {
        let sent = record(&letter(Kind::Shard, "{}"));
        assert_eq!((sent.group_id.as_str(), sent.deduplication_id.as_str(), sent.reason), ("r", "redriven/l", None));
        assert_eq!(sent.body, "{}");
    }

    #[test]
    fn a_message_without_an_id_keeps_that_of_its_record() {
        let sent = |body: &str| record(&letter(Kind::Message, body)).body;
        assert_eq!(sent(r#" {"roomId":"r","data":{}}"#), r#" {"id":"l","roomId":"r","data":{}}"#);
        for with_id in [r#"{"id":"m","data":1}"#, r#"{"data":1,"id":null}"#] {
            assert_eq!(sent(with_id), with_id);
        }
    }

    #[test]
    fn what_came_back_is_not_sent_once_more() {
        let mut redriven = Redriven::default();
        let (sendable, kept) = redriven.sort(vec![letter(Kind::Message, "{}"), letter(Kind::Unreadable, "x")]);
        assert_eq!((sendable.len(), kept[0].1.as_str()), (1, "its body is no JSON object: it would come back"));
        let (sendable, kept) = redriven.sort(vec![letter(Kind::Message, "{}"), letter(Kind::Message, "{ }")]);
        assert_eq!((sendable.len(), kept.len()), (1, 1));
        assert!(kept[0].1.starts_with("it came back"));
    }
}

//! Sending several records to a FIFO queue with as few calls as may be; each record's fate is known on its own.

use std::collections::HashSet;

use aws_sdk_sqs::{
    Client,
    types::{BatchResultErrorEntry, MessageAttributeValue, SendMessageBatchRequestEntry, SendMessageBatchResultEntry},
};

use super::QueueError;

/// Records in one call: the limit of `SendMessageBatch`.
const RECORDS: usize = 10;

/// Bytes of all records in one call. SQS takes 1 MiB, and took 256 KiB before August 2025; there is nothing to gain from more.
const BYTES: usize = 256 * 1024;

/// The message attribute that says why a record is in the dead-letter queue.
pub const REASON: &str = "reason";

/// A record for a FIFO queue.
#[derive(Clone, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) group: &'a str,
    pub(super) deduplication: &'a str,
    pub(super) body: &'a str,
    pub(super) reason: Option<&'a str>,
}

impl Outgoing<'_> {
    fn bytes(&self) -> usize {
        // The attribute's name, type and value count too.
        self.body.len() + self.reason.map_or(0, |reason| REASON.len() + "String".len() + reason.len())
    }

    fn entry(&self, id: usize) -> Result<SendMessageBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
        let entry = SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_group_id(self.group)
            .message_deduplication_id(self.deduplication)
            .message_body(self.body);
        match self.reason {
            None => entry.build(),
            Some(reason) => {
                let value = MessageAttributeValue::builder().data_type("String").string_value(reason).build()?;
                entry.message_attributes(REASON, value).build()
            }
        }
    }
}

/// Sends records in their order; says for each whether the queue has it.
pub(super) async fn send(
    client: &Client,
    url: &str,
    operation: &'static str,
    records: &[Outgoing<'_>],
) -> Vec<Result<(), QueueError>> {
    let mut results = Vec::with_capacity(records.len());
    let mut rest = records;
    while !rest.is_empty() {
        let (call, later) = rest.split_at(fitting(rest));
        results.extend(send_call(client, url, operation, call).await);
        rest = later;
    }
    results
}

/// How many of the records, at least one, go into one call.
fn fitting(records: &[Outgoing<'_>]) -> usize {
    let totals = records.iter().scan(0, |total, record| {
        *total += record.bytes();
        Some(*total)
    });
    totals.take(RECORDS).take_while(|total| *total <= BYTES).count().max(1)
}

async fn send_call(
    client: &Client,
    url: &str,
    operation: &'static str,
    records: &[Outgoing<'_>],
) -> Vec<Result<(), QueueError>> {
    let entries: Result<Vec<_>, _> = records.iter().enumerate().map(|(id, record)| record.entry(id)).collect();
    let sent = match entries {
        Ok(entries) => {
            let call = client.send_message_batch().queue_url(url).set_entries(Some(entries));
            call.send().await.map_err(QueueError::sdk(operation))
        }
        Err(error) => Err(QueueError::entry(operation, None, Some(&error.to_string()))),
    };
    let output = match sent {
        Ok(output) => output,
        Err(error) => {
            // One call, one error: every record of it hears the same.
            let text = error.to_string();
            return records.iter().map(|_| Err(QueueError::entry(operation, None, Some(&text)))).collect();
        }
    };
    // The call succeeds when entries fail; and an entry that is in neither list is not stored.
    let stored: HashSet<&str> = output.successful().iter().map(SendMessageBatchResultEntry::id).collect();
    let result = |id: usize| {
        let id = id.to_string();
        if stored.contains(id.as_str()) {
            return Ok(());
        }
        let failed = output.failed().iter().find(|entry| entry.id() == id);
        let code = failed.map(BatchResultErrorEntry::code);
        Err(QueueError::entry(operation, code, failed.and_then(BatchResultErrorEntry::message)))
    };
    (0..records.len()).map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_takes_ten_records_or_256_kib() {
        let body = "x".repeat(100 * 1024);
        let large = Outgoing { group: "g", deduplication: "d", body: &body, reason: None };
        let small = Outgoing { body: "x", reason: Some("why"), ..large.clone() };
        assert_eq!(fitting(&vec![small.clone(); 25]), 10);
        assert_eq!(fitting(&vec![large; 5]), 2);
        let huge = "x".repeat(300 * 1024);
        assert_eq!(fitting(&vec![Outgoing { body: &huge, ..small }; 2]), 1);
    }
}

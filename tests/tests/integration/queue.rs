//! FIFO queues through the real SDK: the calls in which records are sent, and the result for each record.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use shared::queue::sqs::SqsQueue;
use shared::queue::{Queue, QueueError, Record};
use shared::trace::TraceHeader;
use testkit::aws_endpoint::{Fault, Rule};
use testkit::aws_sdk::sdk_config;
use testkit::aws_server::{AwsServer, MAX_BYTES, QueuedMessage};
use testkit::fifo_queue::FifoQueue;

const QUEUE: &str = "jobs.fifo";

fn queue(aws: &AwsServer) -> SqsQueue {
    let config = aws_sdk_sqs::config::Builder::from(&sdk_config(&aws.url())).retry_config(RetryConfig::disabled());
    SqsQueue::new(Client::from_conf(config.build()), &aws.queue_url(QUEUE))
}

fn record(group: &str, id: &str) -> Record {
    Record {
        group_id: group.to_owned(),
        deduplication_id: id.to_owned(),
        body: format!("body of {id}"),
        reason: None,
        trace: None,
    }
}

fn dead_letter(group: &str, id: &str, body: &str, reason: &str) -> Record {
    Record { body: body.to_owned(), reason: Some(reason.to_owned()), ..record(group, id) }
}

/// The deduplication ids that each call has carried.
fn calls(aws: &AwsServer) -> Vec<Vec<String>> {
    let calls = aws.endpoint().calls_of("SendMessageBatch");
    let ids = calls.iter().map(|call| {
        let entries = call.body["Entries"].as_array().unwrap().iter();
        entries.map(|entry| entry["MessageDeduplicationId"].as_str().unwrap().to_owned()).collect()
    });
    ids.collect()
}

fn taken(aws: &AwsServer) -> Vec<String> {
    aws.messages(QUEUE).into_iter().filter_map(|message| message.deduplication_id).collect()
}

/// Each result as a letter, for confirmed, throttled, unavailable, refused, and not sent.
fn letters(results: &[Result<(), QueueError>]) -> String {
    let letter = |result: &Result<(), QueueError>| match result {
        Ok(()) => 'c',
        Err(QueueError::Throttled { .. }) => 't',
        Err(QueueError::Unavailable { .. }) => 'u',
        Err(QueueError::Refused { .. }) => 'r',
        Err(QueueError::NotSent) => 'n',
    };
    results.iter().map(letter).collect()
}

/// The contract of every queue; `taken` returns the records that it has taken so far.
async fn assert_is_a_queue(queue: impl Queue, taken: impl Fn() -> Vec<Record>) {
    assert!(queue.send(&[]).await.is_empty());
    let mut records: Vec<_> = (0..15).map(|number| record(["a", "b", "c"][number % 3], &number.to_string())).collect();
    records[4].reason = Some("why".to_owned());
    assert_eq!(letters(&queue.send(&records).await), "c".repeat(15));
    let of_group = |group: &str, records: &[Record]| {
        records.iter().filter(|record| record.group_id == group).cloned().collect::<Vec<_>>()
    };
    for group in ["a", "b", "c"] {
        assert_eq!(of_group(group, &taken()), of_group(group, &records), "a group's records, whole and in their order");
    }
    // A record that was sent before is confirmed again but taken once; in another group it is a different record.
    let again = [records[0].clone(), record("b", "0")];
    assert_eq!(letters(&queue.send(&again).await), "cc");
    assert_eq!(taken().len(), 16);
}

#[tokio::test]
async fn a_trace_goes_with_its_record_and_with_no_other() {
    let aws = AwsServer::start();
    let header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let of_trace = Record { trace: TraceHeader::sampled(Some(header)), ..record("a", "a1") };
    assert_eq!(letters(&queue(&aws).send(&[of_trace, record("b", "b1")]).await), "cc");
    let traces: Vec<_> = aws.messages(QUEUE).into_iter().map(|message| message.trace).collect();
    assert_eq!(traces, [Some(header.to_owned()), None]);
}

#[tokio::test]
async fn every_queue_does_the_same() {
    let fifo = FifoQueue::default();
    assert_is_a_queue(fifo.clone(), || fifo.sent()).await;
    let aws = AwsServer::start();
    let taken = || {
        let record = |message: QueuedMessage| Record {
            reason: message.attribute("reason").map(str::to_owned),
            group_id: message.group_id.unwrap(),
            deduplication_id: message.deduplication_id.unwrap(),
            body: message.body,
            trace: TraceHeader::sampled(message.trace.as_deref()),
        };
        aws.messages(QUEUE).into_iter().map(record).collect()
    };
    assert_is_a_queue(queue(&aws), taken).await;
}

#[tokio::test]
async fn a_groups_records_go_out_one_call_after_the_other() {
    let aws = AwsServer::start();
    let records = [record("a", "a1"), record("a", "a2"), record("b", "b1"), record("a", "a3"), record("b", "b2")];
    assert_eq!(letters(&queue(&aws).send(&records).await), "ccccc");
    assert_eq!(calls(&aws), [vec!["a1", "b1"], vec!["a2", "b2"], vec!["a3"]]);
    let messages = aws.messages(QUEUE);
    assert_eq!((messages[0].group_id.as_deref(), messages[0].body.as_str()), (Some("a"), "body of a1"));
    assert_eq!(messages[0].attribute("reason"), None);
}

#[tokio::test]
async fn nothing_to_send_is_no_call() {
    let aws = AwsServer::start();
    assert!(queue(&aws).send(&[]).await.is_empty() && queue(&aws).postpone(&[], 5).await.is_empty());
    assert!(aws.operations().is_empty());
}

#[tokio::test]
async fn after_an_entry_that_failed_nothing_more_of_its_group_is_sent() {
    let aws = AwsServer::start();
    aws.fault(Rule::on("SendMessageBatch", Fault::failed_entries(&[0], "InternalError")).times(1));
    let records = [record("a", "a1"), record("b", "b1"), record("a", "a2"), record("b", "b2")];
    assert_eq!(letters(&queue(&aws).send(&records).await), "ucnc");
    assert_eq!(taken(&aws), ["b1", "b2"]);
}

/// A throttle of a call, or of an entry, reaches the records as a throttle, by which callers decide.
#[tokio::test]
async fn a_throttle_of_a_call_or_of_an_entry_stays_one() {
    let of_entries = Fault::failed_entries(&[0, 1], "RequestThrottled");
    for fault in [Fault::throttling(), Fault::kms_throttling(), of_entries] {
        let aws = AwsServer::start();
        aws.fault(Rule::on("SendMessageBatch", fault));
        let records = [record("a", "a1"), record("b", "b1"), record("a", "a2")];
        assert_eq!(letters(&queue(&aws).send(&records).await), "ttn");
        assert_eq!(calls(&aws).len(), 1);
    }
}

#[tokio::test]
async fn a_call_without_an_answer_confirms_nothing_and_repeats_nothing() {
    let aws = AwsServer::start();
    aws.fault(Rule::on("SendMessageBatch", Fault::DropAfter).times(1));
    let records = [record("a", "a1"), record("a", "a2")];
    assert_eq!(letters(&queue(&aws).send(&records).await), "un");
    assert_eq!(taken(&aws), ["a1"], "it was taken, and nobody can know");
    assert_eq!(letters(&queue(&aws).send(&records).await), "cc");
    assert_eq!(taken(&aws), ["a1", "a2"]);
}

#[tokio::test]
async fn large_records_share_no_call() {
    let aws = AwsServer::start();
    let large = |group: &str| Record { body: "x".repeat(200 * 1024), ..record(group, group) };
    assert_eq!(letters(&queue(&aws).send(&[large("a"), large("b"), record("c", "c")]).await), "ccc");
    assert_eq!(calls(&aws), [vec!["a", "c"], vec!["b"]]);
}

#[tokio::test]
async fn a_dead_letter_is_taken_whatever_its_size() {
    let aws = AwsServer::start();
    let (long, reason) = ("x".repeat(MAX_BYTES), "because ".repeat(10_000));
    let records = [
        dead_letter("a", "small", "{", "not a JSON object"),
        dead_letter("b", "wordy", "{", &reason),
        dead_letter("c", "large", &long, "too large"),
        dead_letter("d", "both", &long.repeat(4), &reason),
        dead_letter("e", "empty", "", ""),
    ];
    assert_eq!(letters(&queue(&aws).send(&records).await), "ccccc");
    let mut messages = aws.messages(QUEUE);
    messages.sort_by(|one, other| one.group_id.cmp(&other.group_id));
    let [small, wordy, large, both, _] = &messages[..] else { panic!("{}", messages.len()) };
    assert_eq!((small.body.as_str(), small.attribute("reason")), ("{", Some("not a JSON object")));
    assert!(wordy.attribute("reason").unwrap().len() <= 1024);
    assert!(large.body.starts_with("xxx") && large.body.len() > MAX_BYTES - 2_048);
    assert_eq!(large.attribute("reason"), Some("too large (the body is cut, it had 262144 bytes)"));
    assert!(both.attribute("reason").unwrap().ends_with("(the body is cut, it had 1048576 bytes)"));
}

/// A record that is no dead letter is sent whole or not at all.
#[tokio::test]
async fn a_record_beyond_the_limit_is_refused_alone() {
    let aws = AwsServer::start();
    let huge = Record { body: "x".repeat(MAX_BYTES + 1), ..record("a", "huge") };
    assert_eq!(letters(&queue(&aws).send(&[huge, record("b", "b1")]).await), "rc");
}

#[tokio::test]
async fn records_are_postponed_ten_to_a_call_and_each_is_answered_for() {
    let aws = AwsServer::start();
    aws.fault(Rule::on("ChangeMessageVisibilityBatch", Fault::failed_entries(&[3], "ReceiptHandleIsInvalid")).times(1));
    let handles: Vec<_> = (0..12).map(|number| format!("handle-{number}")).collect();
    assert_eq!(letters(&queue(&aws).postpone(&handles, 7).await), "cccucccccccc");
    assert_eq!(aws.operations(), ["ChangeMessageVisibilityBatch"; 2]);
    let postponed = aws.postponed();
    assert_eq!(postponed.len(), 11);
    assert!(postponed.iter().all(|postponed| postponed.seconds == 7 && postponed.queue_url.ends_with(QUEUE)));
    assert!(postponed.iter().all(|postponed| postponed.receipt_handle != "handle-3"));

    aws.fault(Rule::on("ChangeMessageVisibilityBatch", Fault::throttling()));
    assert_eq!(letters(&queue(&aws).postpone(&handles[..2], 100_000).await), "tt");
    let call = &aws.endpoint().calls_of("ChangeMessageVisibilityBatch")[2];
    assert_eq!(call.body["Entries"][0]["VisibilityTimeout"], 43_200, "no more than SQS takes");
}

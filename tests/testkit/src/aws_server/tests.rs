//! Tests of the endpoint with the real SDKs, which validate SQS's checksums.

use aws_credential_types::Credentials;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};

use super::*;
use crate::aws_endpoint::Fault;

fn sqs(server: &AwsServer) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(server.url())
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_sqs::Client::from_conf(config)
}

fn events(server: &AwsServer) -> aws_sdk_eventbridge::Client {
    let config = aws_sdk_eventbridge::Config::builder()
        .behavior_version(aws_sdk_eventbridge::config::BehaviorVersion::latest())
        .region(aws_sdk_eventbridge::config::Region::new("us-east-1"))
        .endpoint_url(server.url())
        .credentials_provider(Credentials::for_tests())
        .build();
    aws_sdk_eventbridge::Client::from_conf(config)
}

fn reason(text: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(text).build().unwrap()
}

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    let entry = SendMessageBatchRequestEntry::builder().id(id).message_body(body);
    entry.message_group_id("room").message_deduplication_id(body).build().unwrap()
}

#[tokio::test]
async fn a_message_is_taken_with_its_group_and_attributes() {
    let server = AwsServer::start();
    let url = server.queue_url("broadcasts.fifo");
    let send = || {
        let send = sqs(&server).send_message().queue_url(&url).message_body("{\"a\":1}").message_group_id("room");
        send.message_deduplication_id("alice/1").message_attributes("reason", reason("bad_json")).send()
    };
    let first = send().await.unwrap();
    let second = send().await.unwrap();
    assert_eq!(first.message_id(), second.message_id());
    assert!(first.sequence_number() < second.sequence_number());

    let messages = server.messages("broadcasts.fifo");
    assert_eq!(messages.len(), 1, "the second is the same message");
    assert_eq!(messages, server.messages(&url));
    assert_eq!((messages[0].json(), messages[0].attribute("reason")), (json!({ "a": 1 }), Some("bad_json")));
    assert_eq!(messages[0].group_id.as_deref(), Some("room"));
    assert_eq!(server.operations(), ["SendMessage", "SendMessage"]);
}

/// The bytes are written out by hand from SQS's documentation of the checksum.
#[test]
fn checksums_are_of_the_documented_encoding() {
    let attributes = json!({ "b": { "DataType": "Number", "StringValue": "7" }, "a": { "DataType": "String", "StringValue": "xy" } });
    let bytes = b"\0\0\0\x01a\0\0\0\x06String\x01\0\0\0\x02xy\0\0\0\x01b\0\0\0\x06Number\x01\0\0\0\x017";
    assert_eq!(md5_of_attributes(&attributes), checksum::md5_hex(bytes));
    assert_eq!(checksum::md5_hex(b"hello"), "5d41402abc4b2a76b9719d911017c592");
}

#[tokio::test]
async fn a_fifo_queue_needs_a_group() {
    let server = AwsServer::start();
    let send = sqs(&server).send_message().queue_url(server.queue_url("q.fifo")).message_body("x");
    assert!(send.send().await.is_err());
    assert!(server.messages("q.fifo").is_empty());
}

#[tokio::test]
async fn entries_of_a_batch_fail_on_their_own() {
    let server = AwsServer::start();
    server.fault(Rule::on("SendMessageBatch", Fault::failed_entries(&[0, 2], "InternalError")).times(1));
    let batch = || {
        let entries = ["x", "y", "z"].map(|id| entry(id, &format!("body {id}")));
        let batch = sqs(&server).send_message_batch().queue_url(server.queue_url("q.fifo"));
        batch.set_entries(Some(entries.to_vec())).send()
    };
    let first = batch().await.unwrap();
    let ids: Vec<_> = first.failed().iter().map(|failed| (failed.id(), failed.code(), failed.sender_fault())).collect();
    assert_eq!(ids, [("x", "InternalError", false), ("z", "InternalError", false)]);
    assert_eq!(first.successful()[0].id(), "y");
    assert_eq!(server.messages("q.fifo").len(), 1);
    assert!(batch().await.unwrap().failed().is_empty());
    let bodies: Vec<_> = server.messages("q.fifo").into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["body y", "body x", "body z"]);
}

#[tokio::test]
async fn events_are_taken_and_fail_in_their_places() {
    let server = AwsServer::start();
    server.fault(Rule::on("PutEvents", Fault::failed_entries(&[1], "ThrottlingException")));
    let entry = |detail: &str| PutEventsRequestEntry::builder().source("test").detail_type("t").detail(detail).build();
    let put = events(&server).put_events().entries(entry("{\"a\":1}")).entries(entry("{\"a\":2}"));
    let put = put.entries(entry("{\"a\":3}")).send().await.unwrap();
    assert_eq!(put.failed_entry_count(), 1);
    let codes: Vec<_> =
        put.entries().iter().map(aws_sdk_eventbridge::types::PutEventsResultEntry::error_code).collect();
    assert_eq!(codes, [None, Some("ThrottlingException"), None]);
    let details: Vec<_> = server.events().iter().map(|event| event["Detail"].as_str().unwrap().to_owned()).collect();
    assert_eq!(details, ["{\"a\":1}", "{\"a\":3}"]);
}

#[tokio::test]
async fn calls_to_other_services_are_recorded_and_refused() {
    let server = AwsServer::start();
    assert!(sqs(&server).list_queues().send().await.is_err());
    assert_eq!(server.operations(), ["ListQueues"]);
    assert_eq!(server.calls()[0].status, Some(400));
}

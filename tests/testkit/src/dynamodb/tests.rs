//! Tests of the tables with the real SDK.

use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, KeysAndAttributes, Put, TransactWriteItem, WriteRequest};

use super::*;
use crate::aws_endpoint::Fault;

fn client(dynamodb: &DynamoDb) -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(dynamodb.url())
        .credentials_provider(Credentials::for_tests())
        .retry_config(RetryConfig::disabled())
        .build();
    Client::from_conf(config)
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn deletes(ids: impl IntoIterator<Item = String>) -> Vec<WriteRequest> {
    let delete = |id: String| {
        let key = DeleteRequest::builder().key("connectionId", text(&id)).key("roomId", text("room"));
        WriteRequest::builder().delete_request(key.build().unwrap()).build()
    };
    ids.into_iter().map(delete).collect()
}

/// The connections of a room, read from its index page by page, and the number of pages.
async fn page_room(client: &Client, room: &str, limit: i32) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut start) = (Vec::new(), 0, None);
    loop {
        let query = client.query().table_name(CONNECTIONS_TABLE).index_name(ROOM_INDEX).limit(limit);
        let query = query.key_condition_expression("roomId = :room").expression_attribute_values(":room", text(room));
        let page = query.set_exclusive_start_key(start).send().await.unwrap();
        pages += 1;
        for item in page.items() {
            assert!(item.contains_key("joinedAt") && item.contains_key("expiresAt") && !item.contains_key("userId"));
            ids.push(item["connectionId"].as_s().unwrap().clone());
        }
        start = page.last_evaluated_key;
        if start.is_none() {
            return (ids, pages);
        }
    }
}

#[tokio::test]
async fn seeded_rows_are_found_through_the_index_page_by_page() {
    let dynamodb = DynamoDb::start();
    dynamodb.seed(ConnectionRow::many("c", 250, "room"));
    dynamodb.seed([ConnectionRow::new("other", "elsewhere"), ConnectionRow::new("c7", "elsewhere")]);
    let (mut ids, pages) = page_room(&client(&dynamodb), "room", 100).await;
    ids.sort();
    assert_eq!((ids.len(), pages), (250, 3));
    assert_eq!(ids, dynamodb.connections_of_room("room"));
    assert_eq!(dynamodb.rooms_of_connection("c7"), ["elsewhere", "room"]);
    assert_eq!(dynamodb.count("Query"), 3);
    assert_eq!(dynamodb.calls_of("Query")[0].body["Limit"], 100);
}

#[tokio::test]
async fn logs_are_read_in_order_and_expire() {
    let dynamodb = DynamoDb::start();
    let row = |seq: u64| json!({ "roomId": "room", "seq": seq, "id": format!("m{seq}"), "expiresAt": 1 });
    dynamodb.seed_log([row(0), row(12), row(9), row(100)]);
    let seqs = || dynamodb.log("room").iter().map(|row| row["seq"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(seqs(), [9, 12, 100]);
    assert_eq!(dynamodb.log("room")[0]["id"], "m9");
    dynamodb.expire_log("room", 12);
    assert_eq!(seqs(), [100]);
}

#[tokio::test]
async fn a_batch_can_come_back_partly_unprocessed() {
    let dynamodb = DynamoDb::start();
    dynamodb.seed(ConnectionRow::many("c", 25, "room"));
    dynamodb.fault(Rule::on("BatchWriteItem", Fault::unprocessed_after(20)).times(1));
    dynamodb.fault(Rule::on("BatchWriteItem", Fault::unprocessed_after(0)).times(1));
    let client = client(&dynamodb);
    let mut requests = deletes((0..25).map(|number| format!("c{number}")));
    let mut left = Vec::new();
    while !requests.is_empty() {
        let batch = client.batch_write_item().request_items(CONNECTIONS_TABLE, requests).send().await.unwrap();
        requests = batch.unprocessed_items.and_then(|mut tables| tables.remove(CONNECTIONS_TABLE)).unwrap_or_default();
        left.push((requests.len(), dynamodb.rows().len()));
    }
    assert_eq!(left, [(5, 5), (5, 5), (0, 0)]);
    assert_eq!(dynamodb.count("BatchWriteItem"), 3);
}

#[tokio::test]
async fn calls_fail_as_the_sdk_knows_it() {
    let dynamodb = DynamoDb::start();
    let client = client(&dynamodb);
    let in_room = |room: &'static str| move |call: &Call| call.body["Item"]["roomId"]["S"] == room;
    dynamodb.fault(Rule::on("PutItem", Fault::throughput_exceeded()).when(in_room("a")));
    dynamodb.fault(Rule::on("PutItem", Fault::condition_failed()).after(1).times(1));
    dynamodb.fault(Rule::on("PutItem", Fault::internal_error()).times(1));
    let put = async |room: &str| {
        let put = client.put_item().table_name(MESSAGES_TABLE).item("roomId", text(room)).item("seq", number(1));
        put.send().await.err().map(|error| error.into_service_error().code().unwrap().to_owned())
    };
    assert_eq!(put("a").await.as_deref(), Some("ProvisionedThroughputExceededException"));
    assert_eq!(put("b").await.as_deref(), Some("InternalServerError"));
    assert_eq!(put("b").await.as_deref(), Some("ConditionalCheckFailedException"));
    assert_eq!(put("b").await, None);
    assert_eq!(put("a").await.as_deref(), Some("ProvisionedThroughputExceededException"));
    dynamodb.endpoint().clear_faults();
    assert_eq!(put("a").await, None);
    assert_eq!((dynamodb.log("a").len(), dynamodb.log("b").len()), (1, 1));
    let statuses: Vec<_> = dynamodb.calls_of("PutItem").iter().map(|call| call.status.unwrap()).collect();
    assert_eq!(statuses, [400, 500, 400, 200, 400, 200]);
}

#[tokio::test]
async fn a_transaction_is_cancelled_with_its_reasons() {
    let dynamodb = DynamoDb::start();
    dynamodb.fault(
        Rule::on("TransactWriteItems", Fault::transaction_cancelled(&["None", "ConditionalCheckFailed"])).times(1),
    );
    let client = client(&dynamodb);
    let put = |seq: u64| {
        let put = Put::builder().table_name(MESSAGES_TABLE).item("roomId", text("room")).item("seq", number(seq));
        TransactWriteItem::builder().put(put.condition_expression("attribute_not_exists(seq)").build().unwrap()).build()
    };
    let transact = async || {
        let sent = client.transact_write_items().transact_items(put(1)).transact_items(put(2)).send().await;
        let error = sent.err()?.into_service_error();
        let aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
            cancelled,
        ) = error
        else {
            panic!("{error:?}");
        };
        let reasons = cancelled.cancellation_reasons().iter();
        Some(reasons.map(|reason| reason.code().unwrap().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(transact().await.unwrap(), ["None", "ConditionalCheckFailed"]);
    assert!(dynamodb.log("room").is_empty());
    assert_eq!(transact().await, None);
    // The database's own cancellation has the same form.
    assert_eq!(transact().await.unwrap(), ["ConditionalCheckFailed", "ConditionalCheckFailed"]);
}

#[tokio::test]
async fn an_answer_can_be_lost_before_or_after_the_write() {
    let dynamodb = DynamoDb::start();
    dynamodb.fault(Rule::on("PutItem", Fault::DropBefore).times(1));
    dynamodb.fault(Rule::on("PutItem", Fault::DropAfter).times(1));
    let client = client(&dynamodb);
    let put = async |seq: u64| {
        let put = client.put_item().table_name(MESSAGES_TABLE).item("roomId", text("room"));
        put.item("seq", number(seq)).send().await
    };
    assert!(put(1).await.is_err());
    assert!(put(2).await.is_err());
    assert_eq!(dynamodb.log("room").len(), 1);
    assert_eq!(dynamodb.log("room")[0]["seq"], 2);
    let calls = dynamodb.calls_of("PutItem");
    assert!(calls.iter().all(|call| call.faulted && call.status.is_none()));
}

#[tokio::test]
async fn a_call_can_be_slow_or_never_end() {
    let dynamodb = DynamoDb::start();
    dynamodb.fault(Rule::on("DescribeTable", Fault::Delay(Duration::from_millis(50))).times(1));
    dynamodb.fault(Rule::on("DescribeTable", Fault::Hang));
    let client = client(&dynamodb);
    let started = Instant::now();
    client.describe_table().table_name(MESSAGES_TABLE).send().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(50));
    let hanging = client.describe_table().table_name(MESSAGES_TABLE).send();
    assert!(tokio::time::timeout(Duration::from_millis(100), hanging).await.is_err());
}

#[tokio::test]
async fn read_units_are_counted_by_what_is_read() {
    let dynamodb = DynamoDb::start();
    let row = |room: &str, seq: u64, bytes: usize| json!({ "roomId": room, "seq": seq, "data": "x".repeat(bytes) });
    dynamodb.seed_log([row("large", 1, 100_000), row("large", 2, 100_000), row("small", 1, 10)]);
    let client = client(&dynamodb);
    let query = |room: &str, consistent: bool| {
        let query = client.query().table_name(MESSAGES_TABLE).key_condition_expression("roomId = :room");
        let query = query.expression_attribute_values(":room", text(room)).consistent_read(consistent);
        query.projection_expression("seq")
    };
    let mut before = 0.0;
    let mut cost = || {
        let units = dynamodb.read_units() - before;
        before += units;
        units
    };
    query("large", true).send().await.unwrap();
    assert!((cost() - 49.0).abs() <= 1.0, "what is not returned is read all the same");
    query("large", false).limit(1).send().await.unwrap();
    assert!((cost() - 12.5).abs() <= 0.5);
    query("small", true).send().await.unwrap();
    assert_eq!(cost().to_string(), "1");
    query("empty", false).send().await.unwrap();
    assert_eq!(cost().to_string(), "0.5");
    let key = |room: &str| {
        std::collections::HashMap::from([("roomId".to_owned(), text(room)), ("seq".to_owned(), number(1))])
    };
    let keys = KeysAndAttributes::builder().keys(key("small")).keys(key("large")).keys(key("empty")).build().unwrap();
    client.batch_get_item().request_items(MESSAGES_TABLE, keys).send().await.unwrap();
    assert!((cost() - 13.5).abs() <= 0.5, "each row by itself");
}

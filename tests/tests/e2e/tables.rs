//! The contents of a stack's tables and queues, read with the AWS SDK past all of Roomcast.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, QueueAttributeName};
use testkit::history::RoomLog;
use testkit::stack::LocalStack;

use crate::wait::until;

/// A row of the table of connections.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) connection: String,
    pub(crate) user: String,
}

pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap()
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn read_text(item: &HashMap<String, AttributeValue>, name: &str) -> String {
    item[name].as_s().unwrap().clone()
}

/// The members' rows of a room, read from the table itself: an index may lag behind.
pub(crate) async fn rows(stack: &LocalStack, room: &str) -> Vec<Row> {
    let client = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
    let scan = client.scan().table_name(&stack.description().connections_table).consistent_read(true);
    let scan = scan.filter_expression("roomId = :room").expression_attribute_values(":room", text(room));
    let items = scan.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    items
        .iter()
        // The row with the room's published list is not a connection's.
        .filter(|item| item.contains_key("slot"))
        .map(|item| Row { connection: read_text(item, "connectionId"), user: read_text(item, "userId") })
        .collect()
}

/// The subjects in a room, sorted.
pub(crate) async fn users(stack: &LocalStack, room: &str) -> Vec<String> {
    let mut users: Vec<_> = rows(stack, room).await.into_iter().map(|row| row.user).collect();
    users.sort();
    users
}

/// Puts a row as it is left behind when API Gateway loses a `$disconnect`: there is no such connection.
pub(crate) async fn plant_row(stack: &LocalStack, room: &str, connection: &str, slot: u64, joined: Duration) {
    let client = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
    let put = client.put_item().table_name(&stack.description().connections_table);
    let put = put.item("connectionId", text(connection)).item("roomId", text(room)).item("userId", text("nobody"));
    let put = put.item("slot", number(slot)).item("joinedAt", number(millis(joined)));
    put.item("expiresAt", number(now().as_secs() + 3600)).send().await.unwrap();
}

/// Deletes a row in a room without anybody noticing.
pub(crate) async fn lose_row(stack: &LocalStack, room: &str, connection: &str) {
    let client = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
    let delete = client.delete_item().table_name(&stack.description().connections_table);
    delete.key("connectionId", text(connection)).key("roomId", text(room)).send().await.unwrap();
}

/// The numbers and ids of a room's log, ascending.
pub(crate) async fn log(stack: &LocalStack, room: &str) -> Vec<(u64, String)> {
    let client = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
    let query = client.query().table_name(&stack.description().messages_table).consistent_read(true);
    // Rows numbered 0 or below are no messages, but the room's fence, progress and head.
    let query = query.key_condition_expression("roomId = :room AND seq > :start");
    let query = query.expression_attribute_values(":room", text(room)).expression_attribute_values(":start", number(0));
    let items = query.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    let entry =
        |item: &HashMap<_, AttributeValue>| (item["seq"].as_n().unwrap().parse().unwrap(), read_text(item, "id"));
    items.iter().map(entry).collect()
}

/// The log of a room that must have this many messages, numbered one after another.
pub(crate) async fn whole_log(stack: &LocalStack, room: &str, count: usize) -> RoomLog {
    let entries = log(stack, room).await;
    assert_eq!(entries.len(), count, "the log of {room}: {entries:?}");
    let consecutive = entries.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1);
    assert!(consecutive, "the numbers of {room} are not consecutive: {entries:?}");
    RoomLog::new(room, entries)
}

/// Makes a message of a log expire, which reads respect at once and the table's TTL some time later.
pub(crate) async fn expire(stack: &LocalStack, room: &str, seq: u64) {
    let client = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
    let update = client.update_item().table_name(&stack.description().messages_table);
    let update = update.key("roomId", text(room)).key("seq", number(seq));
    let update = update.update_expression("SET expiresAt = :past");
    update.expression_attribute_values(":past", number(now().as_secs() - 1)).send().await.unwrap();
}

/// Puts an expired message into a log, which fan-out does not remember.
pub(crate) async fn plant_expired(stack: &LocalStack, room: &str, seq: u64) {
    let client = aws_sdk_dynamodb::Client::new(&stack.sdk_config());
    let put = client.put_item().table_name(&stack.description().messages_table);
    let put = put.item("roomId", text(room)).item("seq", number(seq)).item("id", text(&seq.to_string()));
    let put = put.item("from", text("nobody")).item("sentAt", number(0)).item("data", text("null"));
    put.item("appendedAt", number(0)).item("expiresAt", number(now().as_secs() - 1)).send().await.unwrap();
}

/// The URL of the queue with this logical id in the template.
pub(crate) async fn queue_url(stack: &LocalStack, logical_id: &str) -> String {
    let client = aws_sdk_sqs::Client::new(&stack.sdk_config());
    let urls = client.list_queues().send().await.unwrap();
    let name = format!("/roomcast-{logical_id}-");
    urls.queue_urls().iter().find(|url| url.contains(&name)).expect("a queue of the template").clone()
}

/// Writes to the queue as a producer does.
pub(crate) async fn enqueue(stack: &LocalStack, group: &str, deduplication: &str, body: &str) {
    enqueue_to(stack, &stack.description().queue_url, group, deduplication, body).await;
}

/// Writes to any FIFO queue.
pub(crate) async fn enqueue_to(stack: &LocalStack, queue_url: &str, group: &str, deduplication: &str, body: &str) {
    let client = aws_sdk_sqs::Client::new(&stack.sdk_config());
    let send = client.send_message().queue_url(queue_url).message_body(body);
    send.message_group_id(group).message_deduplication_id(deduplication).send().await.unwrap();
}

/// Seconds for which a message that is being looked at is hidden, so that those behind it are handed out.
const LOOKED_AT: i32 = 10;

/// Waits for a message of a queue whose body has this text. It stays, since scenarios share the queues, and is visible
/// again at once, as the others are.
pub(crate) async fn received(stack: &LocalStack, queue_url: &str, text: &str) -> Message {
    until(&format!("a message with {text} in {queue_url}"), async || look_for(stack, queue_url, text).await).await
}

/// Looks through all that a queue hands out.
async fn look_for(stack: &LocalStack, queue_url: &str, text: &str) -> Option<Message> {
    let client = aws_sdk_sqs::Client::new(&stack.sdk_config());
    let mut seen: Vec<Message> = Vec::new();
    loop {
        let receive = client.receive_message().queue_url(queue_url).max_number_of_messages(10);
        let receive = receive.visibility_timeout(LOOKED_AT).message_attribute_names("All");
        let page = receive.send().await.unwrap().messages.unwrap_or_default();
        let is_over = page.is_empty() || page.iter().any(|message| message.body().unwrap_or_default().contains(text));
        seen.extend(page);
        if is_over {
            break;
        }
    }
    for handle in seen.iter().filter_map(Message::receipt_handle) {
        let show = client.change_message_visibility().queue_url(queue_url).receipt_handle(handle);
        // Another scenario may have removed it.
        let _ = show.visibility_timeout(0).send().await;
    }
    seen.into_iter().find(|message| message.body().is_some_and(|body| body.contains(text)))
}

/// Waits for a dead letter whose body has this text; returns its reason.
pub(crate) async fn reason_of_dead_letter(stack: &LocalStack, text: &str) -> String {
    let letter = received(stack, &stack.description().dlq_url, text).await;
    let reason = letter.message_attributes().and_then(|attributes| attributes.get("reason"));
    reason.and_then(MessageAttributeValue::string_value).expect("the attribute `reason`").to_owned()
}

/// Changes how long a queue keeps a record invisible that was received and not deleted.
pub(crate) async fn set_visibility_timeout(stack: &LocalStack, queue_url: &str, seconds: u32) {
    let client = aws_sdk_sqs::Client::new(&stack.sdk_config());
    let set = client.set_queue_attributes().queue_url(queue_url);
    set.attributes(QueueAttributeName::VisibilityTimeout, seconds.to_string()).send().await.unwrap();
}

/// Has a queue hand out records at once.
pub(crate) async fn without_delay(stack: &LocalStack, queue_url: &str) {
    let client = aws_sdk_sqs::Client::new(&stack.sdk_config());
    let set = client.set_queue_attributes().queue_url(queue_url);
    set.attributes(QueueAttributeName::DelaySeconds, "0").send().await.unwrap();
}

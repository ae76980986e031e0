//! The rows of state and of members in the tables, read and written past all of Roomcast.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use testkit::stack::LocalStack;

use crate::tables::{enqueue_to, now};

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn client(stack: &LocalStack) -> Client {
    Client::new(&stack.sdk_config())
}

/// A row as it is in a table.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The number that an attribute of a row holds, if it is there.
pub(crate) fn read_number(item: &Item, name: &str) -> Option<u64> {
    item.get(name).map(|value| value.as_n().unwrap().parse().unwrap())
}

/// The rows of a room in the table of state, by their keys.
pub(crate) async fn state(stack: &LocalStack, room: &str) -> Vec<Item> {
    let query = client(stack).query().table_name(&stack.description().state_table).consistent_read(true);
    let query = query.key_condition_expression("roomId = :room").expression_attribute_values(":room", text(room));
    query.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap()
}

/// Puts a member's row for a connection that does not exist, so that no `$disconnect` ever comes.
pub(crate) async fn plant_member(stack: &LocalStack, room: &str, subject: &str) {
    let put = client(stack).put_item().table_name(&stack.description().connections_table);
    let put = put.item("connectionId", text(&ghost(subject))).item("roomId", text(room)).item("userId", text(subject));
    // Young enough for fan-out to take its 410 for a handshake under way, however slow the machine.
    let put = put.item("slot", number(7)).item("joinedAt", number(u64::try_from(now().as_millis()).unwrap() + 600_000));
    let put = put.item("memberOf", text(room)).item("listed", AttributeValue::Bool(true)).item("data", text("{}"));
    let put = put.item("presentUntil", number(now().as_secs() + 3_600));
    put.item("expiresAt", number(now().as_secs() + 3_600)).send().await.unwrap();
}

fn ghost(subject: &str) -> String {
    format!("{subject}=")
}

/// Has the lease of a planted member's row end now.
pub(crate) async fn end_lease(stack: &LocalStack, room: &str, subject: &str) {
    set(stack, &ghost(subject), room, "presentUntil", now().as_secs() - 1).await;
}

/// Has the lease of a connection's row be more than half over.
pub(crate) async fn age_lease(stack: &LocalStack, room: &str, connection: &str) {
    set(stack, connection, room, "presentUntil", now().as_secs() + 5).await;
}

/// The key of the row with what presence has published of a room.
fn published(room: &str) -> String {
    format!("presence/{room}")
}

/// The time at which presence last looked at a room, in milliseconds since the Unix epoch, if it ever has.
pub(crate) async fn looked_at(stack: &LocalStack, room: &str) -> Option<u64> {
    read_number(&row(stack, room, &published(room)).await, "readAt")
}

/// Makes a room look as if presence had not looked at it for long.
pub(crate) async fn forget_look(stack: &LocalStack, room: &str) {
    set(stack, &published(room), room, "readAt", 1).await;
}

/// Makes a room look as if nothing may be published of it for a while.
pub(crate) async fn hold(stack: &LocalStack, room: &str, time: Duration) {
    let until = u64::try_from((now() + time).as_millis()).unwrap();
    set(stack, &published(room), room, "nextAt", until).await;
}

/// Makes a room look as if its members had been too many for a list.
pub(crate) async fn plant_count(stack: &LocalStack, room: &str, count: u64) {
    let put = client(stack).put_item().table_name(&stack.description().connections_table);
    let put = put.item("connectionId", text(&published(room))).item("roomId", text(room));
    let put = put.item("rev", number(1)).item("count", number(count)).item("readAt", number(1));
    let put = put.item("last", text("{}")).item("by", text("")).item("nextAt", number(1));
    put.item("expiresAt", number(now().as_secs() + 3_600)).send().await.unwrap();
}

async fn set(stack: &LocalStack, connection: &str, room: &str, attribute: &str, value: u64) {
    let update = client(stack).update_item().table_name(&stack.description().connections_table);
    let update = update.key("connectionId", text(connection)).key("roomId", text(room));
    let update =
        update.update_expression("SET #attribute = :value").expression_attribute_names("#attribute", attribute);
    let update = update.condition_expression("attribute_exists(connectionId)");
    update.expression_attribute_values(":value", number(value)).send().await.unwrap();
}

/// A connection's row in a room, empty if there is none.
pub(crate) async fn row(stack: &LocalStack, room: &str, connection: &str) -> Item {
    let get = client(stack).get_item().table_name(&stack.description().connections_table).consistent_read(true);
    let got = get.key("connectionId", text(connection)).key("roomId", text(room)).send().await.unwrap();
    got.item.unwrap_or_default()
}

/// Sends a tick, which says that something may have changed in a room, as `session` does.
pub(crate) async fn tick(stack: &LocalStack, room: &str) {
    let queue = stack.description().presence_queue_url.as_deref().expect("a queue of ticks");
    let body = json!({ "v": 1, "roomId": room }).to_string();
    enqueue_to(stack, queue, room, &now().as_nanos().to_string(), &body).await;
}

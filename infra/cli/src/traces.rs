//! The traces of a trial run in a stack, and their removal: rows of its rooms and subjects, and dead letters.

use std::collections::HashMap;

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use shared::queue::REASON;

use crate::{failure::Failure, letters::Letter, stack::Stack};

/// The most dead letters of each room that are removed at the end.
const LETTERS: usize = 5;

/// The most receives in search of one of them, each of ten letters at most.
const LOOKS: usize = 100;

/// Seconds for which a letter that is being looked at stays hidden.
const HIDDEN_SECONDS: i32 = 5;

/// A row of a table.
pub type Row = HashMap<String, AttributeValue>;

/// The rooms and subjects of a run, whose names are random.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    /// The rooms.
    pub rooms: Vec<String>,
    /// The subjects that connected.
    pub subjects: Vec<String>,
}

impl Traces {
    /// Removes everything.
    ///
    /// # Errors
    /// When a table or the queue does not let it.
    pub async fn remove(&self, stack: &Stack) -> Result<(), Failure> {
        let client = Client::new(&stack.sdk);
        let (connections, messages) = (stack.output("ConnectionsTable")?, stack.output("MessagesTable")?);
        for row in self.members(stack).await? {
            delete(&client, connections, &row, ["connectionId", "roomId"]).await?;
        }
        for subject in &self.subjects {
            let rows = query(&client, (connections, None), "connectionId", &format!("subject/{subject}")).await?;
            for row in rows {
                delete(&client, connections, &row, ["connectionId", "roomId"]).await?;
            }
        }
        for room in &self.rooms {
            // Rows with numbers of 0 and below are among them: the fence, progress.
            for row in query(&client, (messages, None), "roomId", room).await? {
                delete(&client, messages, &row, ["roomId", "seq"]).await?;
            }
            if let Some(state) = stack.optional_output("StateTable") {
                for row in query(&client, (state, None), "roomId", room).await? {
                    delete(&client, state, &row, ["roomId", "key"]).await?;
                }
            }
            for row in query(&client, (connections, None), "connectionId", &format!("presence/{room}")).await? {
                delete(&client, connections, &row, ["connectionId", "roomId"]).await?;
            }
            congestion(stack, &client, room).await?;
            for _ in 0..LETTERS {
                if take_letter(stack, room).await?.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The rows of connections in the rooms.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn members(&self, stack: &Stack) -> Result<Vec<Row>, Failure> {
        let client = Client::new(&stack.sdk);
        let table = stack.output("ConnectionsTable")?;
        let mut rows = Vec::new();
        for room in &self.rooms {
            rows.extend(query(&client, (table, Some("roomId-index")), "roomId", room).await?);
        }
        Ok(rows)
    }
}

/// Deletes the notes on the room's groups, should they have been behind.
async fn congestion(stack: &Stack, client: &Client, room: &str) -> Result<(), Failure> {
    let table = stack.output("CongestionTable")?;
    for group in [room.to_owned(), format!("{room}/0")] {
        for scope in [format!("group/{group}"), "rooms".to_owned()] {
            let row = [("scope", scope), ("groupId", group.clone())];
            let row = row.map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).into_iter().collect();
            delete(client, table, &row, ["scope", "groupId"]).await?;
        }
    }
    Ok(())
}

async fn query(
    client: &Client,
    (table, index): (&str, Option<&str>),
    key: &str,
    value: &str,
) -> Result<Vec<Row>, Failure> {
    let query = client.query().table_name(table).set_index_name(index.map(str::to_owned));
    let query = query.key_condition_expression("#key = :value").expression_attribute_names("#key", key);
    let query = query.expression_attribute_values(":value", AttributeValue::S(value.to_owned()));
    let rows = query.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await;
    rows.map_err(Failure::call(format!("rows of {value} were to be looked up")))
}

async fn delete(client: &Client, table: &str, row: &Row, keys: [&str; 2]) -> Result<(), Failure> {
    let key = |name: &str| Some((name.to_owned(), row.get(name)?.clone()));
    let delete = client.delete_item().table_name(table).set_key(Some(keys.into_iter().filter_map(key).collect()));
    delete.send().await.map(drop).map_err(Failure::call("a row was to be removed"))
}

/// Takes a dead letter of the room out of the queue, if there is one. Letters of others become visible after some
/// seconds: at once, they would be handed out again and again before those behind them.
///
/// # Errors
/// When the queue does not answer.
pub async fn take_letter(stack: &Stack, room: &str) -> Result<Option<Letter>, Failure> {
    take(&aws_sdk_sqs::Client::new(&stack.sdk), stack.output("DlqUrl")?, room).await
}

/// Takes a letter of the room out of the queue with this URL. It does not wait for letters that others are looking at,
/// since nobody else looks at its own.
///
/// # Errors
/// When the queue does not answer.
pub async fn take(client: &aws_sdk_sqs::Client, url: &str, room: &str) -> Result<Option<Letter>, Failure> {
    for _ in 0..LOOKS {
        let receive = client.receive_message().queue_url(url).max_number_of_messages(10);
        let receive = receive.visibility_timeout(HIDDEN_SECONDS).message_attribute_names(REASON);
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::MessageGroupId);
        let received = receive.send().await.map_err(Failure::call("dead letters were to be read"))?;
        if received.messages().is_empty() {
            break;
        }
        let letters = received.messages.unwrap_or_default().into_iter().map(Letter::of);
        let mut ours = letters.filter(|letter| letter.group_id.as_deref() == Some(room));
        let Some(first) = ours.next() else { continue };
        let deleted = client.delete_message().queue_url(url).receipt_handle(&first.receipt_handle).send().await;
        deleted.map_err(Failure::call("a dead letter was to be removed"))?;
        // Other letters of the room are found by the next call.
        for letter in ours {
            let show = client.change_message_visibility().queue_url(url).visibility_timeout(0);
            // A letter that cannot be made visible now is so after some seconds.
            let _ = show.receipt_handle(letter.receipt_handle).send().await;
        }
        return Ok(Some(first));
    }
    Ok(None)
}

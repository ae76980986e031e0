//! The rooms' state: of each key the greatest message. The `State` table: PK `roomId`, SK `key`.
//!
//! State is a view of the log. A message is put on condition that it is greater than the one that is there, so messages
//! may be put in any order, any number of times, by anybody. A removal and an expired value are rows, too: they read as
//! absent, and keep older messages from coming back. A row that is beyond its `expiresAt` counts as deleted, whether or
//! not the table has done so already.

use std::sync::Arc;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::put_item::{PutItemError, PutItemOutput},
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use serde_json::value::RawValue;

use super::StoreError;
use crate::{
    clock::Clock,
    item::{Item, Unreadable, UnreadableRows, number, read_number, read_optional_number, read_text, text},
    message::LoggedMessage,
    order::Rank,
    room::RoomId,
};

/// Rows in one read at the most.
const PAGE_ROWS: u32 = 500;

/// The value of a key, or its removal.
#[derive(Clone, Debug)]
pub struct StateValue {
    /// The key.
    pub key: String,
    /// The message's place in the order of its key.
    pub rank: Rank,
    /// The sender.
    pub from: String,
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub sent_at: u64,
    /// Its content; `None` of a removal.
    pub data: Option<Box<RawValue>>,
    /// When it reads as absent, in milliseconds since the Unix epoch, if it ever does.
    pub until: Option<u64>,
}

impl StateValue {
    /// The value that a message gives its key; `None` for a message without a key.
    #[must_use]
    pub fn of(logged: &LoggedMessage) -> Option<Self> {
        let message = &logged.message;
        Some(Self {
            key: message.key.clone()?,
            rank: logged.rank(),
            from: message.from.clone(),
            sent_at: message.sent_at,
            data: (!message.remove).then(|| message.data.clone()),
            until: message.until(),
        })
    }

    /// Its content, unless it reads as absent at a time in milliseconds since the Unix epoch.
    #[must_use]
    pub fn data_at(&self, now: u64) -> Option<&RawValue> {
        self.data.as_deref().filter(|_| self.until.is_none_or(|until| until > now))
    }

    /// The time for which it was to last from when it was accepted, in seconds.
    #[must_use]
    pub fn ttl_seconds(&self) -> Option<u64> {
        self.until.map(|until| until.saturating_sub(self.sent_at) / 1_000)
    }
}

/// The result of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The message is its key's value now.
    Written,
    /// The key has this message already, or a greater one.
    Superseded,
}

/// Some of a room's rows, ascending by key as DynamoDB sorts them: by their bytes.
#[derive(Debug, Default)]
pub struct StateRows {
    /// The rows.
    pub values: Vec<StateValue>,
    /// The last key that was read, if there is more after it.
    pub next: Option<String>,
}

/// The state table.
#[derive(Clone, Debug)]
pub struct StateTable<C> {
    client: Client,
    table: Arc<str>,
    clock: C,
}

impl<C: Clock> StateTable<C> {
    /// The table with this name.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), clock }
    }

    /// Makes a message its key's value, unless that has a greater one. A removal is kept until `log_expires_at`. A
    /// value that has an end is kept for `retention_seconds` after it, and at least until `log_expires_at`. So each is
    /// kept for as long as the log could deliver an older message. Times are in seconds since the Unix epoch.
    ///
    /// A row that is there already, with this message or a greater one, is kept at least until `log_expires_at`, too.
    /// For example, with a retention of an hour:
    ///
    /// ```text
    /// 12:00  v6 removes the key, which is to be forgotten at 13:00
    /// 12:30  a late v5 is logged until 13:30, and superseded: so v6 is forgotten at 13:30, too
    /// 13:10  the log still has v5, and the state still says that v6 has removed the key
    /// ```
    ///
    /// A throttled write is tried again by the SDK, as often as any call, before it is an error.
    ///
    /// # Errors
    /// When the table does not take it.
    pub async fn put(
        &self,
        room: &RoomId,
        value: &StateValue,
        log_expires_at: u64,
        retention_seconds: u64,
    ) -> Result<Put, StoreError> {
        let expires_at = match (&value.data, value.until) {
            (Some(_), None) => None,
            (Some(_), Some(until)) => Some(log_expires_at.max(until.div_ceil(1_000) + retention_seconds)),
            (None, _) => Some(log_expires_at),
        };
        let put = || {
            self.client
                .put_item()
                .table_name(&*self.table)
                .set_item(Some(to_item(room, value, expires_at)))
                .condition_expression(
                    "attribute_not_exists(#key) OR #version < :version OR (#version = :version AND #seq < :seq) OR #expiresAt <= :now",
                )
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .expression_attribute_names("#key", "key")
                .expression_attribute_names("#version", "version")
                .expression_attribute_names("#seq", "seq")
                .expression_attribute_names("#expiresAt", "expiresAt")
                .expression_attribute_values(":version", number(value.rank.version))
                .expression_attribute_values(":seq", number(value.rank.seq))
                .expression_attribute_values(":now", number(self.clock.unix_seconds()))
        };
        loop {
            let Some(there) = conditional(put().send().await)? else { return Ok(Put::Written) };
            if self.keep_until(there, log_expires_at).await? {
                return Ok(Put::Superseded);
            }
        }
    }

    /// Keeps a row at least until a time. Returns false if another writer has changed it meanwhile.
    async fn keep_until(&self, mut row: Item, expires_at: u64) -> Result<bool, StoreError> {
        if !read_number(&row, "expiresAt").is_ok_and(|current| current < expires_at) {
            return Ok(true);
        }
        let same = |name: &str| row.get(name).cloned().unwrap_or(AttributeValue::Null(true));
        let (version, seq) = (same("version"), same("seq"));
        row.insert("expiresAt".into(), number(expires_at));
        let put = self
            .client
            .put_item()
            .table_name(&*self.table)
            .set_item(Some(row))
            .condition_expression("#version = :version AND #seq = :seq AND #expiresAt < :expiresAt")
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#seq", "seq")
            .expression_attribute_names("#expiresAt", "expiresAt")
            .expression_attribute_values(":version", version)
            .expression_attribute_values(":seq", seq)
            .expression_attribute_values(":expiresAt", number(expires_at));
        Ok(conditional(put.send().await)?.is_none())
    }

    /// A key's row; strongly consistent.
    ///
    /// # Errors
    /// When the table does not answer, or throttles, or the row cannot be read.
    pub async fn get(&self, room: &RoomId, key: &str) -> Result<Option<StateValue>, StoreError> {
        const OPERATION: &str = "GetItem of a room's state";
        let get = self.client.get_item().table_name(&*self.table).consistent_read(true);
        let output = get.key("roomId", text(room.as_str())).key("key", text(key)).send().await;
        let item = output.map_err(StoreError::of_call(OPERATION))?.item;
        let unreadable = |Unreadable(attribute)| StoreError::Unavailable {
            operation: OPERATION,
            source: format!("the row's `{attribute}` cannot be read").into(),
        };
        item.as_ref().filter(|item| !self.is_expired(item)).map(read_value).transpose().map_err(unreadable)
    }

    fn is_expired(&self, item: &Item) -> bool {
        read_number(item, "expiresAt").is_ok_and(|expires_at| expires_at <= self.clock.unix_seconds())
    }

    /// So many rows after a key, or from the beginning after an empty one; strongly consistent, and at most 500.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn page(&self, room: &RoomId, after: &str, rows: u32) -> Result<StateRows, StoreError> {
        let rows = i32::try_from(rows.clamp(1, PAGE_ROWS)).unwrap_or(i32::MAX);
        let query = self.client.query().table_name(&*self.table).consistent_read(true).limit(rows);
        let query = query.expression_attribute_values(":room", text(room.as_str()));
        let query = if after.is_empty() {
            query.key_condition_expression("roomId = :room")
        } else {
            query
                .key_condition_expression("roomId = :room AND #key > :after")
                .expression_attribute_names("#key", "key")
                .expression_attribute_values(":after", text(after))
        };
        let output = query.send().await.map_err(StoreError::of_call("Query of a room's state"))?;
        let last = output.last_evaluated_key.as_ref().and_then(|key| read_text(key, "key").ok());
        let mut page = StateRows { values: Vec::new(), next: last.map(str::to_owned) };
        let mut unreadable = UnreadableRows::default();
        for item in output.items.unwrap_or_default().into_iter().filter(|item| !self.is_expired(item)) {
            match read_value(&item) {
                Ok(value) => page.values.push(value),
                Err(row) => unreadable.add(row),
            }
        }
        unreadable.warn(room);
        Ok(page)
    }
}

/// The row because of which a put's condition failed, as far as the table returns it; `None` if the put was carried
/// out.
fn conditional(put: Result<PutItemOutput, SdkError<PutItemError>>) -> Result<Option<Item>, StoreError> {
    let Err(error) = put else { return Ok(None) };
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(failed)) => {
            Ok(Some(failed.item().cloned().unwrap_or_default()))
        }
        _ => Err(StoreError::of_call("PutItem of a room's state")(error)),
    }
}

fn to_item(room: &RoomId, value: &StateValue, expires_at: Option<u64>) -> Item {
    let mut item = Item::from([
        ("roomId".into(), text(room.as_str())),
        ("key".into(), text(&value.key)),
        ("version".into(), number(value.rank.version)),
        ("seq".into(), number(value.rank.seq)),
        ("from".into(), text(&value.from)),
        ("sentAt".into(), number(value.sent_at)),
    ]);
    match &value.data {
        Some(data) => item.insert("data".into(), text(data.get())),
        None => item.insert("removed".into(), AttributeValue::Bool(true)),
    };
    if let Some(until) = value.until {
        item.insert("until".into(), number(until));
    }
    if let Some(expires_at) = expires_at {
        item.insert("expiresAt".into(), number(expires_at));
    }
    item
}

fn read_value(item: &Item) -> Result<StateValue, Unreadable> {
    let json = (!item.contains_key("removed")).then(|| read_text(item, "data")).transpose()?;
    let data = json.map(|json| RawValue::from_string(json.to_owned())).transpose().map_err(|_| Unreadable("data"))?;
    Ok(StateValue {
        key: read_text(item, "key")?.to_owned(),
        rank: Rank { version: read_number(item, "version")?, seq: read_number(item, "seq")? },
        from: read_text(item, "from")?.to_owned(),
        sent_at: read_number(item, "sentAt")?,
        data,
        until: read_optional_number(item, "until")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(data: Option<&str>, until: Option<u64>) -> StateValue {
        StateValue {
            key: "k".into(),
            rank: Rank { version: 3, seq: 9 },
            from: "eu".into(),
            sent_at: 1_000,
            data: data.map(|data| RawValue::from_string(data.into()).unwrap()),
            until,
        }
    }

    #[test]
    fn values_and_removals_read_back() {
        let room = RoomId::parse("r").unwrap();
        let read = read_value(&to_item(&room, &value(Some("[1]"), Some(31_000)), Some(7))).unwrap();
        assert_eq!((read.rank, read.data.as_deref().map(RawValue::get)), (Rank { version: 3, seq: 9 }, Some("[1]")));
        assert_eq!((read.ttl_seconds(), read.sent_at, read.from.as_str()), (Some(30), 1_000, "eu"));
        let read = read_value(&to_item(&room, &value(None, None), Some(7))).unwrap();
        assert!(read.data.is_none() && read.ttl_seconds().is_none());
        let mut item = to_item(&room, &value(None, None), None);
        item.remove("seq");
        assert_eq!(read_value(&item).unwrap_err(), Unreadable("seq"));
        assert!(!item.contains_key("expiresAt"));
    }

    #[test]
    fn a_value_reads_as_absent_from_its_end_on() {
        let timed = value(Some("1"), Some(31_000));
        assert!(timed.data_at(30_999).is_some() && timed.data_at(31_000).is_none());
        assert!(value(Some("1"), None).data_at(u64::MAX).is_some() && value(None, None).data_at(0).is_none());
    }
}

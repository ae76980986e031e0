//! The `Connections` table row by row, for the sweep: rows of connections, which are deleted if they were left behind,
//! and rows of rooms' presence.

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use serde::{Deserialize, Serialize};

use super::{StoreError, connections::is_present, presence, subjects::KEY_PREFIX};
use crate::{
    connection::ConnectionId,
    item::{Item, Unreadable, number, read_number, read_optional_number, read_text, text},
    room::RoomId,
};

/// The key of a row, after which a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RowKey {
    connection_id: String,
    room_id: String,
}

/// A row: a connection in a room, or among those of its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The connection.
    pub connection: ConnectionId,
    /// Its subject, if the row says so.
    pub subject: Option<String>,
    /// When the row was put, in milliseconds since the Unix epoch.
    pub joined_at: u64,
    /// When it expires, in seconds since the Unix epoch.
    pub expires_at: u64,
    /// Whether presence or lifecycle events count the connection in the row's room.
    pub is_present: bool,
    key: RowKey,
}

impl Row {
    /// The room that the connection is in; `None` if the row is one among those of its subject.
    #[must_use]
    pub fn room(&self) -> Option<RoomId> {
        RoomId::parse(&self.key.room_id).ok().filter(|_| !self.key.connection_id.starts_with(KEY_PREFIX))
    }
}

/// A room with members, as its presence was last published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OccupiedRoom {
    /// The room.
    pub room: RoomId,
    /// When its members' rows were last read, in milliseconds since the Unix epoch.
    pub read_at: u64,
}

/// A page of the table.
#[derive(Debug, Default)]
pub struct RowPage {
    /// Its rows of connections. Those that cannot be read are left out.
    pub rows: Vec<Row>,
    /// The rooms with members among its rows of rooms' presence.
    pub occupied: Vec<OccupiedRoom>,
    /// The number of rows that were read, unreadable ones among them.
    pub examined: usize,
    /// The start of the next page, if there is one.
    pub next: Option<RowKey>,
}

/// The `Connections` table, row by row.
#[derive(Clone, Debug)]
pub struct RowTable {
    client: Client,
    table: Arc<str>,
}

impl RowTable {
    /// The table with this name.
    #[must_use]
    pub fn new(client: Client, table: &str) -> Self {
        Self { client, table: table.into() }
    }

    /// Reads at most `limit` rows after one, in no order that means anything; eventually consistent.
    ///
    /// # Errors
    /// When the table does not answer, or throttles; the SDK has tried it again by then.
    pub async fn page(&self, after: Option<&RowKey>, limit: u32) -> Result<RowPage, StoreError> {
        let start = after.map(RowKey::to_item);
        let page = self
            .client
            .scan()
            .table_name(&*self.table)
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(StoreError::of_call("Scan of connections"))?;
        let examined = page.items().len();
        let (presence, connections): (Vec<_>, Vec<_>) = page.items().iter().partition(|item| is_presence(item));
        let rows: Vec<_> = connections.iter().filter_map(|item| read_row(item).ok()).collect();
        let occupied = presence.into_iter().filter_map(read_occupied).collect();
        if rows.len() < connections.len() {
            tracing::warn!(rows = connections.len() - rows.len(), "rows that cannot be read are left out");
        }
        let next = page.last_evaluated_key.as_ref().and_then(|key| RowKey::read(key).ok());
        Ok(RowPage { rows, occupied, examined, next })
    }

    /// Deletes a row unless it was put again since it was read; says whether it is gone.
    ///
    /// # Errors
    /// When the table does not take it, or throttles; the SDK has tried it again by then.
    pub async fn remove(&self, row: &Row) -> Result<bool, StoreError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&*self.table)
            .key("connectionId", text(&row.key.connection_id))
            .key("roomId", text(&row.key.room_id))
            .condition_expression("attribute_not_exists(joinedAt) OR joinedAt = :joinedAt")
            .expression_attribute_values(":joinedAt", number(row.joined_at))
            .send()
            .await;
        Ok(StoreError::unless_condition_failed("DeleteItem of a connection", deleted)?.is_some())
    }
}

impl RowKey {
    pub(super) fn to_item(&self) -> Item {
        Item::from([("connectionId".into(), text(&self.connection_id)), ("roomId".into(), text(&self.room_id))])
    }

    pub(super) fn read(item: &Item) -> Result<Self, Unreadable> {
        let (connection_id, room_id) = (read_text(item, "connectionId")?, read_text(item, "roomId")?);
        Ok(Self { connection_id: connection_id.to_owned(), room_id: room_id.to_owned() })
    }
}

/// Whether a row is a room's presence.
fn is_presence(item: &Item) -> bool {
    read_text(item, "connectionId").is_ok_and(|key| key.starts_with(presence::KEY_PREFIX))
}

/// The room of a row of presence; `None` if it has no members, or the row cannot be read.
fn read_occupied(item: &Item) -> Option<OccupiedRoom> {
    let everybody = read_optional_number(item, "everybody").ok()?.or_else(|| read_number(item, "count").ok())?;
    let (room, read_at) = (RoomId::parse(read_text(item, "roomId").ok()?).ok()?, read_number(item, "readAt").ok()?);
    (everybody > 0).then_some(OccupiedRoom { room, read_at })
}

fn read_row(item: &Item) -> Result<Row, Unreadable> {
    let key = RowKey::read(item)?;
    let (connection, subject) = match key.connection_id.strip_prefix(KEY_PREFIX) {
        Some(subject) => (ConnectionId::new(&key.room_id), Some(subject.to_owned())),
        None => (ConnectionId::new(&key.connection_id), read_text(item, "userId").ok().map(str::to_owned)),
    };
    let (joined_at, expires_at) = (read_number(item, "joinedAt")?, read_number(item, "expiresAt")?);
    Ok(Row { connection, subject, joined_at, expires_at, is_present: is_present(item), key })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(connection: &str, room: &str) -> Item {
        Item::from([
            ("connectionId".into(), text(connection)),
            ("roomId".into(), text(room)),
            ("userId".into(), text("alice")),
            ("joinedAt".into(), number(5)),
            ("expiresAt".into(), number(6)),
        ])
    }

    #[test]
    fn a_row_is_of_a_connection_in_a_room_or_of_one_of_a_subject() {
        let member = read_row(&item("c=", "r")).unwrap();
        assert_eq!((member.connection.as_str(), member.room().unwrap().as_str()), ("c=", "r"));
        assert_eq!(member.subject.as_deref(), Some("alice"));
        let of_subject = read_row(&item("subject/bob", "c=")).unwrap();
        assert_eq!((of_subject.connection.as_str(), of_subject.subject.as_deref()), ("c=", Some("bob")));
        assert_eq!(of_subject.room(), None);
        assert_eq!(read_row(&Item::new()), Err(Unreadable("connectionId")));
        assert!(is_presence(&item("presence/r", "r")) && !is_presence(&item("subject/bob", "c=")));
    }

    #[test]
    fn a_room_is_occupied_by_whoever_is_counted_in_it() {
        let row = |numbers: &[(&str, u64)]| {
            let mut row = item("presence/r", "r");
            row.extend(numbers.iter().map(|(name, value)| ((*name).to_owned(), number(*value))));
            read_occupied(&row).map(|occupied| (occupied.room.to_string(), occupied.read_at))
        };
        let occupied = Some(("r".to_owned(), 7));
        assert_eq!(row(&[("count", 0), ("everybody", 1), ("readAt", 7)]), occupied, "nobody is listed");
        assert_eq!(row(&[("count", 1), ("readAt", 7)]), occupied);
        assert_eq!(row(&[("count", 0), ("everybody", 0), ("readAt", 7)]), None);
        assert_eq!(row(&[("count", 1)]), None, "it cannot be read");
    }

    #[test]
    fn a_key_is_kept_as_text() {
        let key = RowKey::read(&item("c=", "r")).unwrap();
        let kept = serde_json::to_string(&key).unwrap();
        assert_eq!(kept, r#"{"connectionId":"c=","roomId":"r"}"#);
        assert_eq!(serde_json::from_str::<RowKey>(&kept).unwrap(), key);
    }
}

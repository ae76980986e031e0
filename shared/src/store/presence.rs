//! Who is in a room, as it was last published, and as the members' rows say.
//!
//! What was published is a row of the `Connections` table that is in no index: PK `connectionId` = `presence/ROOM`, SK `roomId` = the
//! room. Members are connections' rows with the attribute `memberOf`; `members-index` (HASH `memberOf`, RANGE `userId`) has them sorted
//! by subject.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::KeysAndAttributes,
};
use serde::{Deserialize, Serialize};

use super::{
    StoreError,
    item::{Item, Unreadable, number, read_number, read_optional_number, read_text, text},
};
use crate::{backoff::Backoff, clock::Clock, presence::Members, room::RoomId};

mod index;

pub use index::{IndexCursor, IndexPage, MemberPage, PresentRow};

/// The name that the template gives the index of members.
pub const MEMBERS_INDEX: &str = "members-index";

/// What the keys of these rows begin with. No connection has such an id.
pub(super) const KEY_PREFIX: &str = "presence/";

/// How long a row is kept after it was last written, in seconds: longer than any lease, and than the tick that it was published for is
/// in its queue. By the row that tick has told what nobody was told at first.
const KEPT_SECONDS: u64 = 2 * 24 * 60 * 60;

/// Keys in one read: the limit of `BatchGetItem`.
const READ_BATCH: usize = 100;

/// Rounds of a batch: the first, and those for what the table did not read because it was throttling.
const ROUNDS: u32 = 4;

/// The waits between those rounds.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(500) };

const GET: &str = "GetItem of a room's presence";
const BATCH_GET: &str = "BatchGetItem of rooms' presence";
const PUT: &str = "PutItem of a room's presence";
const NOTE: &str = "UpdateItem of a room's presence";

/// A room's presence as it was last published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceRow {
    /// The version of what is published; rises with each publication, and is at least the time of it in milliseconds since the Unix
    /// epoch.
    pub rev: u64,
    /// Members whom the room's connections may see: distinct subjects.
    pub count: u64,
    /// These members, unless they are too many for a list.
    pub members: Option<Members>,
    /// All members, those among them whom only events tell of.
    pub everybody: u64,
    /// The others of [`Self::everybody`], unless they are not known by name.
    pub unlisted: Option<BTreeSet<String>>,
    /// How it became so.
    pub last: LastChange,
    /// The id of the tick that it was published for. One that comes back has `last` sent again.
    pub by: String,
    /// Before this nothing is published again, in milliseconds since the Unix epoch.
    pub next_at: u64,
    /// When the members' rows were last read, in milliseconds since the Unix epoch.
    pub read_at: u64,
    /// About how many connections were in the room.
    pub connections: u64,
}

/// How what is published became so, by ids: their data is in the row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastChange {
    /// The `rev` before it; 0 is none.
    pub after: u64,
    /// All members before it.
    pub was: u64,
    /// What the room's connections are told.
    pub told: Told,
    /// Who is a member and was none, where events tell of members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entered: Vec<String>,
    /// Who was a member and is none, where events tell of members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exited: Vec<String>,
}

/// What a room's connections are told of a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// Nothing: no presence is kept for them.
    #[default]
    Nothing,
    /// How many members there are.
    Count,
    /// That they should ask for the list.
    Reload,
    /// Facts.
    Facts {
        /// Who is present, new or with other data.
        joined: Vec<String>,
        /// Who is absent.
        left: Vec<String>,
    },
}

/// Where a room's presence stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The version of what is published.
    pub rev: u64,
    /// Members.
    pub count: u64,
    /// When the members' rows were last read, in milliseconds since the Unix epoch.
    pub read_at: u64,
}

/// The presence of rooms, in the table of connections.
#[derive(Clone, Debug)]
pub struct PresenceTable<C> {
    client: Client,
    table: Arc<str>,
    clock: C,
}

impl<C: Clock> PresenceTable<C> {
    /// In the table of connections with this name.
    pub fn new(client: Client, table: &str, clock: C) -> Self {
        Self { client, table: table.into(), clock }
    }

    /// What is published of a room; strongly consistent. Of a row that cannot be read the version is what matters, since the next one
    /// takes its place: it counts as one without a list.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn get(&self, room: &RoomId) -> Result<Option<PresenceRow>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&*self.table)
            .key("connectionId", text(key(room)))
            .key("roomId", text(room.as_str()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::of_call(GET))?;
        Ok(output.item.and_then(|item| match read_row(&item) {
            Ok(row) => Some(row),
            Err(Unreadable(attribute)) => {
                tracing::warn!(%room, attribute, "a room's presence cannot be read, and counts as one without a list");
                read_version(&item).inspect_err(|_| tracing::error!(%room, "nor can its version")).ok()
            }
        }))
    }

    /// Where some rooms' presence stands, of those of which anything was published; eventually consistent. What is throttled is
    /// asked for again, and then left out.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn standings<'a>(
        &self,
        rooms: impl IntoIterator<Item = &'a RoomId>,
    ) -> Result<HashMap<RoomId, Standing>, StoreError> {
        let rooms: Vec<&RoomId> = rooms.into_iter().collect();
        let mut standings = HashMap::new();
        for rooms in rooms.chunks(READ_BATCH) {
            let key = |room: &&RoomId| {
                Item::from([("connectionId".into(), text(key(room))), ("roomId".into(), text(room.as_str()))])
            };
            let keys = KeysAndAttributes::builder().set_keys(Some(rooms.iter().map(key).collect()));
            // A reserved word.
            let keys =
                keys.projection_expression("roomId, rev, #count, readAt").expression_attribute_names("#count", "count");
            let mut pending = Some(keys.build().map_err(StoreError::not_built(BATCH_GET))?);
            for round in 0..ROUNDS {
                let Some(keys) = pending.take() else { break };
                if round > 0 {
                    tokio::time::sleep(BACKOFF.delay(round - 1)).await;
                }
                let output = self.client.batch_get_item().request_items(&*self.table, keys).send().await;
                let output = output.map_err(StoreError::of_call(BATCH_GET))?;
                let items = output.responses.unwrap_or_default().remove(&*self.table).unwrap_or_default();
                standings.extend(items.iter().filter_map(|item| {
                    let room = RoomId::parse(read_text(item, "roomId").ok()?).ok()?;
                    Some((room, read_standing(item).ok()?))
                }));
                pending = output.unprocessed_keys.unwrap_or_default().remove(&*self.table);
            }
            if pending.is_some() {
                tracing::warn!("the presence of some rooms was not read, because the table throttles");
            }
        }
        Ok(standings)
    }

    /// Publishes: puts a row in place of that with the version `replaces`, or of none. Says whether it is there; if not, another one
    /// has been published meanwhile, or an earlier attempt of this call was carried out.
    ///
    /// # Errors
    /// When the table does not take it, or throttles. It may be there all the same.
    pub async fn publish(&self, room: &RoomId, row: &PresenceRow, replaces: Option<u64>) -> Result<bool, StoreError> {
        let mut item = to_item(row);
        item.insert("connectionId".into(), text(key(room)));
        item.insert("roomId".into(), text(room.as_str()));
        item.insert("expiresAt".into(), number(self.expires_at()));
        let put = self.client.put_item().table_name(&*self.table).set_item(Some(item));
        let put = match replaces {
            Some(rev) => put.condition_expression("rev = :rev").expression_attribute_values(":rev", number(rev)),
            None => put.condition_expression("attribute_not_exists(rev)"),
        };
        match put.send().await {
            Ok(_) => Ok(true),
            Err(error)
                if (error.as_service_error()).is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(false)
            }
            Err(error) => Err(StoreError::of_call(PUT)(error)),
        }
    }

    /// Notes a look at the members' rows that has found them as they were published in `rev`. Nothing, if that is not the row's any
    /// more.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn note_look(&self, room: &RoomId, rev: u64, read_at: u64, next_at: u64) -> Result<(), StoreError> {
        let noted = self
            .client
            .update_item()
            .table_name(&*self.table)
            .key("connectionId", text(key(room)))
            .key("roomId", text(room.as_str()))
            .update_expression("SET readAt = :readAt, nextAt = :nextAt, expiresAt = :expiresAt")
            .condition_expression("rev = :rev")
            .expression_attribute_values(":rev", number(rev))
            .expression_attribute_values(":readAt", number(read_at))
            .expression_attribute_values(":nextAt", number(next_at))
            .expression_attribute_values(":expiresAt", number(self.expires_at()))
            .send()
            .await;
        match noted {
            Ok(_) => Ok(()),
            Err(error)
                if (error.as_service_error()).is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(StoreError::of_call(NOTE)(error)),
        }
    }

    fn expires_at(&self) -> u64 {
        self.clock.unix_seconds() + KEPT_SECONDS
    }
}

impl PresenceRow {
    /// Bytes of the texts that the row holds: what bounds its size.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let members = self.members.as_ref().map_or(0, |members| to_json(members).len());
        let unlisted = self.unlisted.as_ref().map_or(0, |unlisted| to_json(unlisted).len());
        members + unlisted + to_json(&self.last).len()
    }
}

fn key(room: &RoomId) -> String {
    format!("{KEY_PREFIX}{room}")
}

/// Texts, numbers and raw JSON always serialize.
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn to_item(row: &PresenceRow) -> Item {
    let mut item = Item::from([
        ("rev".into(), number(row.rev)),
        ("count".into(), number(row.count)),
        ("everybody".into(), number(row.everybody)),
        ("last".into(), text(to_json(&row.last))),
        ("by".into(), text(&row.by)),
        ("nextAt".into(), number(row.next_at)),
        ("readAt".into(), number(row.read_at)),
        ("connections".into(), number(row.connections)),
    ]);
    if let Some(members) = &row.members {
        item.insert("members".into(), text(to_json(members)));
    }
    if let Some(unlisted) = &row.unlisted {
        item.insert("unlisted".into(), text(to_json(unlisted)));
    }
    item
}

fn read_row(item: &Item) -> Result<PresenceRow, Unreadable> {
    let Standing { rev, count, read_at } = read_standing(item)?;
    Ok(PresenceRow {
        rev,
        count,
        members: read_json(item, "members")?,
        everybody: read_optional_number(item, "everybody")?.unwrap_or(count),
        unlisted: read_json(item, "unlisted")?,
        last: read_json(item, "last")?.ok_or(Unreadable("last"))?,
        by: read_text(item, "by")?.to_owned(),
        next_at: read_number(item, "nextAt")?,
        read_at,
        connections: read_optional_number(item, "connections")?.unwrap_or_default(),
    })
}

fn read_standing(item: &Item) -> Result<Standing, Unreadable> {
    Ok(Standing {
        rev: read_number(item, "rev")?,
        count: read_number(item, "count")?,
        read_at: read_number(item, "readAt")?,
    })
}

fn read_json<T: for<'de> Deserialize<'de>>(item: &Item, attribute: &'static str) -> Result<Option<T>, Unreadable> {
    let read = |_: &_| serde_json::from_str(read_text(item, attribute)?).map_err(|_| Unreadable(attribute));
    item.get(attribute).map(read).transpose()
}

/// The version of a row that cannot be read, with whatever can.
fn read_version(item: &Item) -> Result<PresenceRow, Unreadable> {
    let number_of = |attribute| read_optional_number(item, attribute).ok().flatten().unwrap_or_default();
    Ok(PresenceRow {
        rev: read_number(item, "rev")?,
        count: number_of("count"),
        members: None,
        everybody: number_of("everybody"),
        unlisted: None,
        last: LastChange::default(),
        by: String::new(),
        next_at: number_of("nextAt"),
        read_at: number_of("readAt"),
        connections: number_of("connections"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::MemberData;

    fn row() -> PresenceRow {
        let data = MemberData::parse(r#"{"a":"\u0062"}"#);
        PresenceRow {
            rev: 9,
            count: 2,
            members: Some(Members::from([("ann".to_owned(), data), ("bob".to_owned(), None)])),
            everybody: 3,
            unlisted: Some(BTreeSet::from(["cy".to_owned()])),
            last: LastChange {
                after: 4,
                was: 1,
                told: Told::Facts { joined: vec!["ann".to_owned()], left: Vec::new() },
                entered: vec!["ann".to_owned(), "cy".to_owned()],
                exited: Vec::new(),
            },
            by: "tick".to_owned(),
            next_at: 7,
            read_at: 6,
            connections: 5,
        }
    }

    #[test]
    fn a_row_reads_back_as_it_was_written() {
        for row in [
            row(),
            PresenceRow { members: None, unlisted: None, ..row() },
            PresenceRow { last: LastChange { told: Told::Reload, ..LastChange::default() }, ..row() },
        ] {
            assert_eq!(read_row(&to_item(&row)), Ok(row));
        }
        assert_eq!(read_standing(&to_item(&row())), Ok(Standing { rev: 9, count: 2, read_at: 6 }));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let mut item = to_item(&row());
        item.insert("members".into(), text("["));
        assert_eq!(read_row(&item), Err(Unreadable("members")));
        assert_eq!(read_row(&Item::new()), Err(Unreadable("rev")));
        assert_eq!(read_version(&Item::new()), Err(Unreadable("rev")));
        let row =
            PresenceRow { members: None, unlisted: None, last: LastChange::default(), by: String::new(), ..row() };
        assert_eq!(read_version(&item), Ok(row));
    }
}

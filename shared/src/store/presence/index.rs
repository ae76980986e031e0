//! The index of members.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;

use super::{MEMBERS_INDEX, PresenceTable};
use crate::{
    clock::Clock,
    item::{Item, Unreadable, UnreadableRows, read_number, read_text, text},
    presence::{ListedMember, MemberData},
    room::RoomId,
    store::StoreError,
};

/// Rows that are read at once for a page of members: several hundred kilobytes at the most.
const ROWS: i32 = 500;

/// Reads for one page of members: rows that have expired, and those of members who are not listed, are passed over.
const READS: usize = 4;

/// The attributes that are needed to count members.
const WITHOUT_DATA: &str = "connectionId, userId, joinedAt, presentUntil, listed";

const QUERY: &str = "Query of a room's members";

/// A connection of a member, as the index shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentRow {
    /// The member's connection.
    pub connection: String,
    /// Its subject.
    pub subject: String,
    /// Its data.
    pub data: Option<MemberData>,
    /// When it joined, in milliseconds since the Unix epoch.
    pub joined_at: u64,
    /// Until when it counts as present, in seconds since the Unix epoch.
    pub present_until: u64,
    /// Whether the room's connections may see it.
    pub listed: bool,
}

/// Part of the index, sorted by subject.
#[derive(Debug)]
pub struct IndexPage {
    /// Its rows.
    pub rows: Vec<PresentRow>,
    /// The start of the next page, if there is one.
    pub next: Option<IndexCursor>,
}

/// The start of a page of the index. Opaque.
#[derive(Clone, Debug)]
pub struct IndexCursor(Item);

/// Members of a room, sorted by subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedPage {
    /// The members, each once.
    pub members: Vec<ListedMember>,
    /// The subject after which the next page starts, if there is one.
    pub next: Option<String>,
}

impl<C: Clock> PresenceTable<C> {
    /// Reads a page of the index: a megabyte of rows, expired ones among them. The index follows the table within
    /// moments. A page without data takes as many read units, but less memory and time.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn index_page(
        &self,
        room: &RoomId,
        cursor: Option<IndexCursor>,
        with_data: bool,
    ) -> Result<IndexPage, StoreError> {
        let query = self.query(room, None).set_exclusive_start_key(cursor.map(|cursor| cursor.0));
        let query = if with_data { query } else { query.projection_expression(WITHOUT_DATA) };
        let page = query.send().await.map_err(StoreError::of_call(QUERY))?;
        let mut rows = Vec::with_capacity(page.items().len());
        let mut unreadable = UnreadableRows::default();
        for item in page.items() {
            match read_present(item) {
                Ok(row) => rows.push(row),
                Err(row) => unreadable.add(row),
            }
        }
        unreadable.warn(room);
        Ok(IndexPage { rows, next: page.last_evaluated_key.map(IndexCursor) })
    }

    /// The members of a room whom its connections may see, as the index has them, for rooms of which no list is
    /// published. At most `limit`, and perhaps fewer even if there are more.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn listed_after(&self, room: &RoomId, after: Option<&str>, limit: u32) -> Result<ListedPage, StoreError> {
        let (now, limit) = (self.clock.unix_seconds(), limit as usize);
        let (mut newest, mut last, mut start) = (BTreeMap::new(), None, None);
        for _ in 0..READS {
            let query = self.query(room, after).limit(ROWS).set_exclusive_start_key(start);
            let page = query.send().await.map_err(StoreError::of_call(QUERY))?;
            last = page.items().last().and_then(|item| read_text(item, "userId").ok()).map(str::to_owned).or(last);
            for row in page.items().iter().filter_map(|item| read_present(item).ok()) {
                if row.listed && row.present_until > now {
                    add_newest(&mut newest, row);
                }
            }
            start = page.last_evaluated_key;
            // One member more than the limit: rows of the last one may not have been read yet, so it is cut off.
            if start.is_none() || newest.len() > limit {
                break;
            }
        }
        let mut members: Vec<ListedMember> =
            newest.into_iter().map(|(id, row): (_, PresentRow)| ListedMember { id, data: row.data }).collect();
        if members.len() > limit {
            members.truncate(limit);
            let next = members.last().map(|member| member.id.clone());
            return Ok(ListedPage { members, next });
        }
        Ok(ListedPage { members, next: start.and(last) })
    }

    fn query(&self, room: &RoomId, after: Option<&str>) -> QueryFluentBuilder {
        let query = self.client.query().table_name(&*self.table).index_name(MEMBERS_INDEX);
        let query = query.expression_attribute_values(":room", text(room.as_str()));
        match after {
            Some(after) if !after.is_empty() => query
                .key_condition_expression("memberOf = :room AND userId > :after")
                .expression_attribute_values(":after", text(after)),
            _ => query.key_condition_expression("memberOf = :room"),
        }
    }
}

/// Keeps a row unless the subject has a newer one.
fn add_newest(newest: &mut BTreeMap<String, PresentRow>, row: PresentRow) {
    match newest.get(&row.subject) {
        Some(known) if known.is_newer_than(&row) => {}
        _ => drop(newest.insert(row.subject.clone(), row)),
    }
}

impl PresentRow {
    /// Whether it was put after another one. Of two of the same millisecond, the connection's id decides.
    #[must_use]
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.joined_at, &self.connection) > (other.joined_at, &other.connection)
    }
}

fn read_present(item: &Item) -> Result<PresentRow, Unreadable> {
    Ok(PresentRow {
        connection: read_text(item, "connectionId")?.to_owned(),
        subject: read_text(item, "userId")?.to_owned(),
        data: read_text(item, "data").ok().and_then(MemberData::parse),
        joined_at: read_number(item, "joinedAt")?,
        present_until: read_number(item, "presentUntil")?,
        listed: item.get("listed").and_then(|listed| listed.as_bool().ok()).is_some_and(|listed| *listed),
    })
}

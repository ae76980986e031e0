//! The row of a room's presence: what was published of the room, and how it became so.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    item::{Item, Unreadable, number, read_number, read_optional_number, read_text, text},
    json,
    presence::Members,
};

/// A room's presence as it was last published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceRow {
    /// The version of what is published; rises with each publication, and is at least the time of it in milliseconds
    /// since the Unix epoch.
    pub rev: u64,
    /// The number of members that the room's connections may see: distinct subjects.
    pub count: u64,
    /// These members, unless they are too many for a list.
    pub members: Option<Members>,
    /// The number of members, with those of whom only events tell.
    pub everybody: u64,
    /// The members of whom only events tell; `None` if their names are not known.
    pub unlisted: Option<BTreeSet<String>>,
    /// The change of this publication.
    pub last: LastChange,
    /// The id of the tick that it was published for. If that tick comes back, `last` is told again.
    pub by: String,
    /// The time before which nothing is published again, in milliseconds since the Unix epoch.
    pub next_at: u64,
    /// When the members' rows were last read, in milliseconds since the Unix epoch.
    pub read_at: u64,
    /// About how many connections were in the room.
    pub connections: u64,
}

/// The change of a publication, by members' ids; their data is in the row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastChange {
    /// The `rev` before it; 0 is none.
    pub after: u64,
    /// The number of members before it.
    pub was: u64,
    /// The news for the room's connections.
    pub told: Told,
    /// Those who became members, where events tell of members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entered: Vec<String>,
    /// Those who ceased to be members, where events tell of members.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exited: Vec<String>,
}

/// The news of a change for a room's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Told {
    /// Nothing: no presence is kept for them.
    #[default]
    Nothing,
    /// The number of members.
    Count,
    /// That they should ask for the list.
    Reload,
    /// The members who came, and those who went.
    Facts {
        /// New members, and those whose data has changed.
        joined: Vec<String>,
        /// Those who are members no more.
        left: Vec<String>,
    },
}

/// The state of a room's presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The version of what is published.
    pub rev: u64,
    /// The number of members that the room's connections may see.
    pub count: u64,
    /// When the members' rows were last read, in milliseconds since the Unix epoch.
    pub read_at: u64,
}

impl PresenceRow {
    /// Bytes of the texts that the row holds: what bounds its size.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        let members = self.members.as_ref().map_or(0, json::length);
        let unlisted = self.unlisted.as_ref().map_or(0, json::length);
        members + unlisted + json::length(&self.last)
    }
}

/// Texts, numbers and raw JSON always serialize.
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(super) fn to_item(row: &PresenceRow) -> Item {
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

pub(super) fn read_row(item: &Item) -> Result<PresenceRow, Unreadable> {
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

pub(super) fn read_standing(item: &Item) -> Result<Standing, Unreadable> {
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

/// The version of a row that cannot be read as a whole, and its numbers as far as they can.
pub(super) fn read_version(item: &Item) -> Result<PresenceRow, Unreadable> {
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

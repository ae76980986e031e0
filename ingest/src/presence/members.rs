//! Who is present in a room, by the rows of its members.

use std::collections::{BTreeMap, BTreeSet};

use shared::{
    RoomId,
    clock::Clock,
    presence::Members,
    store::{
        StoreError,
        presence::{PresenceTable, PresentRow},
    },
};

/// Who is present in a room: distinct subjects, however many connections each has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Those whom the room's connections may see, each with the data of its newest connection.
    pub listed: Members,
    /// The others.
    pub unlisted: BTreeSet<String>,
    /// Connections of them all.
    pub connections: u64,
}

impl Present {
    /// All of them.
    #[must_use]
    pub fn everybody(&self) -> u64 {
        (self.listed.len() + self.unlisted.len()) as u64
    }

    /// Of rows: those that count as present at `now`, in seconds since the Unix epoch.
    fn of_rows(rows: impl IntoIterator<Item = PresentRow>, now: u64) -> Self {
        let mut newest: BTreeMap<String, PresentRow> = BTreeMap::new();
        let (mut unlisted, mut connections) = (BTreeSet::new(), 0);
        for row in rows.into_iter().filter(|row| row.present_until > now) {
            connections += 1;
            if !row.listed {
                unlisted.insert(row.subject);
            } else if newest.get(&row.subject).is_none_or(|known| row.is_newer_than(known)) {
                newest.insert(row.subject.clone(), row);
            }
        }
        unlisted.retain(|subject| !newest.contains_key(subject));
        let listed = newest.into_iter().map(|(subject, row)| (subject, row.data)).collect();
        Self { listed, unlisted, connections }
    }
}

/// Reads the rows of a room's members to their end.
///
/// # Errors
/// When the table does not answer, or throttles.
pub async fn read<C: Clock>(table: &PresenceTable<C>, room: &RoomId, now: u64) -> Result<Present, StoreError> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = table.index_page(room, cursor).await?;
        rows.extend(page.rows);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(Present::of_rows(rows, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::presence::MemberData;

    use super::*;

    fn row(subject: &str, connection: &str, joined_at: u64, data: &str) -> PresentRow {
        PresentRow {
            connection: connection.to_owned(),
            subject: subject.to_owned(),
            data: MemberData::parse(data),
            joined_at,
            present_until: 10,
            listed: true,
        }
    }

    #[test]
    fn a_subject_is_one_member_with_the_data_of_its_newest_connection() {
        let rows =
            [row("ann", "c1", 5, "5"), row("ann", "c2", 7, "7"), row("ann", "c3", 6, "6"), row("bob", "c4", 1, "null")];
        let present = Present::of_rows(rows, 9);
        let expected = [("ann".to_owned(), MemberData::parse("7")), ("bob".to_owned(), None)];
        assert_eq!((present.listed, present.connections), (Members::from(expected), 4));
    }

    #[test]
    fn nobody_counts_beyond_the_lease() {
        let rows = || [row("ann", "c1", 5, "5"), PresentRow { present_until: 9, ..row("bob", "c2", 5, "5") }];
        assert_eq!(Present::of_rows(rows(), 8).everybody(), 2);
        assert_eq!(Present::of_rows(rows(), 9).listed.into_keys().collect::<Vec<_>>(), ["ann"]);
        assert_eq!(Present::of_rows(rows(), 10), Present::default());
    }

    #[test]
    fn who_is_listed_with_one_connection_is_listed() {
        let unlisted =
            |subject: &str, connection: &str| PresentRow { listed: false, ..row(subject, connection, 9, "9") };
        let present = Present::of_rows([unlisted("ann", "c1"), row("ann", "c2", 1, "1"), unlisted("bob", "c3")], 0);
        assert_eq!(present.listed, Members::from([("ann".to_owned(), MemberData::parse("1"))]));
        assert_eq!((present.unlisted, present.connections), (BTreeSet::from(["bob".to_owned()]), 3));
    }
}

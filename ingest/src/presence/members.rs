//! The members who are present in a room, by their rows.

use std::collections::BTreeSet;

use shared::{
    RoomId,
    clock::Clock,
    presence::Members,
    store::{
        StoreError,
        presence::{PresenceTable, PresentRow},
    },
};

/// The members of a room: distinct subjects, however many connections each has. At most as many names are kept as a
/// list may have, so that no room is too large to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// The number of members that the room's connections may see.
    pub listed_count: u64,
    /// These members, each with the data of its newest connection; `None` if they are too many.
    pub listed: Option<Members>,
    /// The number of members, listed or not.
    pub everybody: u64,
    /// The members who are not listed; `None` if all members together are too many.
    pub unlisted: Option<BTreeSet<String>>,
    /// The connections of all members.
    pub connections: u64,
}

impl Default for Present {
    fn default() -> Self {
        Self::of_names(Members::new(), BTreeSet::new())
    }
}

impl Present {
    /// Members who are few enough to be named.
    #[must_use]
    pub fn of_names(listed: Members, unlisted: BTreeSet<String>) -> Self {
        Self {
            listed_count: listed.len() as u64,
            everybody: (listed.len() + unlisted.len()) as u64,
            listed: Some(listed),
            unlisted: Some(unlisted),
            connections: 0,
        }
    }
}

/// Members, counted from rows that come sorted by subject.
#[derive(Debug)]
struct Fold {
    present: Present,
    /// The best row so far of the subject that is being read.
    current: Option<PresentRow>,
    /// Names that are kept at the most.
    names: usize,
    /// The time, in seconds since the Unix epoch.
    now: u64,
}

impl Fold {
    fn new(names: usize, now: u64) -> Self {
        Self { present: Present::default(), current: None, names, now }
    }

    /// Whether the data of rows are still needed, for a list.
    fn wants_data(&self) -> bool {
        self.present.listed.is_some()
    }

    fn add(&mut self, row: PresentRow) {
        if row.present_until <= self.now {
            return;
        }
        self.present.connections += 1;
        match &mut self.current {
            Some(known) if known.subject == row.subject => {
                // A subject is listed if one of its connections is.
                let is_better = row.listed && (!known.listed || row.is_newer_than(known));
                if is_better {
                    *known = row;
                }
            }
            _ => {
                self.end_subject();
                self.current = Some(row);
            }
        }
    }

    fn end_subject(&mut self) {
        let Some(PresentRow { subject, data, listed, .. }) = self.current.take() else { return };
        let present = &mut self.present;
        present.everybody += 1;
        if listed {
            present.listed_count += 1;
            present.listed = present.listed.take().filter(|names| names.len() < self.names);
            if let Some(names) = &mut present.listed {
                names.insert(subject, data);
            }
        } else if let Some(names) = &mut present.unlisted {
            names.insert(subject);
        }
        if present.everybody > self.names as u64 {
            present.unlisted = None;
        }
    }

    fn end(mut self) -> Present {
        self.end_subject();
        self.present
    }
}

/// Reads the rows of all members of a room. Says who is present at `now`, in seconds since the Unix epoch, by name if
/// they are not more than `names`.
///
/// # Errors
/// When the table does not answer, or throttles.
pub async fn read<C: Clock>(
    table: &PresenceTable<C>,
    room: &RoomId,
    names: usize,
    now: u64,
) -> Result<Present, StoreError> {
    let (mut fold, mut cursor) = (Fold::new(names, now), None);
    loop {
        let page = table.index_page(room, cursor, fold.wants_data()).await?;
        page.rows.into_iter().for_each(|row| fold.add(row));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(fold.end());
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

    /// The members by rows that are sorted as the index has them.
    fn of_rows(rows: impl IntoIterator<Item = PresentRow>, now: u64) -> Present {
        let mut fold = Fold::new(500, now);
        rows.into_iter().for_each(|row| fold.add(row));
        fold.end()
    }

    #[test]
    fn a_subject_is_one_member_with_the_data_of_its_newest_connection() {
        let rows =
            [row("ann", "c1", 5, "5"), row("ann", "c2", 7, "7"), row("ann", "c3", 6, "6"), row("bob", "c4", 1, "null")];
        let present = of_rows(rows, 9);
        let expected = [("ann".to_owned(), MemberData::parse("7")), ("bob".to_owned(), None)];
        assert_eq!((present.listed, present.listed_count), (Some(Members::from(expected)), 2));
        assert_eq!((present.everybody, present.connections), (2, 4));
    }

    #[test]
    fn nobody_counts_beyond_the_lease() {
        let rows = || [row("ann", "c1", 5, "5"), PresentRow { present_until: 9, ..row("bob", "c2", 5, "5") }];
        assert_eq!(of_rows(rows(), 8).everybody, 2);
        assert_eq!(of_rows(rows(), 9).listed.unwrap().into_keys().collect::<Vec<_>>(), ["ann"]);
        assert_eq!(of_rows(rows(), 10), Present::default());
    }

    #[test]
    fn who_is_listed_with_one_connection_is_listed() {
        let unlisted =
            |subject: &str, connection: &str| PresentRow { listed: false, ..row(subject, connection, 9, "9") };
        let present = of_rows([unlisted("ann", "c1"), row("ann", "c2", 1, "1"), unlisted("bob", "c3")], 0);
        assert_eq!(present.listed, Some(Members::from([("ann".to_owned(), MemberData::parse("1"))])));
        assert_eq!((present.unlisted, present.connections), (Some(BTreeSet::from(["bob".to_owned()])), 3));
        let newest_unlisted = of_rows([row("ann", "c2", 1, "1"), unlisted("ann", "c1")], 0);
        assert_eq!((newest_unlisted.listed_count, newest_unlisted.everybody), (1, 1));
    }

    #[test]
    fn as_many_names_are_kept_as_a_list_may_have_however_many_are_there() {
        const NAMES: usize = 500;
        for every_second in [false, true] {
            let mut fold = Fold::new(NAMES, 0);
            for number in 0..100_000 {
                let listed = !every_second || number % 2 == 0;
                for connection in ["c1", "c2"] {
                    fold.add(PresentRow { listed, ..row(&format!("m{number:06}"), connection, 5, "5") });
                }
                let kept = |names: Option<usize>| names.unwrap_or_default();
                let listed = kept(fold.present.listed.as_ref().map(Members::len));
                let unlisted = kept(fold.present.unlisted.as_ref().map(BTreeSet::len));
                assert!(listed.max(unlisted) <= NAMES, "{listed} and {unlisted} names");
                assert_eq!(fold.wants_data(), number <= NAMES * if every_second { 2 } else { 1 });
            }
            let expected = Present {
                listed_count: if every_second { 50_000 } else { 100_000 },
                listed: None,
                everybody: 100_000,
                unlisted: None,
                connections: 200_000,
            };
            assert_eq!(fold.end(), expected);
        }
    }

    #[test]
    fn those_who_are_listed_are_named_however_many_are_not() {
        let unlisted =
            (0..1_000).map(|number| PresentRow { listed: false, ..row(&format!("m{number:03}"), "c1", 5, "5") });
        let present = of_rows(unlisted.chain([row("zoe", "c2", 5, "5")]), 0);
        assert_eq!(present.listed.unwrap().into_keys().collect::<Vec<_>>(), ["zoe"]);
        assert_eq!((present.everybody, present.unlisted), (1_001, None));
    }
}

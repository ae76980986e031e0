//! The row to be published next, decided from the one before and from who is present. No calls are made here.

use std::collections::BTreeSet;

use serde::Serialize;
use shared::{
    json,
    limits::{FRAME_BYTES, ROOM_ID_CHARS},
    presence::{Change, ListedMember, Members, Publication},
    store::presence::{LastChange, PresenceRow, Told},
};

use super::{config::Kept, members::Present};

/// Bytes of names and data up to which there is a list. A row of the table may have 400 KB ("DynamoDB quotas"), and
/// holds the last change as well.
const LIST_BYTES: usize = 200 * 1024;

/// Bytes of all texts in a row.
const ROW_BYTES: usize = 350 * 1024;

/// Bytes of facts in a frame: the rest is the envelope with its numbers.
const FACTS_BYTES: usize = FRAME_BYTES - ROOM_ID_CHARS - 200;

/// The row that follows on another one, but for its `rev`, its tick and its times; `None` if it has no news for
/// anybody.
#[must_use]
pub fn next(previous: Option<&PresenceRow>, present: Present, kept: Kept, list_max: usize) -> Option<PresenceRow> {
    let nothing = nothing_published();
    let previous = previous.unwrap_or(&nothing);
    let Present { listed_count: count, listed, everybody, unlisted, .. } = counted(present, kept);
    let members = fitting(listed, count, 0, previous.members.is_some(), list_max);
    // Only events name those who are not listed.
    let unlisted = members
        .as_ref()
        .filter(|_| kept.events.member)
        .and_then(|members| fitting(unlisted, everybody, json::length(members), names(previous).is_some(), list_max));
    let row = PresenceRow { count, members, everybody, unlisted, ..nothing_published() };
    let row = with_change(row, previous, kept)?;
    if row.text_bytes() <= ROW_BYTES {
        return Some(row);
    }
    // The change is so large that it does not fit into the row beside the list.
    with_change(PresenceRow { members: None, unlisted: None, ..row }, previous, kept)
}

/// The news of a publication for the room's connections, if there are any.
#[must_use]
pub fn publication(row: &PresenceRow) -> Option<Publication> {
    let change = match &row.last.told {
        Told::Nothing => return None,
        Told::Count => Change::CountOnly,
        Told::Reload => Change::Reload,
        Told::Facts { joined, left } => {
            Change::Facts { after: row.last.after, joined: entries(row, joined), left: left.clone() }
        }
    };
    Some(Publication { rev: row.rev, count: row.count, change })
}

/// Members with their data, as far as it is known.
pub(super) fn entries(row: &PresenceRow, ids: &[String]) -> Vec<ListedMember> {
    let data = |id: &String| row.members.as_ref()?.get(id)?.clone();
    ids.iter().map(|id| ListedMember { id: id.clone(), data: data(id) }).collect()
}

/// The row that stands for a room of which nothing was published yet.
pub(super) fn nothing_published() -> PresenceRow {
    PresenceRow {
        rev: 0,
        count: 0,
        members: Some(Members::new()),
        everybody: 0,
        unlisted: None,
        last: LastChange::default(),
        by: String::new(),
        next_at: 0,
        read_at: 0,
        connections: 0,
    }
}

/// The members who count: without presence nobody is listed, and without events those who are not listed do not count.
fn counted(mut present: Present, kept: Kept) -> Present {
    if !kept.presence {
        let listed = present.listed.take().unwrap_or_default();
        if let Some(unlisted) = &mut present.unlisted {
            unlisted.extend(listed.into_keys());
        }
        (present.listed_count, present.listed) = (0, Some(Members::new()));
    }
    if !kept.events.room && !kept.events.member {
        (present.everybody, present.unlisted) = (present.listed_count, Some(BTreeSet::new()));
    }
    present
}

/// Names, if they are few enough, and small enough beside other bytes. If they were too many before, they must be a
/// fifth below the limit: otherwise a room at the limit would go to and fro.
fn fitting<T: Serialize>(names: Option<T>, count: u64, beside: usize, were_few: bool, most: usize) -> Option<T> {
    let of_limit = |limit: usize| if were_few { limit } else { limit - limit / 5 };
    let fits = |names: &T| count <= of_limit(most) as u64 && json::length(names) + beside <= of_limit(LIST_BYTES);
    names.filter(fits)
}

/// The names of all members, if they are known.
fn names(row: &PresenceRow) -> Option<BTreeSet<&str>> {
    let members = row.members.as_ref()?.keys().map(String::as_str);
    match &row.unlisted {
        Some(unlisted) => Some(members.chain(unlisted.iter().map(String::as_str)).collect()),
        None => (row.everybody == row.count).then(|| members.collect()),
    }
}

/// A row with what it has changed of another one; `None` if that is nothing.
fn with_change(row: PresenceRow, previous: &PresenceRow, kept: Kept) -> Option<PresenceRow> {
    let (told, is_news) = told(&row, previous, kept);
    let (mut entered, mut exited, mut is_event) = (Vec::new(), Vec::new(), false);
    if kept.events.member {
        let (before, now) = (names(previous), names(&row));
        // A row without names, or the first one with names again, is published even without events: later events must
        // not compare with names of long ago.
        is_event = before.is_some() != now.is_some();
        if let (Some(before), Some(now)) = (before, now) {
            entered = now.difference(&before).map(|id| (*id).to_owned()).collect();
            exited = before.difference(&now).map(|id| (*id).to_owned()).collect();
            is_event = !entered.is_empty() || !exited.is_empty();
        }
    }
    is_event |= kept.events.room && (row.everybody == 0) != (previous.everybody == 0);
    let last = LastChange { after: previous.rev, was: previous.everybody, told, entered, exited };
    (is_news || is_event).then_some(PresenceRow { last, ..row })
}

/// The content of a row for the room's connections, and whether it is news to them.
fn told(row: &PresenceRow, previous: &PresenceRow, kept: Kept) -> (Told, bool) {
    if !kept.presence {
        return (Told::Nothing, false);
    }
    let (before, now) = match (&previous.members, &row.members) {
        (before, None) => return (Told::Count, before.is_some() || row.count != previous.count),
        (None, Some(_)) => return (Told::Reload, true),
        (Some(before), Some(now)) => (before, now),
    };
    let joined: Vec<_> =
        now.iter().filter(|(id, data)| before.get(*id) != Some(data)).map(|(id, _)| id.clone()).collect();
    let left: Vec<_> = before.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
    let is_news = !joined.is_empty() || !left.is_empty();
    let facts_bytes = json::length(&entries(row, &joined)) + json::length(&left);
    (if facts_bytes > FACTS_BYTES { Told::Reload } else { Told::Facts { joined, left } }, is_news)
}

#[cfg(test)]
mod tests {
    use shared::presence::MemberData;

    use super::{super::config::EventKinds, *};

    const PRESENCE: Kept = Kept { presence: true, events: EventKinds { room: false, member: false } };
    const EVENTS: Kept = Kept { presence: false, events: EventKinds { room: true, member: true } };
    const BOTH: Kept = Kept { presence: true, events: EventKinds { room: true, member: true } };

    fn present(listed: &[(&str, &str)], unlisted: &[&str]) -> Present {
        Present::of_names(
            listed.iter().map(|(id, data)| ((*id).to_owned(), MemberData::parse(data))).collect(),
            unlisted.iter().map(|id| (*id).to_owned()).collect(),
        )
    }

    /// So many members, each with so many bytes of data.
    fn many(count: usize, bytes: usize) -> Present {
        let data = MemberData::parse(&format!("\"{}\"", "x".repeat(bytes.saturating_sub(2))));
        Present::of_names((0..count).map(|n| (format!("m{n:04}"), data.clone())).collect(), BTreeSet::new())
    }

    fn published(previous: Option<&PresenceRow>, present: Present, kept: Kept) -> Option<PresenceRow> {
        let rev = previous.map_or(0, |row| row.rev) + 1;
        next(previous, present, kept, 500).map(|row| PresenceRow { rev, ..row })
    }

    /// The `rev` before, who is present with its data, and who is absent.
    type Facts = (u64, Vec<(String, Option<String>)>, Vec<String>);

    fn facts(row: &PresenceRow) -> Facts {
        match publication(row).unwrap().change {
            Change::Facts { after, joined, left } => {
                let of = |member: ListedMember| (member.id, member.data.map(|data| data.as_json().to_owned()));
                (after, joined.into_iter().map(of).collect(), left)
            }
            change => panic!("{change:?}"),
        }
    }

    fn change(row: &PresenceRow) -> Change {
        publication(row).unwrap().change
    }

    #[test]
    fn a_list_changes_by_facts() {
        let first = published(None, present(&[("ann", "1"), ("bob", "null")], &[]), PRESENCE).unwrap();
        assert_eq!(facts(&first), (0, vec![("ann".into(), Some("1".into())), ("bob".into(), None)], vec![]));
        assert_eq!(published(Some(&first), present(&[("ann", "1"), ("bob", "null")], &[]), PRESENCE), None);
        let second = published(Some(&first), present(&[("ann", "2"), ("cy", "null")], &[]), PRESENCE).unwrap();
        let joined = vec![("ann".into(), Some("2".into())), ("cy".into(), None)];
        assert_eq!(facts(&second), (1, joined, vec!["bob".into()]));
        assert_eq!((second.count, second.last.was), (2, 2));
        let end = published(Some(&second), Present::default(), PRESENCE).unwrap();
        assert_eq!((end.count, facts(&end).2.len()), (0, 2));
        assert_eq!(published(None, Present::default(), BOTH), None, "nobody comes or goes in an empty room");
    }

    #[test]
    fn beyond_the_limit_only_the_number_is_told_until_a_fifth_fewer_are_there() {
        let list = published(None, many(500, 2), PRESENCE).unwrap();
        assert!(matches!(change(&list), Change::Facts { .. }));
        let over = published(Some(&list), many(501, 2), PRESENCE).unwrap();
        assert_eq!((change(&over), over.count, over.members.is_none()), (Change::CountOnly, 501, true));
        assert_eq!(published(Some(&over), many(501, 3), PRESENCE), None, "data of nobody's list");
        let still = published(Some(&over), many(401, 2), PRESENCE).unwrap();
        assert_eq!((change(&still), still.count), (Change::CountOnly, 401));
        let back = published(Some(&still), many(400, 2), PRESENCE).unwrap();
        assert_eq!((change(&back), back.members.as_ref().unwrap().len()), (Change::Reload, 400));
        let same_number = published(Some(&still), many(401, 2), PRESENCE);
        assert_eq!(same_number, None);
    }

    #[test]
    fn a_list_has_200_kib_and_a_frame_32() {
        let large = published(None, many(200, 1_000), PRESENCE).unwrap();
        assert_eq!((change(&large), large.members.is_some()), (Change::Reload, true));
        let one_more = published(Some(&large), many(201, 1_000), PRESENCE).unwrap();
        assert_eq!(facts(&one_more).1.len(), 1);
        let over = published(Some(&one_more), many(210, 1_000), PRESENCE).unwrap();
        assert_eq!(change(&over), Change::CountOnly);
        let in_a_frame = published(None, many(31, 1_000), PRESENCE).unwrap();
        let room = shared::RoomId::parse(&"r".repeat(ROOM_ID_CHARS)).unwrap();
        assert!(publication(&in_a_frame).unwrap().to_frame(&room).len() <= FRAME_BYTES);
        assert!(matches!(change(&in_a_frame), Change::Facts { .. }));
        assert_eq!(change(&published(None, many(33, 1_000), PRESENCE).unwrap()), Change::Reload);
    }

    #[test]
    fn a_row_always_fits_the_table() {
        let named = |letter: &str| {
            let listed = (0..500).map(|n| (format!("{}{n:03}", letter.repeat(253)), None)).collect();
            Present::of_names(listed, BTreeSet::new())
        };
        let first = published(None, named("a"), BOTH).unwrap();
        let second = published(Some(&first), named("b"), BOTH).unwrap();
        assert!(first.text_bytes() <= ROW_BYTES && second.text_bytes() <= ROW_BYTES);
        assert_eq!((change(&second), second.count), (Change::CountOnly, 500));
    }

    #[test]
    fn those_who_are_too_many_to_be_named_are_counted() {
        let crowd = |listed_count, everybody| Present {
            listed_count,
            listed: None,
            everybody,
            unlisted: None,
            connections: 2 * everybody,
        };
        for (kept, count, everybody) in [(PRESENCE, 600, 600), (BOTH, 600, 700), (EVENTS, 0, 700)] {
            let row = published(None, crowd(600, 700), kept).unwrap();
            assert_eq!((row.count, row.everybody, row.unlisted.is_none()), (count, everybody, true), "{kept:?}");
            assert_eq!(row.members.is_none(), kept.presence, "{kept:?}");
        }
    }

    #[test]
    fn events_count_everybody_and_the_list_those_who_want_to_be_seen() {
        let first = published(None, present(&[("ann", "1")], &["bob"]), BOTH).unwrap();
        assert_eq!((first.count, first.everybody, &first.last.entered), (1, 2, &vec!["ann".into(), "bob".into()]));
        // A member that becomes listed neither comes nor goes.
        let shown = published(Some(&first), present(&[("ann", "1"), ("bob", "2")], &[]), BOTH).unwrap();
        assert_eq!((shown.last.entered.len(), facts(&shown).1.len()), (0, 1));
        let left = published(Some(&shown), present(&[("bob", "2")], &[]), BOTH).unwrap();
        assert_eq!((&left.last.exited, left.last.was, left.everybody), (&vec!["ann".to_owned()], 2, 1));
    }

    #[test]
    fn without_presence_nobody_is_told_but_events() {
        let first = published(None, present(&[("ann", "1")], &["bob"]), EVENTS).unwrap();
        assert_eq!((publication(&first), first.count, first.everybody), (None, 0, 2));
        assert_eq!(first.last.entered, ["ann", "bob"]);
        assert_eq!(published(Some(&first), present(&[], &["ann", "bob"]), EVENTS), None);
        let of_room = Kept { events: EventKinds { room: true, member: false }, ..EVENTS };
        let occupied = published(None, present(&[], &["ann"]), of_room).unwrap();
        assert_eq!(published(Some(&occupied), present(&[], &["ann", "bob"]), of_room), None);
        let vacated = published(Some(&occupied), Present::default(), of_room).unwrap();
        assert_eq!((vacated.everybody, vacated.last.was, vacated.last.exited.len()), (0, 1, 0));
    }

    #[test]
    fn too_many_for_a_list_are_not_named_in_events_either() {
        let unlisted =
            |count: usize| Present::of_names(Members::new(), (0..count).map(|n| format!("m{n:04}")).collect());
        let list = published(None, unlisted(500), EVENTS).unwrap();
        assert_eq!(list.last.entered.len(), 500);
        let over = published(Some(&list), unlisted(501), EVENTS).unwrap();
        assert_eq!((over.last.entered.len(), over.unlisted.is_none()), (0, true));
        assert_eq!(published(Some(&over), unlisted(600), EVENTS), None);
        let back = published(Some(&over), unlisted(400), EVENTS).unwrap();
        assert_eq!((back.last.entered.len(), back.last.exited.len(), back.unlisted.is_some()), (0, 0, true));
        let next = published(Some(&back), unlisted(399), EVENTS).unwrap();
        assert_eq!(next.last.exited, ["m0399"]);
    }
}

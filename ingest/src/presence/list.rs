//! Lists of members in replies.

use std::ops::Bound;

use shared::{
    RoomId, Subject,
    clock::Clock,
    frame::server::{JoinedPresence, MemberList},
    json,
    limits::{
        MAX_MESSAGE_BYTES, MAX_POST_BYTES, MEMBERS, MEMBERS_BYTES, PRESENCE_DATA_BYTES, ROOM_ID_CHARS,
        STATE_REPLY_BYTES, SUBJECT_BYTES,
    },
    presence::{ListedMember, Listing, Members},
    queue::Queue,
    store::{StoreError, presence::PresenceRow},
};

use super::membership::Presence;
use crate::budget::{ENVELOPE, ROOM_ENVELOPE, ReplyBudget};

/// Bytes that are kept for what is around a list: `"presence":{"id":…,"rev":…,"count":…,"members":[],"next":…},` with
/// two subjects in it.
const AROUND: usize = 160 + 2 * NEXT;

/// Bytes of members in a `members` reply, as many as a page of state may have. With smaller pages the row, which is
/// always read whole, would be read more often for one list.
const PAGE_BYTES: usize = STATE_REPLY_BYTES - AROUND - ENVELOPE;

/// Bytes of the longest subject in JSON, if all of it must be escaped.
const NEXT: usize = 2 + 6 * SUBJECT_BYTES;

// Beside the largest message there is room for the joining member and for another one, so that every page has a further
// member.
const _: () = assert!(
    AROUND + 2 * (PRESENCE_DATA_BYTES + NEXT + 32) + MAX_MESSAGE_BYTES + ENVELOPE + ROOM_ID_CHARS + ROOM_ENVELOPE
        < MAX_POST_BYTES,
    "no list fits beside the largest message"
);

/// A room's members, for somebody who has just joined them.
#[derive(Debug)]
pub struct JoinedList {
    published: Option<PresenceRow>,
    oneself: ListedMember,
}

impl<C: Clock, Q: Queue> Presence<C, Q> {
    /// The list that a connection is told when it joins a room; `None` unless it is listed there itself.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn list_for(
        &self,
        room: &RoomId,
        subject: &Subject,
        listing: Option<&Listing>,
    ) -> Result<Option<JoinedList>, StoreError> {
        let Some(Listing { data }) = listing.filter(|_| self.rooms.listed.matches(room)) else { return Ok(None) };
        let oneself = ListedMember { id: subject.as_str().to_owned(), data: data.clone() };
        Ok(Some(JoinedList { published: self.published.get(room).await?, oneself }))
    }

    /// A page of a room's members after a subject, and whether it is part of the published list; without a list, it is
    /// read from the index. `rev` is the version of an earlier page: the list is of that version or a later one.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn page(
        &self,
        room: &RoomId,
        after: Option<&str>,
        rev: Option<u64>,
        limit: u32,
    ) -> Result<(MemberList, bool), StoreError> {
        // A further page without a `rev` must be of the newest list.
        let is_first = after.is_none_or(str::is_empty);
        let rev = rev.or(is_first.then_some(0));
        let Some(row) = self.recent.get(&self.published, room, rev).await? else {
            return Ok((MemberList { rev: 0, count: 0, members: Some(Vec::new()), next: None }, true));
        };
        let PresenceRow { rev, count, .. } = *row;
        let (members, next) = if let Some(members) = &row.members {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let rest = members.range::<str, _>((start, Bound::Unbounded));
            cut(rest.map(|(id, data)| ListedMember { id: id.clone(), data: data.clone() }), limit, PAGE_BYTES)
        } else {
            let look = self.published.listed_after(room, after, limit).await?;
            let (members, next) = cut(look.members.into_iter(), limit, PAGE_BYTES);
            (members, next.or(look.next))
        };
        Ok((MemberList { rev, count, members: Some(members), next }, row.members.is_some()))
    }
}

impl JoinedList {
    /// The first page, as far as the reply has room for it. The joining member is in it, whether or not that is
    /// published yet.
    #[must_use]
    pub fn fill(self, budget: &mut ReplyBudget) -> JoinedPresence {
        let bytes = MEMBERS_BYTES.min(budget.left_beside_messages().saturating_sub(AROUND));
        let id = self.oneself.id.clone();
        let list = with_oneself(self.published, self.oneself, bytes);
        budget.spend(AROUND + list.members.iter().flatten().map(bytes_of).sum::<usize>());
        JoinedPresence { id, list }
    }
}

fn with_oneself(published: Option<PresenceRow>, oneself: ListedMember, bytes: usize) -> MemberList {
    let (rev, count, members) = match published {
        None => (0, 0, Some(Members::new())),
        Some(PresenceRow { rev, count, members, .. }) => (rev, count, members),
    };
    let Some(mut members) = members else {
        return MemberList { rev, count: count.max(1), members: None, next: None };
    };
    // The data of this join are newer than those that are published.
    members.insert(oneself.id.clone(), oneself.data.clone());
    let count = members.len() as u64;
    let (mut page, next) = cut(members_of(members), MEMBERS, bytes.saturating_sub(bytes_of(&oneself)));
    if page.last().is_none_or(|last| last.id < oneself.id) {
        page.push(oneself);
    }
    MemberList { rev, count, members: Some(page), next }
}

fn members_of(members: Members) -> impl Iterator<Item = ListedMember> {
    members.into_iter().map(|(id, data)| ListedMember { id, data })
}

/// The first members, as many as the limits allow, and the subject of the last one if there are more.
fn cut(
    members: impl Iterator<Item = ListedMember>,
    limit: u32,
    mut bytes_left: usize,
) -> (Vec<ListedMember>, Option<String>) {
    let mut page: Vec<ListedMember> = Vec::new();
    for member in members {
        let bytes = bytes_of(&member);
        if page.len() >= limit as usize || bytes > bytes_left {
            let last = page.last().map(|last| last.id.clone());
            return (page, last);
        }
        bytes_left -= bytes;
        page.push(member);
    }
    (page, None)
}

/// Bytes that a member takes in a reply, its comma among them.
fn bytes_of(member: &ListedMember) -> usize {
    json::length(member) + 1
}

#[cfg(test)]
mod tests {
    use shared::presence::MemberData;

    use super::{super::row::nothing_published, *};

    fn member(id: &str, data: &str) -> ListedMember {
        ListedMember { id: id.to_owned(), data: MemberData::parse(data) }
    }

    fn row(members: Option<Vec<ListedMember>>) -> PresenceRow {
        let members = members.map(|members| members.into_iter().map(|member| (member.id, member.data)).collect());
        PresenceRow {
            rev: 9,
            count: members.as_ref().map_or(4_000, |members: &Members| members.len() as u64),
            members,
            ..nothing_published()
        }
    }

    #[test]
    fn oneself_is_in_the_list_with_the_newest_data() {
        let list = |published| with_oneself(published, member("bob", "2"), MEMBERS_BYTES);
        let just_me = MemberList { rev: 0, count: 1, members: Some(vec![member("bob", "2")]), next: None };
        assert_eq!(list(None), just_me, "before anything is published");
        let others = list(Some(row(Some(vec![member("ann", "1"), member("cy", "3")]))));
        assert_eq!(others.members.unwrap(), [member("ann", "1"), member("bob", "2"), member("cy", "3")]);
        assert_eq!((others.rev, others.count), (9, 3));
        let published = list(Some(row(Some(vec![member("ann", "1"), member("bob", "1")]))));
        assert_eq!((published.members.unwrap()[1].clone(), published.count), (member("bob", "2"), 2));
        let many = list(Some(row(None)));
        assert_eq!(many, MemberList { rev: 9, count: 4_000, members: None, next: None });
    }

    /// Members whose names sort as their numbers, with almost as much data as there may be.
    fn large(number: usize) -> ListedMember {
        member(&format!("m{number:03}"), &format!("\"{}\"", "x".repeat(990)))
    }

    #[test]
    fn a_list_has_16_kib_and_oneself_in_any_case() {
        for (name, place) in [("m005b", Some(6)), ("zoe", None)] {
            let oneself = member(name, &format!("\"{}\"", "y".repeat(1_022)));
            let list = with_oneself(Some(row(Some((0..100).map(large).collect()))), oneself.clone(), MEMBERS_BYTES);
            let members = list.members.unwrap();
            let bytes = serde_json::to_string(&members).unwrap().len();
            assert!((MEMBERS_BYTES - 2 * 1_100..=MEMBERS_BYTES).contains(&bytes), "{bytes}");
            assert_eq!(list.count, 101);
            let at = members.iter().position(|member| *member == oneself).unwrap();
            assert_eq!(at, place.unwrap_or(members.len() - 1));
            let before = if place.is_some() { members.len() - 1 } else { members.len() - 2 };
            assert_eq!(list.next, Some(members[before].id.clone()), "what is after it is still to be asked for");
        }
    }

    #[test]
    fn pages_end_where_they_are_full() {
        let cut = |members: usize, limit| {
            let (page, next) = cut((0..members).map(large), limit, MEMBERS_BYTES);
            (page.len(), next)
        };
        assert_eq!(cut(3, 3), (3, None));
        assert_eq!(cut(4, 3), (3, Some("m002".to_owned())));
        assert_eq!(cut(100, 500), (16, Some("m015".to_owned())));
    }
}

//! A room's members in the order of their slots, page by page: while one page is posted to, the next one is read, but
//! none further ahead.

use std::{ops::RangeInclusive, vec};

use futures::future::try_join_all;
use shared::{
    RoomId,
    clock::Clock,
    store::{
        StoreError,
        connections::{ConnectionTable, Cursor, Member, MemberPage},
    },
};
use tokio::task::JoinSet;

/// Members on the first page: enough to estimate the size of the room.
const FIRST_PAGE: u32 = 500;

/// Members on each further page: two of them are a few hundred kilobytes.
const PAGE: u32 = 1_000;

/// Reads a room's members.
#[derive(Debug)]
pub struct Members<C> {
    table: ConnectionTable<C>,
    room: RoomId,
    slots: RangeInclusive<u16>,
    page: vec::IntoIter<Member>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    From(Cursor),
    /// The page is read by a task, so that reading goes on while posts are made. Dropping the set aborts it.
    Loading(JoinSet<Result<MemberPage, StoreError>>),
    End,
}

impl<C: Clock + Clone + Send + Sync + 'static> Members<C> {
    /// The members of a room whose slots lie in a range. Reads the first page.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn open(
        table: &ConnectionTable<C>,
        room: &RoomId,
        slots: RangeInclusive<u16>,
    ) -> Result<Self, StoreError> {
        // A broadcast that resumes after the last slot of a shard has no slots left.
        let page = if slots.is_empty() {
            MemberPage { members: Vec::new(), next: None }
        } else {
            table.page(room, slots.clone(), None, FIRST_PAGE).await?
        };
        let mut members =
            Self { table: table.clone(), room: room.clone(), slots, page: Vec::new().into_iter(), next: Next::End };
        members.take(page);
        Ok(members)
    }

    /// The members of single slots, as an interrupted broadcast names them.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn of_slots(table: &ConnectionTable<C>, room: &RoomId, slots: &[u16]) -> Result<Vec<Member>, StoreError> {
        // A slot holds a handful of members even in the largest rooms.
        let pages = slots.iter().map(|slot| table.page(room, *slot..=*slot, None, FIRST_PAGE));
        let pages = try_join_all(pages).await?;
        Ok(pages.into_iter().flat_map(|page| page.members).collect())
    }

    /// The members of the page at hand.
    #[must_use]
    pub fn page(&self) -> &[Member] {
        self.page.as_slice()
    }

    /// Whether there is no page after the one at hand.
    #[must_use]
    pub fn is_last_page(&self) -> bool {
        matches!(self.next, Next::End)
    }

    /// The next member; `None` after the last one.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn next(&mut self) -> Result<Option<Member>, StoreError> {
        loop {
            self.load();
            if let Some(member) = self.page.next() {
                return Ok(Some(member));
            }
            let Next::Loading(page) = &mut self.next else { return Ok(None) };
            match page.join_next().await {
                Some(Ok(page)) => self.take(page?),
                Some(Err(error)) => {
                    return Err(StoreError::Unavailable { operation: "Query of a room", source: error.into() });
                }
                None => self.next = Next::End,
            }
        }
    }

    fn take(&mut self, page: MemberPage) {
        self.page = page.members.into_iter();
        self.next = page.next.map_or(Next::End, Next::From);
    }

    /// Starts reading the next page, unless that is under way or there is none.
    fn load(&mut self) {
        if !matches!(self.next, Next::From(_)) {
            return;
        }
        if let Next::From(cursor) = std::mem::replace(&mut self.next, Next::End) {
            let (table, room, slots) = (self.table.clone(), self.room.clone(), self.slots.clone());
            let mut loading = JoinSet::new();
            loading.spawn(async move { table.page(&room, slots, Some(cursor), PAGE).await });
            self.next = Next::Loading(loading);
        }
    }
}

//! Paging a room's index: the next page is read while the current one is being posted to, and no more than that.

use std::ops::RangeInclusive;

use shared::{
    RoomId,
    clock::Clock,
    store::{
        StoreError,
        connections::{ConnectionTable, Cursor, Member},
    },
};

/// Members in a page: enough that reading is rarely waited for, few enough that two pages are nothing.
pub const PAGE: u32 = 500;

/// Reads a room's members, a page at a time.
#[derive(Debug)]
pub struct Pages<'a, C> {
    store: &'a ConnectionTable<C>,
    room: &'a RoomId,
    slots: RangeInclusive<u16>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    From(Cursor),
    End,
}

impl<'a, C: Clock> Pages<'a, C> {
    /// The members of a room whose slots lie in a range.
    pub fn new(store: &'a ConnectionTable<C>, room: &'a RoomId, slots: RangeInclusive<u16>) -> Self {
        Self { store, room, slots, next: Next::First }
    }

    /// Whether the last page has been read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        matches!(self.next, Next::End)
    }

    /// The next page; `None` after the last.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<Member>>, StoreError> {
        let cursor = match std::mem::replace(&mut self.next, Next::End) {
            Next::First => None,
            Next::From(cursor) => Some(cursor),
            Next::End => return Ok(None),
        };
        let page = self.store.page(self.room, self.slots.clone(), cursor, PAGE).await?;
        if let Some(cursor) = page.next {
            self.next = Next::From(cursor);
        }
        Ok(Some(page.members))
    }
}

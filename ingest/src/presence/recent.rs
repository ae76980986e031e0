//! The rows of rooms' presence that were read within the last second: when many clients ask for a room's list after a
//! `reload`, the read for the first one serves the others.
//!
//! A client asks two seconds after it has heard of a list, so what is a second old is that list or a later one. Its
//! further pages must be of no older list than the first page, whichever environment sent that:
//!
//! ```text
//! environment A: rev 8 -> kept        environment B: rev 9 -> page 1, rev 9
//! environment A: page 2, rev 9: what is kept is older, so the row is read again
//! ```

use std::{cell::RefCell, rc::Rc};

use shared::{
    RoomId,
    clock::Clock,
    store::{
        StoreError,
        presence::{PresenceRow, PresenceTable},
    },
};

/// The time for which a row is kept, in milliseconds.
const KEPT_MILLIS: u64 = 1_000;

/// Rooms whose rows are kept. A row has 400 KB at the most, and mostly a few.
const MOST: usize = 16;

/// The rows that were read lately.
#[derive(Debug)]
pub struct Recent<C> {
    clock: C,
    /// The newest at the end.
    kept: RefCell<Vec<ReadRow>>,
}

#[derive(Debug)]
struct ReadRow {
    room: RoomId,
    row: Rc<PresenceRow>,
    read_at: u64,
}

impl<C: Clock> Recent<C> {
    /// No rows yet.
    pub fn new(clock: C) -> Self {
        Self { clock, kept: RefCell::default() }
    }

    /// The published row of a room: with a `rev`, as it was within the last second, in that version or a later one, if
    /// there is one; without a `rev`, as it is now.
    ///
    /// # Errors
    /// When the table does not answer, or throttles.
    pub async fn get(
        &self,
        table: &PresenceTable<impl Clock>,
        room: &RoomId,
        rev: Option<u64>,
    ) -> Result<Option<Rc<PresenceRow>>, StoreError> {
        let read_at = self.clock.unix_millis();
        if let Some(row) = rev.and_then(|rev| self.kept(room, rev, read_at)) {
            return Ok(Some(row));
        }
        let Some(row) = table.get(room).await?.map(Rc::new) else { return Ok(None) };
        let mut kept = self.kept.borrow_mut();
        kept.retain(|other| other.room != *room);
        kept.push(ReadRow { room: room.clone(), row: Rc::clone(&row), read_at });
        if kept.len() > MOST {
            kept.remove(0);
        }
        Ok(Some(row))
    }

    fn kept(&self, room: &RoomId, rev: u64, now: u64) -> Option<Rc<PresenceRow>> {
        let mut kept = self.kept.borrow_mut();
        kept.retain(|kept| now < kept.read_at + KEPT_MILLIS);
        let kept = kept.iter().find(|kept| kept.room == *room)?;
        (kept.row.rev >= rev).then(|| kept.row.clone())
    }
}

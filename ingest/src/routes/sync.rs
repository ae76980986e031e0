//! `sync`: heartbeat, keep-alive and gap fill in one.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt, stream};
use shared::{RoomId, Subject, clock::Clock, frame::server::Reply, store::log::LogTable};

use super::require_join;
use crate::{
    missed::{ReplyBudget, fill, read},
    response::RouteError,
};

/// Rooms that are read at once. One `sync` may name fifty, and the function serves one frame at a time.
const READS_AT_ONCE: usize = 10;

/// Entries that are read of each room when there are several: the reply holds few anyway.
const ENTRIES_OF_EACH: u32 = 25;

/// Serves the route.
///
/// # Errors
/// When a room is another's, or the table does not answer.
pub async fn sync(
    log: &LogTable<impl Clock>,
    subject: &Subject,
    rooms: Vec<(RoomId, u64)>,
) -> Result<Reply, RouteError> {
    for (room, _) in &rooms {
        require_join(subject, room)?;
    }
    let limit = if rooms.len() == 1 { crate::missed::ENTRIES } else { ENTRIES_OF_EACH };
    let mut budget = ReplyBudget::for_rooms(rooms.iter().map(|(room, _)| room));
    // The budget goes to the first rooms by name, and `more` sends the client back for the rest.
    let reads = stream::iter(rooms).map(|(room, after)| async move {
        let found = read(log, &room, after, limit).await;
        found.map(|found| (room, found))
    });
    let synced = reads
        .buffered(READS_AT_ONCE)
        .map_ok(|(room, found)| (room, fill(found, &mut budget)))
        .try_collect::<BTreeMap<_, _>>()
        .await?;
    Ok(Reply::Synced { rooms: synced })
}

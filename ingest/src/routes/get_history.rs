//! `getHistory`: a page of a room's log, the newest page first, ascending inside.

use shared::{RoomId, Subject, clock::Clock, frame::server::Reply, store::log::LogTable};

use super::require_join;
use crate::{missed::ReplyBudget, response::RouteError};

/// Serves the route.
///
/// # Errors
/// When the room is another's, or the table does not answer.
pub async fn get_history(
    log: &LogTable<impl Clock>,
    subject: &Subject,
    room: RoomId,
    before: Option<u64>,
    limit: u32,
) -> Result<Reply, RouteError> {
    require_join(subject, &room)?;
    // One more than asked for says whether there are older ones.
    let page = log.latest(&room, before, limit + 1).await?;
    let found = page.entries.len();
    let mut budget = ReplyBudget::new();
    let newest = page.entries.into_iter().take(limit as usize).map(|entry| entry.logged);
    let mut messages: Vec<_> = newest.take_while(|logged| budget.takes(&logged.message)).collect();
    messages.reverse();
    let more = page.more || messages.len() < found;
    Ok(Reply::History { room_id: room, messages, more })
}

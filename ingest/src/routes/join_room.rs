//! `joinRoom`: into the room, then where its log stands. In this order: what is appended after the log was read finds
//! the row, and what was appended before is in the reply, or known to be missing.

use shared::{
    ConnectionId, RoomId, Subject,
    clock::Clock,
    frame::server::Reply,
    store::{connections::ConnectionTable, log::LogTable},
};

use super::require_join;
use crate::{
    missed::{ReplyBudget, head, missed_since},
    response::RouteError,
};

/// Serves the route.
///
/// # Errors
/// When the room is another's, or a table does not answer.
pub async fn join_room(
    connections: &ConnectionTable<impl Clock>,
    log: &LogTable<impl Clock>,
    connection: &ConnectionId,
    subject: &Subject,
    room: RoomId,
    after: Option<u64>,
) -> Result<Reply, RouteError> {
    require_join(subject, &room)?;
    connections.join(connection, &room, subject).await?;
    let missed = match after {
        Some(after) => missed_since(log, &room, after, &mut ReplyBudget::new()).await?,
        None => head(log, &room).await?,
    };
    Ok(Reply::Joined { room_id: room, missed })
}

//! `joinRoom`: into the room, then where its log stands. In this order: what is appended after the log was read finds
//! the row, and what was appended before is in the reply, or known to be missing.

use shared::{
    ConnectionId, RoomId, Subject,
    clock::Clock,
    store::{connections::ConnectionTable, log::LogTable},
};

use super::require_join;
use crate::{
    catch_up::{Found, ReplyBudget, head, read},
    response::RouteError,
};

/// Serves the route; what the client has missed goes into `budget`.
///
/// # Errors
/// When the room is another's, or a table does not answer, or throttles; the SDK has tried it again by then. The connection
/// may be in the room all the same.
pub async fn join_room(
    connections: &ConnectionTable<impl Clock>,
    log: &LogTable<impl Clock>,
    (connection, subject): (&ConnectionId, &Subject),
    room: &RoomId,
    after: Option<u64>,
    budget: &ReplyBudget,
) -> Result<Found, RouteError> {
    require_join(subject, room)?;
    connections.join(connection, room, subject).await?;
    Ok(match after {
        Some(after) => read(log, room, after, None, budget.left()).await?,
        None => head(log, room).await?,
    })
}

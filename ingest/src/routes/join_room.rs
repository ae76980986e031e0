//! `joinRoom`: into the room, then where its log stands. In this order: what is appended after the log was read finds
//! the row, and what was appended before is in the reply, or known to be missing.

use shared::{
    ConnectionId, RoomId,
    clock::Clock,
    rights::Right,
    store::{connections::ConnectionTable, log::LogTable},
};

use crate::{
    catch_up::{ANY_TIME, Found, ReplyBudget, head, read},
    grant::Grant,
    response::RouteError,
};

/// Serves the route; what the client has missed, and has a right to, goes into `budget`.
///
/// # Errors
/// When the subject may not join the room, or not read what was said before, or a table does not answer, or throttles; the SDK has tried it again by then. The connection
/// may be in the room all the same.
pub async fn join_room(
    connections: &ConnectionTable<impl Clock>,
    log: &LogTable<impl Clock>,
    (connection, grant): (&ConnectionId, &Grant),
    room: &RoomId,
    after: Option<u64>,
    budget: &ReplyBudget,
) -> Result<Found, RouteError> {
    grant.require(Right::Join, room)?;
    if after.is_some() {
        grant.require(Right::History, room)?;
    }
    connections.join(connection, room, &grant.subject, grant.ends_at()).await?;
    Ok(match after {
        Some(after) => read(log, room, after, None, ANY_TIME, budget.left()).await?,
        None => head(log, room).await?,
    })
}

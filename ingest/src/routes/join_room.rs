//! `joinRoom`: into the room, then where its log stands. In this order: what is appended after the log was read finds
//! the row, and what was appended before is in the reply, or known to be missing.

use futures::future::join;
use shared::{
    RoomId,
    clock::Clock,
    rights::Right,
    store::{connections::ConnectionTable, log::LogTable},
};

use crate::{
    catch_up::{ANY_TIME, Found, ReplyBudget, head, read},
    event::Frame,
    response::RouteError,
    shares::RequestShares,
};

/// Serves the route; what the client has missed, and has a right to, goes into `budget`.
///
/// # Errors
/// When the subject may not join the room, or not read what was said before, too many are joining it, the connection is in `most_rooms` others, or a
/// table does not answer, or throttles; the SDK has tried it again by then. The connection may be in the room all the same.
pub async fn join_room<C: Clock>(
    (connections, log): (&ConnectionTable<C>, &LogTable<C>),
    (most_rooms, shares): (u32, &RequestShares<C>),
    frame: &Frame,
    room: &RoomId,
    after: Option<u64>,
    budget: &ReplyBudget,
) -> Result<Found, RouteError> {
    let (connection, grant) = (&frame.connection, &frame.grant);
    grant.require(Right::Join, room)?;
    if after.is_some() {
        grant.require(Right::History, room)?;
    }
    shares.take_join(room)?;
    connections.join(connection, room, &grant.subject, grant.ends_at()).await?;
    let found = async {
        Ok(match after {
            Some(after) => read(log, room, after, None, ANY_TIME, budget.left()).await?,
            None => head(log, room).await?,
        })
    };
    let (found, rooms) = join(found, connections.count(connection, most_rooms.saturating_add(1))).await;
    // Whatever became of the log: a row too many must not stay.
    if rooms? > most_rooms {
        connections.leave(connection, room).await?;
        return Err(RouteError::Forbidden(format!("`roomId` {room}: a connection may be in {most_rooms} rooms")));
    }
    found
}

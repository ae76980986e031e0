//! `joinRoom`: the row is put first, and the log is read after it. So a message that is appended after the read reaches
//! the row, and one that was appended before is in the reply, or known to be missing.

use std::collections::BTreeSet;

use shared::{RoomId, clock::Clock, metrics::Metrics, presence::Listing, queue::Queue, rights::Right};

use crate::{
    catch_up::{ANY_TIME, Found, ReplyBudget, head, read},
    event::Frame,
    presence::{list::JoinedList, membership::Presence},
    response::RouteError,
    shares::RequestShares,
    tables::Tables,
};

/// Serves the route; what the client has missed, and has a right to, goes into `budget`. With `listing`, the connection
/// is listed among the room's members, if the room has a list, and told of them; without, it ceases to be listed.
///
/// # Errors
/// When the subject may not join the room, or not read what was said before, too many are joining it, the connection is
/// in `most_rooms` others, or a table does not answer, or throttles; the SDK has tried it again by then. The connection
/// may be in the room all the same.
pub async fn join_room<C: Clock>(
    Tables { connections, log, presence: published, .. }: &Tables<C>,
    (presence, metrics): (&Presence<C, impl Queue>, &Metrics),
    (most_rooms, shares): (u32, &RequestShares<C>),
    frame: &Frame,
    (room, listing): (&RoomId, Option<&Listing>),
    after: Option<u64>,
    budget: &ReplyBudget,
) -> Result<(Found, Option<JoinedList>), RouteError> {
    let (connection, grant) = (&frame.connection, &frame.grant);
    grant.require(Right::Join, room)?;
    if after.is_some() {
        grant.require(Right::History, room)?;
    }
    shares.take_join(room)?;
    let is_changed = presence.put(connections, (connection, grant), room, listing).await?;
    let tick = presence.tick(is_changed.then(|| room.clone()), metrics);
    let list = presence.list_for(published, room, &grant.subject, listing);
    let found = async {
        match after {
            Some(after) => read(log, room, after, None, ANY_TIME, budget.left()).await,
            None => head(log, room).await,
        }
    };
    let rooms = connections.count(connection, most_rooms.saturating_add(1));
    let (found, rooms, list, ()) = futures::join!(found, rooms, list, tick);
    // A row too many must not stay, even if the log could not be read.
    if rooms? > most_rooms {
        let mut changed = BTreeSet::new();
        let left = presence.take_out(connections, connection, room, &mut changed).await;
        presence.tick(changed, metrics).await;
        left?;
        return Err(RouteError::Forbidden(format!("`roomId` {room}: a connection may be in {most_rooms} rooms")));
    }
    Ok((found?, list?))
}

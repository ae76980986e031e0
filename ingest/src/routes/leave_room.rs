//! `leaveRoom`: a broadcast that is under way may still arrive.

use std::collections::BTreeSet;

use shared::{
    ConnectionId, RoomId, clock::Clock, frame::server::Reply, metrics::Metrics, queue::Queue,
    store::connections::ConnectionTable,
};

use crate::{presence::membership::Presence, response::RouteError};

/// Takes the connection out of the room, and sends a tick if it may have been present there.
///
/// # Errors
/// When the table does not answer.
pub async fn leave_room<C: Clock>(
    connections: &ConnectionTable<C>,
    (presence, metrics): (&Presence<C, impl Queue>, &Metrics),
    connection: &ConnectionId,
    room: RoomId,
) -> Result<Reply, RouteError> {
    let mut changed = BTreeSet::new();
    let left = presence.take_out(connections, connection, &room, &mut changed).await;
    presence.tick(changed, metrics).await;
    left?;
    Ok(Reply::Left { room_id: room })
}

//! `leaveRoom`: a broadcast that is under way may still arrive.

use shared::{
    ConnectionId, RoomId, clock::Clock, frame::server::Reply, metrics::Metrics, queue::Queue,
    store::connections::ConnectionTable,
};

use crate::{presence::membership::Presence, response::RouteError};

/// Serves the route.
///
/// # Errors
/// When the table does not answer.
pub async fn leave_room<C: Clock>(
    connections: &ConnectionTable<C>,
    (presence, metrics): (&Presence<C, impl Queue>, &Metrics),
    connection: &ConnectionId,
    room: RoomId,
) -> Result<Reply, RouteError> {
    let is_changed = presence.take_out(connections, connection, &room).await?;
    presence.tick(is_changed.then(|| room.clone()), metrics).await;
    Ok(Reply::Left { room_id: room })
}

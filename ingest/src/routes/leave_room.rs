//! `leaveRoom`: a broadcast that is under way may still arrive.

use shared::{ConnectionId, RoomId, frame::server::Reply, store::connections::ConnectionStore};

use crate::response::RouteError;

/// Serves the route.
///
/// # Errors
/// When the table does not answer.
pub async fn leave_room(
    connections: &impl ConnectionStore,
    connection: &ConnectionId,
    room: RoomId,
) -> Result<Reply, RouteError> {
    connections.leave(connection, &room).await?;
    Ok(Reply::Left { room_id: room })
}

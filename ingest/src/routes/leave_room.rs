//! `leaveRoom`: a broadcast that is under way may still arrive.

use shared::{ConnectionId, RoomId, clock::Clock, frame::server::Reply, store::connections::ConnectionTable};

use crate::response::RouteError;

/// Serves the route.
///
/// # Errors
/// When the table does not answer.
pub async fn leave_room(
    connections: &ConnectionTable<impl Clock>,
    connection: &ConnectionId,
    room: RoomId,
) -> Result<Reply, RouteError> {
    connections.leave(connection, &room).await?;
    Ok(Reply::Left { room_id: room })
}

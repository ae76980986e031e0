//! `$connect`: with a `roomId`, the connection joins at once. A broadcast may reach for it before the handshake is
//! complete, and is then answered 410; fan-out spares rows that young.

use shared::{
    ConnectionId, RoomId, clock::Clock, json::FieldError, rights::Right, store::connections::ConnectionTable,
};

use crate::{grant::Grant, response::RouteError};

/// Serves the route. An error refuses the upgrade.
///
/// # Errors
/// When the room is no room id, or the subject may not join it, or the table does not answer.
pub async fn connect(
    connections: &ConnectionTable<impl Clock>,
    connection: &ConnectionId,
    grant: &Grant,
    room: Option<&str>,
) -> Result<(), RouteError> {
    let Some(room) = room else { return Ok(()) };
    let room = RoomId::parse(room).map_err(|error| FieldError::invalid("roomId", error))?;
    grant.require(Right::Join, &room)?;
    Ok(connections.join(connection, &room, &grant.subject, grant.ends_at()).await?)
}

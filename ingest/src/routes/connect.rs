//! `$connect`: with a `roomId`, the connection joins at once. A broadcast may reach for it before the handshake is
//! complete, and is then answered 410; fan-out spares rows that young.

use shared::{ConnectionId, RoomId, Subject, clock::Clock, json::FieldError, store::connections::ConnectionTable};

use super::require_join;
use crate::response::RouteError;

/// Serves the route. An error refuses the upgrade.
///
/// # Errors
/// When the room is no room id or another's, or the table does not answer.
pub async fn connect(
    connections: &ConnectionTable<impl Clock>,
    connection: &ConnectionId,
    subject: &Subject,
    room: Option<&str>,
) -> Result<(), RouteError> {
    let Some(room) = room else { return Ok(()) };
    let room = RoomId::parse(room).map_err(|error| FieldError::invalid("roomId", error))?;
    require_join(subject, &room)?;
    Ok(connections.join(connection, &room, subject).await?)
}

//! `$disconnect`: best effort on API Gateway's side. What it misses goes with the next broadcast or by TTL.

use shared::{ConnectionId, clock::Clock, store::connections::ConnectionTable};

use crate::response::RouteError;

/// Serves the route.
///
/// # Errors
/// When the table does not answer.
pub async fn disconnect(
    connections: &ConnectionTable<impl Clock>,
    connection: &ConnectionId,
) -> Result<(), RouteError> {
    Ok(connections.leave_all(connection).await?)
}

//! `$disconnect`: best effort on API Gateway's side. What it misses goes with the next broadcast or by TTL.

use shared::{ConnectionId, store::connections::ConnectionStore};

use crate::response::RouteError;

/// Serves the route.
///
/// # Errors
/// When the table does not answer.
pub async fn disconnect(connections: &impl ConnectionStore, connection: &ConnectionId) -> Result<(), RouteError> {
    connections.leave_all(connection).await?;
    Ok(())
}

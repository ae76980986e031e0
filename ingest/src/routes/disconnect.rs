//! `$disconnect`: best effort on API Gateway's side. What it misses goes with the next broadcast or by TTL.

use futures::future::{OptionFuture, try_join};
use shared::{ConnectionId, Subject, clock::Clock};

use crate::{response::RouteError, session::Tables};

/// Serves the route.
///
/// # Errors
/// When the table does not answer.
pub async fn disconnect(
    tables: &Tables<impl Clock>,
    connection: &ConnectionId,
    subject: Option<&Subject>,
) -> Result<(), RouteError> {
    let of_subject: OptionFuture<_> = subject.map(|subject| tables.subjects.remove(subject, connection)).into();
    let of_subject = async { of_subject.await.transpose() };
    try_join(tables.connections.leave_all(connection), of_subject).await?;
    Ok(())
}

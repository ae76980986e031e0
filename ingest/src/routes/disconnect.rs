//! `$disconnect`. API Gateway does not promise to call it; rows that it misses are deleted by the next broadcast, the
//! sweep or TTL.

use futures::future::{OptionFuture, join};
use shared::{ConnectionId, RoomId, Subject, clock::Clock, metrics::Metrics, queue::Queue, store::StoreError};

use crate::{presence::membership::Presence, response::RouteError, tables::Tables};

/// Takes the connection out of all its rooms, and out of its subject's connections.
///
/// # Errors
/// When the table does not answer.
pub async fn disconnect<C: Clock>(
    tables: &Tables<C>,
    (presence, metrics): (&Presence<C, impl Queue>, &Metrics),
    connection: &ConnectionId,
    subject: Option<&Subject>,
) -> Result<(), RouteError> {
    let of_subject: OptionFuture<_> = subject.map(|subject| tables.subjects.remove(subject, connection)).into();
    let (left, of_subject) = join(leave_all(tables, (presence, metrics), connection), of_subject).await;
    left?;
    of_subject.transpose()?;
    Ok(())
}

async fn leave_all<C: Clock>(
    tables: &Tables<C>,
    (presence, metrics): (&Presence<C, impl Queue>, &Metrics),
    connection: &ConnectionId,
) -> Result<(), StoreError> {
    let rooms = tables.connections.rooms(connection).await?;
    let left = tables.connections.leave_rooms(connection, &rooms).await;
    // Ticks are sent for all rooms, even if some could not be left: it is not known which, and a needless tick does no
    // harm.
    let was_present = rooms.iter().filter(|row| row.is_present);
    presence.tick(was_present.filter_map(|row| RoomId::parse(&row.room).ok()), metrics).await;
    left
}

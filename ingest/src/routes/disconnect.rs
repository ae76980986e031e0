//! `$disconnect`. API Gateway does not promise to call it; rows that it misses are deleted by the next broadcast, the
//! sweep or TTL.

use futures::future::{OptionFuture, join};
use shared::{
    ConnectionId, RoomId, Subject,
    clock::Clock,
    metrics::{Metrics, names::DISCONNECTS},
    queue::Queue,
    store::StoreError,
};

use super::SessionRoutes;
use crate::response::RouteError;

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// Takes the connection out of all its rooms and, where they are counted, out of its subject's connections.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn disconnect(
        &self,
        connection: &ConnectionId,
        subject: Option<&Subject>,
        metrics: &Metrics,
    ) -> Result<(), RouteError> {
        metrics.add(DISCONNECTS, 1);
        let subject = subject.filter(|_| self.limits.connections.is_some());
        let removing: OptionFuture<_> = subject.map(|subject| self.tables.subjects.remove(subject, connection)).into();
        let (left, removed) = join(self.leave_all(connection, metrics), removing).await;
        left?;
        removed.transpose()?;
        Ok(())
    }

    async fn leave_all(&self, connection: &ConnectionId, metrics: &Metrics) -> Result<(), StoreError> {
        let rooms = self.tables.connections.rooms(connection).await?;
        let left = self.tables.connections.leave_rooms(connection, &rooms).await;
        // Ticks are sent for all rooms, even if some could not be left: it is not known which, and a needless tick does
        // no harm.
        let was_present = rooms.iter().filter(|row| row.is_present);
        self.presence.tick(was_present.filter_map(|row| RoomId::parse(&row.room).ok()), metrics).await;
        left
    }
}

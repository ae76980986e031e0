//! `leaveRoom`: a broadcast that is under way may still arrive.

use std::collections::BTreeSet;

use shared::{ConnectionId, RoomId, clock::Clock, frame::server::Reply, metrics::Metrics, queue::Queue};

use super::SessionRoutes;
use crate::response::RouteError;

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// Takes the connection out of the room, and sends a tick if it may have been present there.
    ///
    /// # Errors
    /// When the table does not answer.
    pub async fn leave_room(
        &self,
        connection: &ConnectionId,
        room: RoomId,
        metrics: &Metrics,
    ) -> Result<Reply, RouteError> {
        let mut changed = BTreeSet::new();
        let left = self.presence.take_out(connection, &room, &mut changed).await;
        self.presence.tick(changed, metrics).await;
        left?;
        Ok(Reply::Left { room_id: room })
    }
}

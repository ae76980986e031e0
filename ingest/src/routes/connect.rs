//! `$connect`: with a `roomId`, the connection joins at once. A broadcast may be posted to it before the handshake is
//! complete, which is answered with 410; fan-out does not delete rows so young.

use std::num::NonZeroU32;

use futures::{StreamExt, stream};
use shared::{
    RoomId,
    clock::Clock,
    json::FieldError,
    metrics::{
        Metrics,
        names::{CONNECTS, JOINS},
    },
    queue::Queue,
    rights::Right,
};

use super::SessionRoutes;
use crate::{event::Caller, response::RouteError};

/// Connections of a subject about which the API is asked before a new one is refused: API Gateway does not report every
/// end. Those whose handshake may still be under way are not asked about, since they would seem to be gone.
const ASKED: u32 = 5;

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// Counts the connection among those of its subject, and joins the room if there is one. An error refuses the
    /// upgrade.
    ///
    /// # Errors
    /// When the room is no room id, too many are joining it, the subject may not join it, asks for too much or has as
    /// many connections as it may have, or a table does not answer.
    pub async fn connect(&self, caller: Caller<'_>, room: Option<&str>, metrics: &Metrics) -> Result<(), RouteError> {
        self.shares.take(&caller.grant.subject)?;
        let room = room.map(RoomId::parse).transpose().map_err(|error| FieldError::invalid("roomId", error))?;
        if let Some(room) = &room {
            caller.grant.require(Right::Join, room)?;
            self.shares.take_join(room)?;
        }
        // The count comes before the join, so that a connection that is refused is in no room.
        if let Some(most) = self.limits.connections {
            self.admit(caller, most).await?;
        }
        if let Some(room) = &room {
            let is_changed = self.presence.put(caller, room, None).await?;
            self.presence.tick(is_changed.then(|| room.clone()), metrics).await;
            metrics.add(JOINS, 1);
        }
        metrics.add(CONNECTS, 1);
        Ok(())
    }

    /// Counts the connection among those of its subject.
    async fn admit(&self, Caller { connection, grant }: Caller<'_>, most: NonZeroU32) -> Result<(), RouteError> {
        let (subjects, subject) = (&self.tables.subjects, &grant.subject);
        subjects.add(subject, connection, grant.ends_at()).await?;
        // The read goes as far beyond the limit as matters: with up to `ASKED` connections too many, those asked about
        // could make room; with more they could not.
        let open = subjects.connections(subject, most.get().saturating_add(1 + ASKED)).await?;
        let too_many = open.len().saturating_sub(usize::try_from(most.get()).unwrap_or(usize::MAX));
        if too_many == 0 {
            return Ok(());
        }
        let asked = open.iter().filter(|other| !other.is_new && other.id != *connection).take(ASKED as usize);
        let api = &self.connections_api;
        let gone = stream::iter(asked).map(|other| async move { api.is_gone(&other.id).await.then_some(&other.id) });
        let gone: Vec<_> = gone.buffer_unordered(ASKED as usize).filter_map(async |gone| gone).collect().await;
        for other in &gone {
            subjects.remove(subject, other).await?;
        }
        if gone.len() >= too_many {
            return Ok(());
        }
        subjects.remove(subject, connection).await?;
        Err(RouteError::TooManyConnections(most.get()))
    }
}

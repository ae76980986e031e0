//! `getState`: a page of a room's state.

use shared::{clock::Clock, frame::server::Reply, json::Counter, queue::Queue, rights::Right};

use super::SessionRoutes;
use crate::{
    grant::Grant,
    request::{AfterKey, GetState, RefusalReason},
    response::RouteError,
    state::Wanted,
};

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// Reads a page of state. Whoever may join the room may read it, without being a member.
    ///
    /// # Errors
    /// When the subject may not join the room, no state is kept of it, or a table does not answer, or throttles; the
    /// SDK has tried it again by then.
    pub async fn get_state(&self, grant: &Grant, request: GetState) -> Result<Reply, RouteError> {
        let limit = request.limit();
        let GetState { room_id, after, seq, .. } = request;
        grant.require(Right::Join, &room_id)?;
        if !self.states.keeps(&room_id) {
            return Err(RefusalReason::NoState(room_id).into());
        }
        let after = after.map(|AfterKey(key)| key).unwrap_or_default();
        let first = seq.map_or(0, |Counter(seq)| seq);
        let wanted = Wanted::alone(&after, first, limit);
        let (seq, page) = self.states.page(&self.tables.log, &room_id, wanted).await?;
        Ok(Reply::State { room_id, seq, page })
    }
}

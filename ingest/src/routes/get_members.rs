//! `getMembers`: a page of a room's members.

use shared::{
    clock::Clock,
    frame::server::Reply,
    json::{Counter, FieldError},
    queue::Queue,
    rights::Right,
};

use super::SessionRoutes;
use crate::{
    grant::Grant,
    request::{GetMembers, SubjectAfter},
    response::RouteError,
};

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// Serves the route. Whoever may join the room may see who is there, without being a member.
    ///
    /// # Errors
    /// When the subject may not join the room, no list of its members is kept, or the table does not answer, or
    /// throttles; the SDK has tried it again by then.
    pub async fn get_members(&self, grant: &Grant, request: GetMembers) -> Result<Reply, RouteError> {
        let limit = request.limit();
        let GetMembers { room_id, after, rev, .. } = request;
        grant.require(Right::Join, &room_id)?;
        if !self.presence.rooms.listed.matches(&room_id) {
            return Err(FieldError::invalid("roomId", "is of a room that keeps no presence").into());
        }
        let after = after.as_ref().map(|SubjectAfter(after)| after.as_str());
        let rev = rev.map(|Counter(rev)| rev);
        let (list, listed) = self.presence.page(&room_id, after, rev, limit).await?;
        Ok(Reply::Members { room_id, listed, list })
    }
}

//! `getHistory`: a page of a room's log, the newest page first, ascending inside.

use shared::{LoggedMessage, clock::Clock, frame::server::Reply, queue::Queue, rights::Right};

use super::SessionRoutes;
use crate::{
    budget::ReplyBudget,
    catch_up::PageSize,
    grant::Grant,
    request::{Before, GetHistory},
    response::RouteError,
};

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// Serves the route, eventually consistent: nobody looks for the newest messages in a history.
    ///
    /// # Errors
    /// When the subject has no right to the room's history, or the table does not answer, or throttles; the SDK has
    /// tried it again by then.
    pub async fn get_history(&self, grant: &Grant, request: GetHistory) -> Result<Reply, RouteError> {
        let limit = request.limit() as usize;
        let GetHistory { room_id: room, before, .. } = request;
        grant.require(Right::History, &room)?;
        let mut budget = ReplyBudget::new();
        // One message more than asked for says whether there are older ones.
        let mut size = PageSize::new(limit + 1, budget.left());
        let (mut newest, mut before) = (Vec::<LoggedMessage>::new(), before.map(|Before(before)| before));
        let more = loop {
            let page = self.tables.log.history(&room, before, size.next()).await?;
            size.add(page.entries.iter().map(|entry| &entry.logged));
            newest.extend(page.entries.into_iter().map(|entry| entry.logged));
            before = newest.last().map(|oldest| oldest.seq);
            if !page.more || size.is_enough() {
                break page.more;
            }
        };
        let found = newest.len();
        let fitting = newest.into_iter().take(limit).take_while(|logged| budget.take(&logged.message));
        let mut messages: Vec<_> = fitting.collect();
        messages.reverse();
        let more = more || messages.len() < found;
        Ok(Reply::History { room_id: room, messages, more })
    }
}

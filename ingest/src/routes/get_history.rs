//! `getHistory`: a page of a room's log, the newest page first, ascending inside.

use shared::{LoggedMessage, RoomId, clock::Clock, frame::server::Reply, rights::Right, store::log::LogTable};

use crate::{
    catch_up::{PageSize, ReplyBudget},
    grant::Grant,
    response::RouteError,
};

/// Serves the route, eventually consistent: nobody looks for the newest messages in a history.
///
/// # Errors
/// When the subject has no right to the room's history, or the table does not answer, or throttles; the SDK has tried
/// it again by then.
pub async fn get_history(
    log: &LogTable<impl Clock>,
    grant: &Grant,
    room: RoomId,
    before: Option<u64>,
    limit: u32,
) -> Result<Reply, RouteError> {
    grant.require(Right::History, &room)?;
    let limit = limit as usize;
    let mut budget = ReplyBudget::new();
    // One message more than asked for says whether there are older ones.
    let mut size = PageSize::new(limit + 1, budget.left());
    let (mut newest, mut before) = (Vec::<LoggedMessage>::new(), before);
    let more = loop {
        let page = log.history(&room, before, size.next()).await?;
        size.add(page.entries.iter().map(|entry| &entry.logged));
        newest.extend(page.entries.into_iter().map(|entry| entry.logged));
        before = newest.last().map(|oldest| oldest.seq);
        if !page.more || size.is_enough() {
            break page.more;
        }
    };
    let found = newest.len();
    let fitting = newest.into_iter().take(limit).take_while(|logged| budget.takes(&logged.message));
    let mut messages: Vec<_> = fitting.collect();
    messages.reverse();
    let more = more || messages.len() < found;
    Ok(Reply::History { room_id: room, messages, more })
}

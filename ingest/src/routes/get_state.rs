//! `getState`: a page of a room's state.

use shared::{clock::Clock, frame::server::Reply, json::Counter, rights::Right, store::log::LogTable};

use crate::{
    grant::Grant,
    request::{AfterKey, GetState, RefusalReason},
    response::RouteError,
    state::{States, Wanted},
};

/// Reads a page of state. Whoever may join the room may read it, without being a member.
///
/// # Errors
/// When the subject may not join the room, no state is kept of it, or a table does not answer, or throttles; the SDK
/// has tried it again by then.
pub async fn get_state<C: Clock>(
    states: &States<C>,
    log: &LogTable<C>,
    grant: &Grant,
    request: GetState,
) -> Result<Reply, RouteError> {
    let limit = request.limit();
    let GetState { room_id, after, seq, .. } = request;
    grant.require(Right::Join, &room_id)?;
    if !states.keeps(&room_id) {
        return Err(RefusalReason::NoState(room_id).into());
    }
    let after = after.map(|AfterKey(key)| key).unwrap_or_default();
    let first = seq.map_or(0, |Counter(seq)| seq);
    let (seq, page) = states.page(log, &room_id, Wanted::alone(&after, first, limit)).await?;
    Ok(Reply::State { room_id, seq, page })
}

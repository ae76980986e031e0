//! `sendMessage`: validate and enqueue. One network call, whatever the size of the room.

use shared::{
    clock::Clock,
    draft::{Draft, Origin},
    frame::server::Reply,
    queue::Sink,
    rights::Right,
    trace::TraceHeader,
};

use crate::{admission::Admission, event::Frame, outlook::Lookout, response::RouteError};

/// Serves the route.
///
/// # Errors
/// When the message is too large, the subject may not send to the room, sends too much or the room is behind, or the queue does not take
/// the message. Of a throttle the client is told at once.
pub async fn send_message(
    sink: &impl Sink,
    admission: &Admission<impl Lookout>,
    clock: &impl Clock,
    frame: &Frame,
    trace: Option<&TraceHeader>,
    draft: Draft<'_>,
) -> Result<Reply, RouteError> {
    let origin = Origin { id: &frame.message_id, from: frame.grant.subject.as_str(), sent_at: clock.unix_millis() };
    let message = draft.accept(origin)?;
    frame.grant.require(Right::Send, &message.room)?;
    let bytes = frame.body.as_ref().map_or(0, |body| body.len() as u64);
    admission.admit(&message, bytes, clock).await?;
    admission.beside_a_look(sink.put(&message, trace), clock).await?;
    Ok(Reply::Accepted { room_id: message.room, id: message.id })
}

//! `sendMessage`: validate and enqueue. One network call, whatever the size of the room.

use shared::{
    Message, clock::Clock, fields::Fields, frame::server::Reply, message::Defaults, queue::Sink, subject::Capability,
};

use crate::{event::Frame, response::RouteError};

/// Serves the route.
///
/// # Errors
/// When a field is wrong, the subject may not send to the room, or the queue does not take the message.
pub async fn send_message(
    sink: &impl Sink,
    clock: &impl Clock,
    frame: &Frame,
    fields: &Fields<'_>,
) -> Result<Reply, RouteError> {
    let defaults = Defaults { id: &frame.message_id, from: frame.subject.as_str(), sent_at: clock.unix_millis() };
    let message = Message::from_client(fields, defaults)?;
    if !frame.subject.may(Capability::Send, &message.room) {
        return Err(RouteError::Forbidden(format!("`roomId` {} is not yours to send to", message.room)));
    }
    sink.put(&message).await?;
    Ok(Reply::Accepted { room_id: message.room, id: message.id })
}

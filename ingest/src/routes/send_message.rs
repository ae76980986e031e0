//! `sendMessage`: validate and enqueue. One network call, whatever the size of the room.

use shared::{
    clock::Clock,
    frame::server::Reply,
    json::{FieldError, Name},
    message::draft::{Draft, Origin},
    metrics::{Metrics, names::ACCEPTED},
    queue::{Sink, ephemeral::EphemeralSink},
    rights::Right,
    room_pattern::RoomPatterns,
    trace::TraceHeader,
};

use crate::{
    admission::Admission, congestion::CongestionSource, ephemeral::Ephemerals, event::Frame, response::RouteError,
};

/// The route: where messages go, and which ones.
#[derive(Debug)]
pub struct SendMessage<S, E, L> {
    /// The sink of logged messages.
    pub sink: S,
    /// The admission of logged messages.
    pub admission: Admission<L>,
    /// Rooms that keep state: there a message with a key needs the right `state`.
    pub state_rooms: RoomPatterns,
    /// The queue of ephemeral messages, unless they are off.
    pub ephemerals: Option<Ephemerals<E>>,
}

impl<S: Sink, E: EphemeralSink, L: CongestionSource> SendMessage<S, E, L> {
    /// Accepts a message, and enqueues it if it is admitted.
    ///
    /// # Errors
    /// When the message is too large, the subject may not send it to the room, sends too much or the room is behind, or
    /// the queue does not take the message. The client is told of a throttle at once.
    pub async fn serve(
        &self,
        frame: &Frame,
        trace: Option<&TraceHeader>,
        draft: Draft<'_>,
        clock: &impl Clock,
        metrics: &Metrics,
    ) -> Result<Reply, RouteError> {
        if draft.is_ephemeral() {
            return self.serve_ephemeral(frame, draft, clock).await;
        }
        let origin = Origin { id: &frame.message_id, from: frame.grant.subject.as_str(), sent_at: clock.unix_millis() };
        let message = draft.accept(origin)?;
        frame.grant.require(Right::Send, &message.room)?;
        // Otherwise everybody who may chat could give all later joiners a false value.
        if message.key.is_some() && self.state_rooms.matches(&message.room) {
            frame.grant.require(Right::State, &message.room)?;
        }
        let bytes = frame.body.as_ref().map_or(0, |body| body.len() as u64);
        self.admission.admit(&message, bytes, clock).await?;
        self.admission.beside_a_look(self.sink.put(&message, trace), clock).await?;
        metrics.add(ACCEPTED, 1);
        tracing::info!(room = %message.room, id = message.id, "accepted");
        Ok(Reply::Accepted { room_id: message.room, id: message.id })
    }

    /// An ephemeral message is not counted as accepted: nothing of it will come out of the log.
    async fn serve_ephemeral(&self, frame: &Frame, draft: Draft<'_>, clock: &impl Clock) -> Result<Reply, RouteError> {
        let Some(ephemerals) = &self.ephemerals else {
            return Err(FieldError::invalid("ephemeral", "must be left out: there are no such messages here").into());
        };
        let id = draft.id.as_ref().map_or(&frame.message_id, |Name(id)| id).clone();
        let message = draft.accept_ephemeral(frame.grant.subject.as_str(), clock.unix_millis())?;
        frame.grant.require(Right::Send, &message.room)?;
        ephemerals.put(&message, clock).await?;
        tracing::debug!(room = %message.room, id, "accepted, ephemeral");
        Ok(Reply::Accepted { room_id: message.room, id })
    }
}

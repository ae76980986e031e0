//! The ticks of one room, and its publication.
//!
//! A publication is a row first; then the room and the bus are told of it. If the function is killed between the two,
//! the row has the id of its tick, and that tick comes back: then they are told again.
//!
//! ```text
//! tick 7:  read the row (rev 4), read the members' rows, put rev 5 by tick 7   (killed)
//! tick 7:  read the row: rev 5 by tick 7, so tell rev 5; done
//! tick 8:  read the row (rev 5) ...
//! ```

use shared::{
    RoomId,
    clock::Clock,
    metrics::{
        Metrics,
        names::{LIFECYCLE_EVENTS, PUBLICATIONS, RECONCILIATIONS_UNCHANGED},
    },
    queue::{Queue, QueueError},
    store::{StoreError, connections::ALL_SLOTS, presence::PresenceRow, room_size},
};

use super::{
    config::Kept,
    environment::PresenceFunction,
    events::{self, Bus},
    members,
    pace::{ComeBackAt, between_publications},
    row,
    ticks::{RoomTicks, Tick},
};

/// Connections on the first page of a room: enough to tell how large it is.
const FIRST_PAGE: u32 = 500;

/// The number of times that a room is read anew after another environment has published it.
const ATTEMPTS: usize = 3;

/// The ticks of a room that are not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// None.
    Nothing,
    /// Those from one on, for which there is nothing to do before a time.
    Hidden {
        /// The first one's place.
        first: usize,
        /// The time, in milliseconds since the Unix epoch.
        until: u64,
    },
}

/// The reason why a room's ticks stay in the queue.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A table did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rooms' queue or the event bus did not take what it should hand on.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// Others have published the room at the same time, which should not happen: its ticks are one FIFO group.
    #[error("another one has published the room each of {ATTEMPTS} times")]
    Overtaken,
}

/// The result of an attempt.
enum Attempt {
    /// The attempt has come to an end.
    Over(Left),
    /// Another one has published meanwhile.
    Lost,
}

impl<Q: Queue, B: Bus, C: Clock> PresenceFunction<Q, B, C> {
    /// Publishes a room, if anything has changed.
    ///
    /// # Errors
    /// When something did not answer; with the place of the first tick that is not done.
    pub(super) async fn publish(&self, ticks: &RoomTicks, metrics: &Metrics) -> Result<Left, (usize, PublishError)> {
        let kept = self.settings.kept(&ticks.room);
        if kept.is_nothing() {
            return Ok(Left::Nothing);
        }
        let mut first = 0;
        for _ in 0..ATTEMPTS {
            match self.attempt(ticks, kept, &mut first, metrics).await {
                Ok(Attempt::Over(left)) => return Ok(left),
                Ok(Attempt::Lost) => {}
                Err(error) => return Err((first, error)),
            }
        }
        Err((first, PublishError::Overtaken))
    }

    async fn attempt(
        &self,
        RoomTicks { room, ticks }: &RoomTicks,
        kept: Kept,
        first: &mut usize,
        metrics: &Metrics,
    ) -> Result<Attempt, PublishError> {
        let published = self.presence.get(room).await?;
        if let Some(row) = &published {
            // This comes before the comparison of times, by which the tick of the row would count as done.
            if let Some(place) = ticks[*first..].iter().position(|tick| tick.id == row.by) {
                self.tell_again(room, row, kept, metrics).await?;
                *first += place + 1;
            }
            let is_seen = |tick: &&Tick| tick.receipt.queued_at + self.settings.delay_ms <= row.read_at;
            *first += ticks[*first..].iter().take_while(is_seen).count();
        }
        let Some(tick) = ticks.get(*first) else { return Ok(Attempt::Over(Left::Nothing)) };
        let now = self.clock.unix_millis();
        let hidden = |until: u64| Ok(Attempt::Over(Left::Hidden { first: *first, until }));
        if let Some(row) = published.as_ref().filter(|row| now < row.next_at) {
            return hidden(row.next_at);
        }
        let mut permit = None;
        if kept.presence {
            let posts = published.as_ref().map(|row| row.connections);
            let waited = now.saturating_sub(tick.receipt.queued_at + self.settings.delay_ms);
            match self.budget.admit(posts, waited, now) {
                Ok(given) => permit = Some(given),
                Err(ComeBackAt(until)) => return hidden(until),
            }
        }
        let present = members::read(&self.presence, room, self.settings.list_max, now / 1_000).await?;
        let connections = present.connections;
        let Some(next) = row::next(published.as_ref(), present, kept, self.settings.list_max) else {
            metrics.add(RECONCILIATIONS_UNCHANGED, 1);
            if let Some(row) = &published {
                self.note_look(room, row, kept, now).await?;
            }
            return Ok(Attempt::Over(Left::Nothing));
        };
        // A publication is posted to everybody in the room, member or not.
        let connections = if kept.presence { self.size(room).await? } else { connections };
        let row = PresenceRow {
            rev: now.max(next.last.after + 1),
            by: tick.id.clone(),
            next_at: now + between_publications(connections, kept, self.settings.posts_per_second),
            read_at: now,
            connections,
            ..next
        };
        if !self.presence.publish(room, &row, published.map(|row| row.rev)).await? {
            return Ok(Attempt::Lost);
        }
        metrics.add(PUBLICATIONS, 1);
        self.send(room, &row).await?;
        if let Some(permit) = permit {
            permit.pay(connections, self.clock.unix_millis());
        }
        self.put_events(room, &row, kept, metrics).await?;
        tracing::info!(%room, rev = row.rev, count = row.count, connections, "published");
        Ok(Attempt::Over(Left::Nothing))
    }

    /// Tells what an earlier delivery of the same tick has published, and may not have told to its end.
    async fn tell_again(
        &self,
        room: &RoomId,
        row: &PresenceRow,
        kept: Kept,
        metrics: &Metrics,
    ) -> Result<(), PublishError> {
        // The bus first, the room after it. While the bus refuses, each delivery of the tick ends here; the room would
        // be told each time that the queue has forgotten the record's deduplication id.
        self.put_events(room, row, kept, metrics).await?;
        self.send(room, row).await?;
        if kept.presence {
            self.budget.pay(row.connections, self.clock.unix_millis());
        }
        Ok(())
    }

    /// Tells the room's connections what a publication has changed; again is fine.
    async fn send(&self, room: &RoomId, row: &PresenceRow) -> Result<(), PublishError> {
        if let Some(publication) = row::publication(row) {
            let record = publication.to_record(room, None);
            self.broadcasts.send(std::slice::from_ref(&record)).await.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }

    /// Tells the bus what a publication has changed; again is fine.
    async fn put_events(
        &self,
        room: &RoomId,
        row: &PresenceRow,
        kept: Kept,
        metrics: &Metrics,
    ) -> Result<(), PublishError> {
        let events = events::of_publication(room, row, kept.events);
        if events.is_empty() {
            return Ok(());
        }
        for result in self.bus.put(&events).await {
            match result {
                Ok(()) => metrics.add(LIFECYCLE_EVENTS, 1),
                // It would be refused again each time, and nothing would ever be published of the room.
                Err(error @ QueueError::Refused { .. }) => tracing::error!(%room, %error, "a lifecycle event is lost"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Notes that the members' rows were read and nothing has changed. In rooms where reading is cheap it does so only
    /// now and then.
    async fn note_look(&self, room: &RoomId, row: &PresenceRow, kept: Kept, now: u64) -> Result<(), StoreError> {
        let is_large = row.members.is_none() || row.everybody > self.settings.list_max as u64;
        let is_old = row.read_at + self.settings.rooms.lease_seconds * 250 <= now;
        if !is_large && !is_old {
            return Ok(());
        }
        let pace = between_publications(row.connections, kept, self.settings.posts_per_second);
        self.presence.note_look(room, row.rev, now, if is_large { now + pace } else { now }).await
    }

    /// About how many connections a room has.
    async fn size(&self, room: &RoomId) -> Result<u64, StoreError> {
        let page = self.connections.page(room, ALL_SLOTS, None, FIRST_PAGE).await?;
        Ok(room_size::estimate(&page.members, page.next.is_none()))
    }
}

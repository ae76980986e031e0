//! The routes of the WebSocket API, a file or a folder for each. Those of the `session` function share what is here.

pub mod connect;
pub mod disconnect;
pub mod get_history;
pub mod get_members;
pub mod get_state;
pub mod join_room;
pub mod leave_room;
pub mod send_message;
pub mod sync;

use std::cell::RefCell;

use fastrand::Rng;
use shared::{clock::Clock, queue::Queue};

use crate::{
    beat::Beat, config::SessionLimits, connections_api::ConnectionsApi, heads::Heads, presence::membership::Presence,
    response::RouteError, shares::RequestShares, state::States, tables::Tables,
};

/// The tables, queues and limits of the `session` function's routes.
#[derive(Debug)]
pub struct SessionRoutes<C, Q> {
    /// The tables.
    pub tables: Tables<C>,
    /// The API by which connections are closed and asked about.
    pub connections_api: ConnectionsApi,
    /// The limits of connections, subjects and rooms.
    pub limits: SessionLimits,
    /// The shares of each subject and room.
    pub shares: RequestShares<C>,
    /// The heads of logs.
    pub heads: Heads<C>,
    /// The state of rooms.
    pub states: States<C>,
    /// The presence of members in rooms.
    pub presence: Presence<C, Q>,
    /// When clients should sync next.
    pub beat: RefCell<Beat>,
    /// The source of the orders in which rooms are served.
    pub random: RefCell<Rng>,
    /// The time for which the log keeps a message.
    pub retention_seconds: u64,
    /// The time.
    pub clock: C,
}

impl<C: Clock, Q: Queue> SessionRoutes<C, Q> {
    /// When a client should sync rooms whose newest message is from the time `newest`, in milliseconds. `is_present`
    /// says whether it is present in any of them.
    fn sync_after(&self, newest: Option<u64>, is_present: bool) -> u64 {
        let longest = is_present.then(|| self.presence.longest_beat());
        self.beat.borrow_mut().sync_after(newest, longest, self.clock.unix_millis())
    }

    /// When a client that was refused for a throttle should ask again, in milliseconds.
    pub fn retry_after(&self) -> u64 {
        self.beat.borrow_mut().retry_after(self.clock.unix_millis())
    }

    /// Notes for the beat if a route was throttled.
    pub fn note<T>(&self, result: &Result<T, RouteError>) {
        if result.as_ref().is_err_and(RouteError::is_throttled) {
            self.note_throttle();
        }
    }

    fn note_throttle(&self) {
        self.beat.borrow_mut().throttled(self.clock.unix_millis());
    }
}

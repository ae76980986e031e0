//! One file for each route.

pub mod connect;
pub mod disconnect;
pub mod get_history;
pub mod join_room;
pub mod leave_room;
pub mod send_message;
pub mod sync;

use shared::{RoomId, Subject, subject::Capability};

use crate::response::RouteError;

/// Lets a request on only if its subject may join the room; reading a room's log asks for the same.
fn require_join(subject: &Subject, room: &RoomId) -> Result<(), RouteError> {
    if subject.may(Capability::Join, room) {
        return Ok(());
    }
    Err(RouteError::Forbidden(format!("`roomId` {room} is another's personal room")))
}

//! One file for each route.

pub mod connect;
pub mod disconnect;
pub mod get_history;
pub mod get_members;
pub mod get_state;
pub mod join_room;
pub mod leave_room;
pub mod send_message;
pub mod sync;

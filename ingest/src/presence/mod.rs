//! Who is in a room: members' rows, and the ticks that say that they have changed.

pub mod beat;
pub mod list;
pub mod rows;
pub mod tick;

//! Who is in a room: members' rows, what is published of them, and who is told.

mod session;

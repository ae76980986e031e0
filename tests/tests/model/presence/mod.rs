//! Presence of one room: how its list is published, and how a client follows it. A list frame says what has changed
//! since the publication before, so neither side needs to know more of the other than the row and the frames: two
//! models.

mod client;
mod publisher;
mod room;
mod tests;

/// The listed data of each of two subjects; 0 if it is absent.
type List = [u8; 2];

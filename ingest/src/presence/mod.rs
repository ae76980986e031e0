//! Presence: who is in a room, noticed by ticks and published as a whole.
//!
//! A tick says that something may have changed in a room, never what. The function that gets it reads the members'
//! rows, and publishes the difference from before. So whatever was lost on the way to one publication is made good by
//! the next.
//!
//! Module [`rooms`] says which rooms have it.
//!
//! | module | what it does in `session` |
//! |---|---|
//! | [`membership`] | puts, renews, deletes the rows of those who are present |
//! | [`tick`] | tells that a room's rows have changed |
//! | [`list`] | tells a client who is there |
//! | [`recent`] | keeps lists that were read for a second |
//! | [`attend`] | renews leases with a `sync`, and finds rooms that nobody has looked at |
//!
//! | module | what it does in `presence` |
//! |---|---|
//! | [`handler`] | takes a batch, and says which ticks must stay in the queue |
//! | [`ticks`] | reads a batch of the queue of ticks, by room |
//! | [`members`] | reads the rows of a room's members, and says who is present |
//! | [`row`] | compares that with what is published, and decides what the room and the event bus are told |
//! | [`publish`] | serves one room's ticks |
//! | [`pace`] | says when a room may be published again, and what an environment may spend |
//! | [`events`] | builds lifecycle events |
//!
//! Module [`environment`] has all that lasts from one invocation to the next.

pub mod attend;
pub mod config;
pub mod environment;
pub mod events;
pub mod handler;
pub mod list;
pub mod members;
pub mod membership;
pub mod pace;
pub mod publish;
pub mod recent;
pub mod rooms;
pub mod row;
pub mod tick;
pub mod ticks;

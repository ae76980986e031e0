//! Presence: who is in a room, noticed by ticks and published as a whole.
//!
//! A tick says that something may have changed in a room, never what: whoever gets it reads the members' rows and publishes what
//! is different from before. So whatever was lost on the way to one publication is made good by the next.
//!
//! | module | what it does in `session` |
//! |---|---|
//! | [`membership`] | puts, renews, deletes the rows of those who are present |
//! | [`tick`] | tells that a room's rows have changed |
//! | [`list`] | tells a client who is there |
//! | [`recent`] | keeps for a second what it has read of lists |
//! | [`attend`] | what a `sync` does for presence |
//!
//! | module | what it does in `presence` |
//! |---|---|
//! | [`handler`] | takes a batch, answers which ticks must stay in the queue |
//! | [`ticks`] | reads a batch of the queue of ticks, by room |
//! | [`members`] | reads the rows of a room's members, and says who is present |
//! | [`row`] | compares that with what is published, and decides what the room and the event bus are told |
//! | [`publish`] | brings one room's ticks to their end |
//! | [`pace`] | says when a room may be published again, and what an environment may spend |
//! | [`events`] | lifecycle events |
//!
//! What lasts from one invocation to the next is in [`environment`].

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
pub mod row;
pub mod tick;
pub mod ticks;

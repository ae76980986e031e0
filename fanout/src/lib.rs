//! The fan-out: turns each queued message into an ordered, recoverable broadcast to a whole room.
//!
//! A batch of the queue passes through one module after the other:
//!
//! | module | what it does |
//! |---|---|
//! | [`handler`] | takes a batch, and returns the records that must stay in the queue |
//! | [`batch`] | reads the records, and sorts them into their FIFO groups |
//! | [`group`] | brings one group out: a room's messages, or a shard's jobs |
//! | [`log`] | numbers messages, and appends them to the room's log |
//! | [`layout`] | decides whether a room's messages are posted at once or go through the shard queue |
//! | [`resume`] | says where an interrupted group goes on |
//! | [`frame`] | encodes messages, each once for all connections |
//! | [`presence`] | reads and merges publications of who is in a room |
//! | [`state`] | writes the greatest message of each key into the room's state |
//! | [`shard`] | cuts broadcasts to large rooms into jobs |
//! | [`broadcast`] | posts frames to a room's members |
//! | [`limit`] | says when the next post may be made |
//! | [`connections_api`] | makes the post |
//!
//! [`environment`] holds the state that lasts from one invocation to the next. [`congestion`] notes which groups are
//! behind, so that senders are told to slow down.
//!
//! Ephemeral messages have a queue and a function of their own: [`ephemeral`].

pub mod batch;
pub mod broadcast;
pub mod config;
pub mod congestion;
pub mod connections_api;
pub mod deadline;
pub mod environment;
pub mod ephemeral;
pub mod frame;
pub mod group;
pub mod handler;
pub mod layout;
pub mod limit;
pub mod log;
pub mod presence;
pub mod resume;
pub mod shard;
pub mod state;

//! The crate of all that Roomcast's functions share: the vocabulary (rooms, connections, messages, frames and their
//! limits), configuration and logs, and the I/O edge (the connection table, the room log, the queue).

pub mod aws;
pub mod backoff;
pub mod clock;
pub mod config;
pub mod congestion;
pub mod connection;
mod data;
pub mod ephemeral;
pub mod frame;
mod item;
pub mod json;
pub mod limits;
pub mod message;
pub mod metrics;
pub mod order;
pub mod presence;
pub mod queue;
pub mod rights;
pub mod room;
pub mod room_pattern;
pub mod start;
pub mod store;
pub mod subject;
pub mod telemetry;
pub mod text;
pub mod trace;

pub use connection::ConnectionId;
pub use ephemeral::Ephemeral;
pub use message::{LoggedMessage, Message};
pub use room::RoomId;
pub use subject::Subject;

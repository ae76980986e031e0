//! Presence: published by the `presence` function, posted by `fanout`, seen by clients.

mod bus;
mod environments;
mod fanout;
mod metrics;
mod pace;
mod properties;
mod session;
mod sweep;
mod world;

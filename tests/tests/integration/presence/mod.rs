//! Presence: published by the `presence` function, posted by `fanout`, seen by clients.

mod fanout;
mod metrics;
mod session;

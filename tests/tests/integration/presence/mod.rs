//! Presence: published by the `presence` function, posted by `fanout`, seen by clients.

mod bus;
mod clients;
mod environments;
mod fanout;
mod metrics;
mod outage;
mod pace;
mod properties;
mod rows;
mod session;
mod slow;
mod sweep;
mod world;

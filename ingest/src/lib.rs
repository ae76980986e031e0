//! The functions behind routes, bus and schedule: `message` only validates and enqueues, `session` keeps the connection
//! table and reads the log, `authorizer` decides who may connect, `relay` brings events from the bus to the queue,
//! `presence` publishes who is in a room, and `sweeper` deletes rows that were left behind.

pub mod admission;
pub mod authorizer;
pub mod beat;
pub mod buckets;
pub mod budget;
pub mod catch_up;
pub mod config;
pub mod congestion;
pub mod connections_api;
pub mod deadline;
pub mod ephemeral;
pub mod event;
pub mod grant;
pub mod heads;
pub mod message;
pub mod origins;
pub mod presence;
pub mod relay;
pub mod request;
pub mod response;
pub mod routes;
pub mod session;
pub mod shares;
pub mod state;
pub mod sweep;
pub mod sweeper;
pub mod tables;
pub mod token;

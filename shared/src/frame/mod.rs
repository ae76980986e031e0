//! The wire protocol, version 1: JSON text frames.

pub mod broadcast;
pub mod ephemeral;
pub mod server;

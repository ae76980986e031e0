//! A file for each command.

pub mod bench;
pub mod completions;
pub mod cost;
pub mod disconnect;
pub mod dlq;
pub mod doctor;
pub mod explain;
pub mod members;
pub mod publish;
pub mod smoke;
pub mod state;
pub mod stats;
pub mod sweep;
pub mod tail;

//! The operator's command, for people who run a Roomcast stack.
//!
//! Every command works on a deployed stack and needs only its name: tables, queues and functions are read from the
//! stack's outputs. The local stack is a deployed stack with another endpoint.

pub mod arguments;
pub mod client;
pub mod commands;
pub mod cost;
pub mod dispatch;
pub mod failure;
pub mod letters;
pub mod output;
pub mod parse;
pub mod stack;
pub mod target;
pub mod time;
pub mod token;
pub mod traces;

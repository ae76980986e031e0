//! The operator's command: what somebody needs who runs a Roomcast stack, by day and by night.
//!
//! Every command works on a deployed stack, of which it knows no more than its name: tables, queues, functions are read
//! from the stack's outputs. The local stack is a deployed stack with another endpoint.

pub mod arguments;
pub mod commands;
pub mod cost;
pub mod failure;
pub mod output;
pub mod stack;

//! The operator's command on a local stack.

pub(crate) mod bench;
pub(crate) mod command;
pub(crate) mod doctor;
pub(crate) mod faults;
pub(crate) mod smoke;

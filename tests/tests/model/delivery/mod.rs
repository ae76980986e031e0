//! Delivery: how a message gets from its producer to everybody in its room. Three models, each of rules that depend on
//! each other.

pub(crate) mod broadcast;
mod catalogue;
mod groups;
mod numbering;
mod tests;

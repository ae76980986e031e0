//! Delivery: how a message gets from its producer to everybody in its room. Three models, of what hangs together.

pub(crate) mod broadcast;
mod catalogue;
mod groups;
mod numbering;
mod tests;

//! The session function's part in presence and lifecycle events.

mod beats;
mod costs;
mod lists;
mod promises;
mod publications;
mod rows;
mod ticks;
mod world;

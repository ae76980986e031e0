//! The room log and its readers, on an embedded DynamoDB through the real SDK.

mod beats;
mod chaos;
mod heads;
mod in_part;
mod jumps;
mod memberships;
mod numbering;
mod outage;
mod progress;
mod properties;
mod races;
mod read_units;
mod reads;
mod rooms;
mod rows;
mod session;
mod shares;
mod tables;
mod throttled;
mod writer;

pub(crate) use in_part::finished_meanwhile;
pub(crate) use session::{Session, event, nobody_expires};
pub(crate) use writer::{Writer, batch_of, client, redelivered, writer_over};

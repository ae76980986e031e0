//! The room log and who reads it, on an embedded DynamoDB through the real SDK.

mod chaos;
mod heads;
mod numbering;
mod outage;
mod progress;
mod properties;
mod races;
mod reads;
mod rows;
mod session;
mod throttled;
mod writer;

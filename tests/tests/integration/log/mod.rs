//! The room log and who reads it, on an embedded DynamoDB through the real SDK.

mod chaos;
mod numbering;
mod properties;
mod races;
mod reads;
mod session;
mod writer;

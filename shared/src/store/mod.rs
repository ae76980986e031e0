//! The tables, in DynamoDB.

pub mod congestion;
pub mod connections;
mod error;
mod item;
pub mod log;
pub mod subjects;

pub use error::StoreError;

//! The tables, in DynamoDB.

mod batch_read;
pub mod congestion;
pub mod connections;
mod error;
pub mod log;
pub mod presence;
pub mod room_size;
pub mod scan;
pub mod state;
pub mod subjects;
pub mod sweep;

pub use error::StoreError;

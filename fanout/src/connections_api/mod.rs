//! The @connections API of API Gateway: posting to connections, and closing them.
//!
//! One attempt passes through one file after the other: [`signed`] makes it, `credentials` and `signature` sign it,
//! `request` gives it the form of its protocol, `transport` chooses the protocol, `http1` and `http2` carry it over the
//! connections that `endpoint` opens, and [`outcome`] says what its answer means.

mod credentials;
mod endpoint;
mod http1;
mod http2;
pub mod outcome;
mod request;
mod response;
pub mod sdk;
mod session;
mod signature;
pub mod signed;
mod transport;
mod transport_error;

use std::future::Future;

use shared::ConnectionId;

pub use self::{
    endpoint::EndpointError,
    outcome::{Misconfiguration, NextStep, Outcome, Tries},
    sdk::SdkConnectionsApi,
    signed::{SetupError, SignedConnectionsApi},
};
use crate::frame::EncodedFrame;

/// The @connections API. Many calls are made at once; dropping one leaves nothing behind: its HTTP/1.1 connection is
/// closed, its HTTP/2 stream is reset.
pub trait ConnectionsApi {
    /// Posts a frame to a connection: one attempt, within the time for an attempt.
    fn post(&self, connection: &ConnectionId, frame: &EncodedFrame) -> impl Future<Output = Outcome>;

    /// Closes a connection (`DeleteConnection`), so that its client connects anew and resumes. Best effort.
    fn close(&self, connection: &ConnectionId) -> impl Future<Output = Outcome>;
}

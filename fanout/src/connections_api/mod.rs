//! The @connections API of API Gateway: posting to connections, and closing them.
//!
//! An attempt passes through these files in turn: [`signed`] makes it, `credentials` and `signature` sign it, `request`
//! gives it the form of its protocol, `transport` chooses the protocol, `http1` and `http2` carry it over the
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

/// The @connections API. Many calls are made at once. A call can be dropped at any time: its HTTP/1.1 connection is
/// then closed, its HTTP/2 stream reset.
pub trait ConnectionsApi {
    /// Makes one attempt to post a frame to a connection, within the time for an attempt.
    fn post(&self, connection: &ConnectionId, frame: &EncodedFrame) -> impl Future<Output = Outcome>;

    /// Closes a connection (`DeleteConnection`), so that its client connects anew and resumes. Best effort.
    fn close(&self, connection: &ConnectionId) -> impl Future<Output = Outcome>;
}

//! The reasons why a call has no response, over HTTP/1.1 as over HTTP/2.

use std::{error::Error, rc::Rc};

use super::endpoint::ConnectError;

/// The reason why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransportError {
    /// No connection could be opened, so nothing was sent.
    #[error(transparent)]
    Unreachable(#[from] Rc<ConnectError>),
    /// The endpoint speaks only HTTP/1.1, and nothing was sent.
    #[error("the endpoint does not speak HTTP/2")]
    Http1Only,
    /// The response did not come in time.
    #[error("no response in time")]
    TimedOut,
    /// The connection broke, or the server reset the request.
    #[error(transparent)]
    Broken(Box<dyn Error>),
    /// The request cannot be expressed in the protocol.
    #[error("the request cannot be sent")]
    Unsendable,
}

impl TransportError {
    /// No connection was open before the attempt's deadline.
    pub(super) fn no_connection_in_time() -> Self {
        Rc::new(ConnectError::TimedOut).into()
    }
}

impl From<ConnectError> for TransportError {
    fn from(error: ConnectError) -> Self {
        Rc::new(error).into()
    }
}

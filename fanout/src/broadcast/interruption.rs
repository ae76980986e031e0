//! The reasons for which a broadcast stops before its end.

use shared::store::StoreError;

use crate::connections_api::Misconfiguration;

/// The reason why a broadcast did not get to its end. Its records must come back.
#[derive(Debug, thiserror::Error)]
pub enum Interruption {
    /// The invocation's time is up.
    #[error("the invocation's time was up in the middle of a broadcast")]
    TimeIsUp,
    /// Nobody can be posted to until an operator has mended something.
    #[error(transparent)]
    Misconfigured(#[from] Misconfiguration),
    /// Nobody can be posted to, because nobody answers at the endpoint.
    #[error("the endpoint cannot be reached: is CONNECTIONS_ENDPOINT right, and the network?")]
    Unreachable,
    /// The connection table did not answer.
    #[error(transparent)]
    Members(#[from] StoreError),
}

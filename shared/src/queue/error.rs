//! The reasons why a queue or bus did not take something.

use std::error::Error;

use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata};

use crate::aws::{is_refusal, is_throttle};

/// A record was not confirmed by the queue or bus, after all attempts. Unless it was refused, it may be sent again,
/// under the same id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// The queue or bus takes no more for now: the sender should slow down.
    #[error("{operation} was throttled: {reason}")]
    Throttled {
        /// The call.
        operation: &'static str,
        /// The error of the SDK, or of the entry.
        reason: String,
    },
    /// The queue or bus did not answer, or with another error: a right is missing, the queue does not exist.
    #[error("{operation} failed: {reason}")]
    Unavailable {
        /// The call.
        operation: &'static str,
        /// The error of the SDK, or of the entry.
        reason: String,
    },
    /// The queue or bus will never take this record: the same call would be refused again.
    #[error("{operation} was refused: {reason}")]
    Refused {
        /// The call.
        operation: &'static str,
        /// The error of the SDK, or of the entry.
        reason: String,
    },
    /// The record was not sent, because a record ahead of it in its group was not confirmed.
    #[error("not sent, because a record ahead of it in its group was not confirmed")]
    NotSent,
}

impl QueueError {
    /// A whole call's error.
    pub(super) fn of_call<E>(operation: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        move |error| {
            let code = error.code().map(str::to_owned);
            Self::new(operation, code.as_deref(), DisplayErrorContext(error).to_string())
        }
    }

    /// The error of one entry of a call that has succeeded.
    pub(super) fn of_entry(operation: &'static str, code: Option<&str>, message: Option<&str>) -> Self {
        let reason = format!("{}: {}", code.unwrap_or("no code"), message.unwrap_or("no message"));
        Self::new(operation, code, reason)
    }

    fn new(operation: &'static str, code: Option<&str>, reason: String) -> Self {
        match code {
            Some(code) if is_throttle(code) => Self::Throttled { operation, reason },
            Some(code) if is_refusal(code) => Self::Refused { operation, reason },
            _ => Self::Unavailable { operation, reason },
        }
    }
}

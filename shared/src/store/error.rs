//! The reasons why a table did not do what it was asked for.

use std::error::Error;

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata};

use crate::aws::is_throttle;

/// The code of a write whose condition does not hold.
const CONDITION_FAILED: &str = "ConditionalCheckFailedException";

/// A call to a table that did not succeed within its attempts.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The table or a partition of it takes no more for now: the same call will succeed when there is room again. Worth
    /// further attempts, with growing waits. An attempt before the last one may have been carried out all the same.
    #[error("{operation} was throttled: {source}")]
    Throttled {
        /// The call.
        operation: &'static str,
        /// The error of the SDK, its sources included.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The table did not answer, or refused. A write may have been carried out all the same. Callers can only give up
    /// for now: a route answers `unavailable`, fan-out leaves the records in the queue.
    #[error("{operation} failed: {source}")]
    Unavailable {
        /// The call.
        operation: &'static str,
        /// The error of the SDK, its sources included.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StoreError {
    /// Whether the same call will succeed when the table has room again.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        matches!(self, Self::Throttled { .. })
    }

    /// A call for which the table had no room, or not for all of it.
    pub fn throttled(operation: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Throttled { operation, source: source.into() }
    }

    /// The output of a conditional write, or `None` where its condition does not hold.
    pub(super) fn unless_condition_failed<T, E>(
        operation: &'static str,
        written: Result<T, E>,
    ) -> Result<Option<T>, Self>
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        match written {
            Ok(output) => Ok(Some(output)),
            Err(error) if error.code() == Some(CONDITION_FAILED) => Ok(None),
            Err(error) => Err(Self::of_call(operation)(error)),
        }
    }

    /// A request that could not even be built.
    pub(super) fn not_built(operation: &'static str) -> impl FnOnce(aws_sdk_dynamodb::error::BuildError) -> Self {
        move |error| Self::Unavailable { operation, source: error.into() }
    }

    /// A call's error. An SDK error's own text is only "service error", so its sources are told too.
    pub(super) fn of_call<E>(operation: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        move |error| {
            let is_throttled = error.code().is_some_and(is_throttle);
            let source = DisplayErrorContext(error).to_string().into();
            if is_throttled { Self::Throttled { operation, source } } else { Self::Unavailable { operation, source } }
        }
    }
}

//! Why a command did not do what it was asked to, and the exit code that says so.

use std::{error::Error, process::ExitCode};

use aws_sdk_sqs::error::DisplayErrorContext;

/// Why a command ended without having done what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for makes no sense: exit code 2, as that of arguments that cannot be read.
    #[error("{0}")]
    Asked(String),
    /// Something is not there, or not as it must be: exit code 1.
    #[error("{0}")]
    Met(String),
    /// A call was refused or not answered: exit code 1.
    #[error("{what}: {}", DisplayErrorContext(source.as_ref()))]
    Call {
        /// What the command was about to do.
        what: String,
        /// The SDK's error.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl Failure {
    /// Turns the error of a call into a failure that says what it was for.
    pub fn call<E: Error + Send + Sync + 'static>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Call { what, source: Box::new(source) }
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Asked(_) => ExitCode::from(2),
            Self::Met(_) | Self::Call { .. } => ExitCode::FAILURE,
        }
    }
}

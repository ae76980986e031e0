//! Failures of commands, and their exit codes.

use std::{error::Error, fmt, process::ExitCode};

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command as it was given makes no sense: exit code 2, as for arguments that cannot be parsed.
    #[error("{0}")]
    Asked(String),
    /// Something is missing, or not as it must be: exit code 1.
    #[error("{0}")]
    Met(String),
    /// A call was refused or not answered: exit code 1.
    #[error("{what}: {}", Causes(source.as_ref()))]
    Call {
        /// The purpose of the call.
        what: String,
        /// The SDK's error.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// An error with its causes, each text once: SDK errors often wrap others with the same text, and say little
/// themselves.
pub struct Causes<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            let cause = error.to_string();
            if !said.contains(&cause) {
                write!(f, ": {cause}")?;
                said.push_str(&cause);
            }
            next = error.source();
        }
        Ok(())
    }
}

impl Failure {
    /// Turns the error of a call into a failure that says what the call was for.
    pub fn call<E: Error + Send + Sync + 'static>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Call { what, source: Box::new(source) }
    }

    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Asked(_) => ExitCode::from(2),
            Self::Met(_) | Self::Call { .. } => ExitCode::FAILURE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn a_failed_call_says_each_cause_once_in_one_line() {
        let refused = Link("the connection was refused", None);
        let again = Link("the connection was refused", Some(Box::new(refused)));
        let error = Link("dispatch failure", Some(Box::new(again)));
        let failure = Failure::call("the stack was to be looked up")(error);
        assert_eq!(failure.to_string(), "the stack was to be looked up: dispatch failure: the connection was refused");
    }
}

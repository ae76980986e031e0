//! `roomcast dlq`.

use std::process::ExitCode;

use clap::Subcommand;

use crate::{failure::Failure, output::Output, stack::Stack};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub enum Options {
    /// The dead letters, with their reasons.
    List,
}

/// Not built yet.
///
/// # Errors
/// Always.
pub async fn run(_options: Options, _stack: &Stack, _output: &Output) -> Result<ExitCode, Failure> {
    Err(Failure::Met("not built yet".to_owned()))
}

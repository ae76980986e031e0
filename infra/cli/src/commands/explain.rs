//! `roomcast explain`.

use std::process::ExitCode;

use clap::Args;

use crate::{failure::Failure, output::Output, stack::Stack};

/// Options of `roomcast explain`.
#[derive(Args, Debug)]
pub struct Options {}

/// Not built yet.
///
/// # Errors
/// Always.
pub async fn run(_options: Options, _stack: &Stack, _output: &Output) -> Result<ExitCode, Failure> {
    Err(Failure::Met("not built yet".to_owned()))
}

//! `roomcast cost`: what a workload costs a month.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use crate::{failure::Failure, output::Output};

/// Options of `roomcast cost`.
#[derive(Args, Debug)]
pub struct Options {
    /// The workload's description.
    pub file: PathBuf,
}

/// Not built yet. Asks no stack.
///
/// # Errors
/// Always.
pub fn run(_options: &Options, _output: &Output) -> Result<ExitCode, Failure> {
    Err(Failure::Met("not built yet".to_owned()))
}

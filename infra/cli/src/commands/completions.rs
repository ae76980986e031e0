//! `roomcast completions`: a completion script for a shell, on standard output.

use std::{io, process::ExitCode};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::arguments::Arguments;

/// Options of `roomcast completions`.
#[derive(Args, Debug)]
pub struct Options {
    /// The shell.
    pub shell: Shell,
}

/// Writes the script.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    clap_complete::generate(options.shell, &mut Arguments::command(), "roomcast", &mut io::stdout());
    ExitCode::SUCCESS
}

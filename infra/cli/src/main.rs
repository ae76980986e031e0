//! `roomcast`, the operator's command.

use std::process::ExitCode;

use clap::Parser;
use roomcast::{arguments::Arguments, dispatch, output::Output};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    match dispatch::run(arguments, &output).await {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

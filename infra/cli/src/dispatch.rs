//! The dispatch of the command line to its command.

use std::process::ExitCode;

use crate::{
    arguments::{Arguments, Command},
    commands::{
        bench, completions, cost, disconnect, dlq, doctor, explain, members, publish, smoke, state, stats, sweep, tail,
    },
    failure::Failure,
    output::Output,
    stack::Stack,
};

/// Runs the command.
///
/// # Errors
/// When the command failed.
pub async fn run(arguments: Arguments, output: &Output) -> Result<ExitCode, Failure> {
    let open = async || Stack::open(&arguments.target).await;
    match arguments.command {
        Command::Doctor(options) => doctor::run(options, &open().await?, output).await,
        Command::Stats(options) => stats::run(options, &open().await?, output).await,
        Command::Members(options) => members::run(options, &open().await?, output).await,
        Command::State(options) => state::run(options, &open().await?, output).await,
        Command::Tail(options) => tail::run(options, &open().await?, output).await,
        Command::Publish(options) => publish::run(options, &open().await?, output).await,
        Command::Explain(options) => explain::run(options, &open().await?, output).await,
        Command::Dlq(options) => dlq::run(options, &open().await?, output).await,
        Command::Sweep(options) => sweep::run(options, &open().await?, output).await,
        Command::Disconnect(options) => disconnect::run(options, &open().await?, output).await,
        Command::Smoke(options) => smoke::run(options, &open().await?, output).await,
        Command::Bench(options) => bench::run(options, &open().await?, output).await,
        Command::Cost(options) => cost::run(&options, output),
        Command::Completions(options) => Ok(completions::run(&options)),
    }
}

//! A file for each command.

pub mod bench;
pub mod completions;
pub mod cost;
pub mod disconnect;
pub mod dlq;
pub mod doctor;
pub mod explain;
pub mod members;
pub mod publish;
pub mod smoke;
pub mod state;
pub mod stats;
pub mod sweep;
pub mod tail;

use std::process::ExitCode;

use crate::{
    arguments::{Arguments, Command},
    failure::Failure,
    output::Output,
    stack::Stack,
};

/// Does what was asked.
///
/// # Errors
/// When it could not be done.
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

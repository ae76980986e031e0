//! The benchmarks: `make bench` runs them all but `tuning`, which `make bench-tuning` runs. From the repository's
//! root, of the release build:
//!
//! - `bench all [--runs N] [--seconds N]`
//! - `bench broadcasts [--runs N]`
//! - `bench throttled [--runs N] [--latency-ms N]`
//! - `bench rooms [--runs N]`
//! - `bench ephemerals [--runs N]`
//! - `bench state [--runs N]`
//! - `bench post --client auto|http1|http2|sdk --url URL [--connections N] [--seconds N]`
//! - `bench rate [--environments N,...] [--latency-ms N] [--concurrency N] [--room N] [--trace]`
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_precision_loss,
    reason = "a command that prints figures, and ends when it cannot measure"
)]

mod all;
mod arguments;
mod bars;
mod batches;
mod broadcasts;
mod clients;
mod ephemerals;
mod figures;
mod functions;
mod machine;
mod plot;
mod post;
mod provenance;
mod rate;
mod report;
mod rooms;
mod simulated;
mod state;
mod throttled;
mod tuning;
mod tuning_page;

use std::process::ExitCode;

use arguments::Arguments;

const USAGE: &str = "usage: bench all [--runs N] [--seconds N]
       bench broadcasts [--runs N]
       bench throttled [--runs N] [--latency-ms N]
       bench rooms [--runs N]
       bench ephemerals [--runs N]
       bench state [--runs N]
       bench post --client auto|http1|http2|sdk --url URL [--connections N] [--seconds N]
       bench rate [--environments N,...] [--latency-ms N] [--concurrency N] [--room N] [--trace]
       bench tuning";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let part = arguments.next();
    let done = match (part.as_deref(), Arguments::parse(arguments)) {
        (Some("rate"), Ok(arguments)) => rate::run(&arguments).await,
        (Some("all"), Ok(arguments)) => all::run(&arguments).await,
        (Some("broadcasts"), Ok(arguments)) => all::run_broadcasts(&arguments).await,
        (Some("throttled"), Ok(arguments)) => throttled::run(&arguments).await,
        (Some("state"), Ok(arguments)) => state::run(&arguments).await,
        (Some("rooms"), Ok(arguments)) => rooms::run(&arguments).await,
        (Some("ephemerals"), Ok(arguments)) => ephemerals::run(&arguments).await,
        (Some("tuning"), Ok(_)) => tuning::run().await,
        (Some("post"), Ok(arguments)) => post::run(&arguments).await,
        (_, Err(error)) => Err(error),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

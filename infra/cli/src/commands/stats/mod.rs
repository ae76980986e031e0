//! `roomcast stats`: shows what a stack, or one of its rooms, is doing.

mod rates;
mod room;
mod whole;

use std::process::ExitCode;

use clap::Args;
use shared::RoomId;

use crate::{failure::Failure, output::Output, parse, stack::Stack};

/// Options of `roomcast stats`.
#[derive(Args, Debug)]
pub struct Options {
    /// The room; otherwise the whole stack.
    #[arg(value_parser = parse::room)]
    room: Option<RoomId>,
}

/// Shows the room or the stack.
///
/// # Errors
/// When a table or queue does not answer. Metrics that cannot be read are left out, and a note says so.
pub async fn run(options: Options, stack: &Stack, output: &Output) -> Result<ExitCode, Failure> {
    match options.room {
        Some(room) => room::show(&room, stack, output).await?,
        None => whole::show(stack, output).await?,
    }
    Ok(ExitCode::SUCCESS)
}

//! The words on the command line.

use clap::{Parser, Subcommand};

use crate::{commands, target::Target};

/// Looks after a Roomcast stack: what is wrong, who is in a room, what became of a message, what it costs.
#[derive(Debug, Parser)]
#[command(name = "roomcast", version, arg_required_else_help = true)]
pub struct Arguments {
    /// Which stack.
    #[command(flatten)]
    pub target: Target,
    /// Say everything as JSON, one object a line.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look a stack over: what is missing, wrong, or about to run short.
    Doctor(commands::doctor::Options),
    /// What a stack, or a room, is doing.
    Stats(commands::stats::Options),
    /// The connections of a room.
    Members(commands::members::Options),
    /// A room's state: of each key the value. Also to make it anew, or to take a value away.
    State(commands::state::Options),
    /// A room's messages from its log.
    Tail(commands::tail::Options),
    /// Send lines of standard input to a room.
    Publish(commands::publish::Options),
    /// What became of a message.
    Explain(commands::explain::Options),
    /// Dead letters: see why, send again, drop.
    #[command(subcommand)]
    Dlq(commands::dlq::Options),
    /// Delete rows whose connection is gone.
    Sweep(commands::sweep::Options),
    /// Close a subject's connections.
    Disconnect(commands::disconnect::Options),
    /// Try a deployed stack from end to end.
    Smoke(commands::smoke::Options),
    /// What a workload costs a month.
    Cost(commands::cost::Options),
    /// Measure a deployed stack, within a budget of posts.
    Bench(commands::bench::Options),
    /// A completion script for a shell.
    Completions(commands::completions::Options),
}
